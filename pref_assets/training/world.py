"""The processes that train one model together: who this one is, and how they agree."""

import builtins
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pref_assets.training import errors

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One of ``size`` processes, number ``rank``; number 0 is the main one. Alone, every method is free."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> Self:
        """The world that a launcher made (``WORLD_SIZE`` above 1), or this process alone.

        The process group is that of accelerate's ``PartialState``: NCCL with one GPU a process, gloo without GPUs.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process writes, publishes and reports."""
        return self.rank == 0

    def share(self, work: Callable[[], T]) -> list[T]:
        """What ``work`` returned in each process, by rank; JSON values only when there are several processes.

        Raises:
            Exception: ``work`` failed in a process; every process raises that error (the first by rank).
        """
        if self.size == 1:
            return [work()]
        error: Exception | None = None
        mine: dict[str, Any] = {}
        try:
            mine["value"] = work()
        except Exception as caught:
            error = caught
            mine["error"] = {"type": type(caught).__name__, "message": str(caught)}
        answers = self._gather(mine)
        failed = next((rank for rank, answer in enumerate(answers) if "error" in answer), None)
        if failed is None:
            return [answer["value"] for answer in answers]
        if failed == self.rank and error is not None:
            raise error
        raise _error(failed, **answers[failed]["error"])

    def each(self, work: Callable[[], T]) -> T:
        """Runs ``work`` in every process and returns this one's result, of any type; fails together, as ``share``."""
        results: list[T] = []
        self.share(lambda: results.append(work()))
        return results[0]

    def add_gradients(self, parameters: Iterable["torch.nn.Parameter"]) -> None:
        """Replaces each gradient by its sum over the processes. One that no process has stays None."""
        if self.size == 1:
            return
        import torch
        from torch.distributed import all_reduce

        trained = list(parameters)
        present = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device)
        all_reduce(present)
        used = [p for p, count in zip(trained, present.tolist(), strict=True) if count]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for kind in dict.fromkeys(p.dtype for p in used):
            grads = [p.grad for p in used if p.dtype == kind and p.grad is not None]
            self._sum(grads)

    def merge(self, carried: Mapping[str, "torch.Tensor"], before: Mapping[str, "torch.Tensor"], share: float) -> None:
        """Gives ``carried`` the same values everywhere: those ``before`` plus the mean change.

        Args:
            carried: tensors that this process changed in place.
            before: copies of them from before.
            share: this process's share of the step's rows; the weight of its change.
        """
        if self.size == 1 or not carried:
            return
        changes = {
            name: (tensor - before[name]) * share for name, tensor in carried.items() if tensor.is_floating_point()
        }
        for kind in dict.fromkeys(change.dtype for change in changes.values()):
            self._sum([change for change in changes.values() if change.dtype == kind])
        for name, change in changes.items():
            carried[name].copy_(before[name] + change)

    def leave(self) -> None:
        """Ends the process group, so that no process is missed by the others."""
        if self.size > 1:
            from torch.distributed import destroy_process_group, is_initialized

            if is_initialized():
                destroy_process_group()

    def _sum(self, tensors: list["torch.Tensor"]) -> None:
        """Sums tensors of one dtype over the processes in place, in a single exchange."""
        import torch
        from torch.distributed import all_reduce

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def _gather(self, value: Any) -> list[Any]:
        """The JSON value of each process, by rank."""
        import torch
        from torch.distributed import all_gather, get_backend

        device = "cuda" if get_backend() == "nccl" else "cpu"
        text = json.dumps(value).encode()
        length = torch.tensor([len(text)], device=device)
        lengths = [torch.zeros_like(length) for _ in range(self.size)]
        all_gather(lengths, length)
        sizes = [int(each) for each in lengths]
        padded = torch.zeros(max(sizes), dtype=torch.uint8, device=device)
        padded[: len(text)] = torch.tensor(list(text), dtype=torch.uint8, device=device)
        texts = [torch.zeros_like(padded) for _ in range(self.size)]
        all_gather(texts, padded)
        return [json.loads(bytes(each[:size].tolist())) for each, size in zip(texts, sizes, strict=True)]


def _error(rank: int, type: str, message: str) -> Exception:
    """The error of another process, as its own type where that is one of training's or a plain built-in one."""
    kind = getattr(errors, type, None) or getattr(builtins, type, None)
    if isinstance(kind, builtins.type) and kind in _REBUILT:
        return kind(message)
    return errors.RankFailedError(f"process {rank}: {type}: {message}")


_REBUILT = (
    errors.TrainingDataError,
    errors.NonFiniteLossError,
    errors.DivergedError,
    errors.OutOfMemoryError,
    errors.DiskSpaceError,
    errors.WorkFolderLockedError,
    MemoryError,
    ValueError,
)
"""Errors whose only argument is their message."""
