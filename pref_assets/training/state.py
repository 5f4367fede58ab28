"""Unfinished training on disk: one lock, one state file replaced atomically, one log of step metrics."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pref_assets.training.errors import WorkFolderLockedError

if TYPE_CHECKING:
    import torch

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class State:
    """Everything a step depends on beside the configuration, after ``step`` steps.

    Attributes:
        step: how many steps were taken.
        tensors: weights, optimiser moments, carried values and the best weights, by kind and name.
        notes: decisions so far, as JSON values.
    """

    step: int
    tensors: dict[str, "torch.Tensor"]
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        step: int,
        parameters: Mapping[str, "torch.nn.Parameter"],
        optimizer: "torch.optim.Optimizer",
        carried: Mapping[str, "torch.Tensor"] = MappingProxyType({}),
        best: Mapping[str, "torch.Tensor"] = MappingProxyType({}),
        notes: Mapping[str, Any] = MappingProxyType({}),
    ) -> "State":
        tensors = {}
        for name, parameter in parameters.items():
            tensors[f"weight/{name}"] = parameter.detach()
            # A weight that got no gradient yet has no moments.
            for moment, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{moment}/{name}"] = value
        tensors |= {f"carried/{name}": tensor for name, tensor in carried.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
        return cls(step, tensors, dict(notes))


@dataclass(frozen=True)
class Restored:
    """What a saved state says beside the tensors that it put back."""

    step: int = 0
    best: dict[str, "torch.Tensor"] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkFolder:
    """The folder of one unfinished version; hold ``locked()`` while using it."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out. The lock goes with the process, however it dies.

        Raises:
            WorkFolderLockedError: another process has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WorkFolderLockedError(
                    f"{self.path}: another process is training this version; wait for it or stop it"
                ) from error
            yield

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def state_file(self) -> Path:
        return self.path / "state.safetensors"

    def save(self, state: State) -> None:
        """Replaces the saved state; a reader sees the old or the new one, whole."""
        from safetensors.torch import save_file

        temporary = self.state_file.with_suffix(".tmp")
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.tensors.items()}
        save_file(tensors, temporary, metadata={"step": str(state.step), "notes": json.dumps(state.notes)})
        sync(temporary)
        temporary.replace(self.state_file)

    def restore(
        self,
        parameters: Mapping[str, "torch.nn.Parameter"],
        optimizer: "torch.optim.Optimizer",
        carried: Mapping[str, "torch.Tensor"] = MappingProxyType({}),
    ) -> Restored:
        """Puts the saved state into ``parameters``, ``optimizer`` and ``carried``; step 0 when nothing is saved."""
        import torch
        from safetensors import safe_open

        if not self.state_file.exists():
            return Restored()
        with safe_open(self.state_file, "pt") as saved, torch.no_grad():
            names = set(saved.keys())
            for name, parameter in parameters.items():
                parameter.copy_(saved.get_tensor(f"weight/{name}"))
                moments = {
                    # AdamW keeps its step counter on the CPU.
                    moment: saved.get_tensor(f"{moment}/{name}").to("cpu" if moment == "step" else parameter.device)
                    for moment in MOMENTS
                    if f"{moment}/{name}" in names
                }
                if moments:
                    optimizer.state[parameter] = moments
            for name, tensor in carried.items():
                tensor.copy_(saved.get_tensor(f"carried/{name}"))
            best = {name: saved.get_tensor(f"best/{name}") for name in parameters if f"best/{name}" in names}
            return Restored(int(saved.metadata()["step"]), best, json.loads(saved.metadata()["notes"]))

    def forget_after(self, step: int) -> None:
        """Drops the recorded metrics of later steps, which will be taken again."""
        lines = self.metrics_file.read_text().splitlines()[:step] if self.metrics_file.exists() else []
        self.metrics_file.write_text("".join(f"{line}\n" for line in lines))

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends the metrics of a step to ``metrics.jsonl``."""
        with self.metrics_file.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def last_metrics(self) -> dict[str, float]:
        """Metrics of the last recorded step, empty before the first."""
        lines = self.metrics_file.read_text().splitlines()
        return {name: value for name, value in json.loads(lines[-1]).items() if name != "step"} if lines else {}


def sync(path: Path) -> None:
    """Forces a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
