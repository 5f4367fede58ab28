"""The optimiser loop that policies and reward models share: exact, resumable, and clear when it must stop."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pref_assets.training.capacity import memory_used
from pref_assets.training.config import Training
from pref_assets.training.early_stop import Watch
from pref_assets.training.errors import (
    DivergedError,
    NonFiniteLossError,
    OutOfMemoryError,
    TrainingDataError,
    name_pairs,
)
from pref_assets.training.job import Reporter
from pref_assets.training.plan import learning_rate
from pref_assets.training.state import State, WorkFolder
from pref_assets.training.world import World

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MicroBatch:
    """Losses of some rows of a batch, shape (n,), with the values to report for each, shape (n,) each."""

    rows: list[int]
    losses: "torch.Tensor"
    values: Mapping[str, "torch.Tensor"]
    tokens: int


MicroBatches = Callable[[Sequence[int], Sequence[int]], Iterator[MicroBatch]]
"""Of a step's rows, and those of them that this process does: the losses of the latter, in parts."""


@dataclass(frozen=True)
class Fitted:
    """What a run did. Seconds and tokens do not count what was done before it resumed.

    Attributes:
        steps: steps taken in all.
        resumed_from: steps that were in the saved state.
        tokens: that went through the model, in all processes.
        seconds: of the steps, measurements on held-out pairs included.
        metrics: of the last step.
        notes: of early stopping: the step whose weights were kept, and its loss.
    """

    steps: int
    resumed_from: int
    tokens: int
    seconds: float
    metrics: dict[str, float]
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Loop:
    """Parameters, losses and settings, ready to train.

    Attributes:
        parameters: what is trained, in place, by a stable name.
        micro_batches: yields the rows of a step in parts, each with differentiable losses.
        pair_ids: id of each row, for messages.
        settings: optimiser and schedule.
        carried: tensors beside the parameters that steps change in place.
        heldout: rows to measure on for early stopping.
        validate: measures instead; its ``loss`` counts.
        flops_per_token: operations a token, for the use of the device.
        peak_flops: operations a second that the device can do at most, None where that is not known.
        world: the processes that train together.
    """

    parameters: Mapping[str, "torch.nn.Parameter"]
    micro_batches: MicroBatches
    pair_ids: Sequence[str]
    settings: Training
    carried: Mapping[str, "torch.Tensor"] = field(default_factory=dict)
    heldout: Sequence[int] = ()
    validate: Callable[[], dict[str, float]] | None = None
    flops_per_token: float | None = None
    peak_flops: float | None = None
    world: World = World()  # noqa: RUF009 (immutable)

    def fit(self, plan: Sequence[Sequence[int]], folder: WorkFolder, report: Reporter) -> Fitted:
        """Trains from the saved state if the folder has one.

        The gradient of a step is that of the mean loss over the step's rows, whatever the micro-batches and however
        many processes share them.

        Args:
            plan: row numbers of every step.
            folder: where state and step metrics are kept.
            report: gets metrics and progress.

        Raises:
            NonFiniteLossError: a loss or the gradient is not finite; nothing of that step is kept.
            DivergedError: the loss of a step is above ``max_loss``; likewise.
            OutOfMemoryError: the device's memory is too small for ``batch_tokens``.
            TrainingDataError: early stopping has nothing to measure on.
        """
        import torch

        settings, world, main = self.settings, self.world, self.world.main
        stop = settings.early_stop
        if stop and not (self.heldout or self.validate):
            raise TrainingDataError("early_stop is set, but there are no held-out pairs to measure on")
        weights = list(self.parameters.values())
        optimizer = torch.optim.AdamW(
            weights, lr=settings.learning_rate, weight_decay=settings.weight_decay, eps=settings.adam_epsilon
        )
        saved = world.each(lambda: folder.restore(self.parameters, optimizer, self.carried))
        watch, best, start = Watch.of(saved.notes), saved.best, saved.step
        if main:
            folder.forget_after(start)
            if start:
                report.log(f"resuming after step {start} of {len(plan)}")
        began, tokens, last, done = time.perf_counter(), 0, folder.last_metrics() if main else {}, start
        for step in range(start, len(plan)):
            if stop and watch.stops(stop):
                break
            # Seeding each step makes dropout a function of the step, so that no generator state needs saving.
            torch.manual_seed(step_seed(settings.seed, step, world.rank))
            rate = learning_rate(step, len(plan), settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            step_began = time.perf_counter()
            values, step_tokens = self._gradients(step, plan[step])
            norm = float(torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm))
            if not math.isfinite(norm):
                raise NonFiniteLossError(f"step {step + 1}: the gradient is not finite. {self._batch(plan[step])}")
            with memory_advice(settings.batch_tokens):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done, tokens = step + 1, tokens + step_tokens
            speed = step_tokens / (time.perf_counter() - step_began)
            use = {"tokens_per_second": speed, "world_size": world.size, **self.utilisation(speed), **memory_used()}
            last = {**values, "grad_norm": norm, "lr": rate, **use}
            if stop and (done % stop.every == 0 or done == len(plan)):
                last["heldout/loss"] = self._measure(done)
                if watch.measured(done, last["heldout/loss"], stop):
                    best = {name: p.detach().cpu().clone() for name, p in self.parameters.items()}
            if main:
                folder.record(done, last)
                report.metrics(done, last)
                report.progress(done, len(plan), "steps")
                if done % settings.save_every == 0 and done < len(plan):
                    notes = watch.notes() if stop else {}
                    folder.save(State.of(done, self.parameters, optimizer, self.carried, best, notes))
        if stop:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(best[name])
            if main and done < len(plan):
                report.log(f"stopped after step {done} of {len(plan)}: no lower held-out loss since {watch.best_step}")
        kept = {"best_step": watch.best_step, "heldout_loss": watch.best_loss} if stop else {}
        return Fitted(done, start, tokens, time.perf_counter() - began, last, kept)

    def _gradients(self, step: int, rows: Sequence[int]) -> tuple[dict[str, float], int]:
        """Leaves the gradients of the step's mean loss; means of the reported values, and tokens."""
        world = self.world
        mine = rows[world.rank :: world.size]
        before = {name: tensor.clone() for name, tensor in self.carried.items()} if world.size > 1 else {}
        parts = world.share(lambda: self._accumulate(mine, rows))
        world.add_gradients(self.parameters.values())
        world.merge(self.carried, before, len(mine) / len(rows))
        values = _means([part["sums"] for part in parts], len(rows))
        limit = self.settings.max_loss
        if limit is not None and values["loss"] > limit:
            raise DivergedError(
                f"step {step + 1}: the mean loss is {values['loss']:.4g}, above max_loss {limit:g}. "
                f"Lower learning_rate, or look at the data. {self._batch(rows)}"
            )
        return values, sum(part["tokens"] for part in parts)

    def _accumulate(self, mine: Sequence[int], rows: Sequence[int]) -> dict[str, Any]:
        """Backward pass of this process's rows of a step; sums of the reported values, and tokens."""
        import torch

        sums: dict[str, float] = {}
        tokens = 0
        with memory_advice(self.settings.batch_tokens):
            for part in self.micro_batches(rows, mine) if mine else ():
                finite = torch.isfinite(part.losses).tolist()
                if bad := [self.pair_ids[row] for row, ok in zip(part.rows, finite, strict=True) if not ok]:
                    raise NonFiniteLossError(f"the loss of pairs {name_pairs(bad)} is not finite. {self._batch(rows)}")
                (part.losses.sum() / len(rows)).backward()
                tokens += part.tokens
                _add(sums, part)
        return {"sums": sums, "tokens": tokens}

    def _measure(self, step: int) -> float:
        """Mean loss on the held-out pairs, the same in every process; ``carried`` is as before afterwards."""
        world, size = self.world, self.settings.batch_pairs
        if (validate := self.validate) is not None:
            loss = float(world.share(lambda: validate()["loss"] if world.main else 0.0)[0])
        else:
            mine = self.heldout[world.rank :: world.size]
            loss = sum(world.share(lambda: self._heldout_sum(mine, size))) / len(self.heldout)
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"step {step}: the loss on the held-out pairs is not finite")
        return loss

    def _heldout_sum(self, mine: Sequence[int], size: int) -> float:
        import torch

        torch.manual_seed(step_seed(self.settings.seed, 0, self.world.rank))
        kept = {name: tensor.clone() for name, tensor in self.carried.items()}
        total = 0.0
        with torch.no_grad(), memory_advice(self.settings.batch_tokens):
            for at in range(0, len(mine), size):
                chunk = mine[at : at + size]
                for part in self.micro_batches(chunk, chunk):
                    total += float(part.losses.double().sum())
            for name, tensor in self.carried.items():
                tensor.copy_(kept[name])
        return total

    def utilisation(self, tokens_per_second: float) -> dict[str, float]:
        """``mfu``: the share of the devices' peak that a speed of all processes is; nothing where it is not known."""
        if not (self.flops_per_token and self.peak_flops):
            return {}
        return {"mfu": tokens_per_second * self.flops_per_token / (self.peak_flops * self.world.size)}

    def _batch(self, rows: Sequence[int]) -> str:
        return f"Pairs of the batch: {name_pairs([self.pair_ids[row] for row in rows], shown=len(rows))}"


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of dropout at a step; processes differ, because they see other rows."""
    return seed * 1_000_003 + step + (rank << 52)


def _add(sums: dict[str, float], part: MicroBatch) -> None:
    for name, value in {"loss": part.losses.detach(), **part.values}.items():
        sums[name] = sums.get(name, 0.0) + float(value.double().sum())


def _means(sums: Sequence[Mapping[str, float]], rows: int) -> dict[str, float]:
    """Means over ``rows`` rows of values that were summed in parts; names in the order in which they first occur."""
    names = dict.fromkeys(name for part in sums for name in part)
    return {name: sum(part.get(name, 0.0) for part in sums) / rows for name in names}


@contextmanager
def memory_advice(batch_tokens: int) -> Iterator[None]:
    """Turns an allocation failure on any device into an ``OutOfMemoryError`` that says what to change."""
    import torch

    try:
        yield
    except OutOfMemoryError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        failure: Exception = error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        failure = error
    else:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemoryError(
        f"out of memory: {failure}. Lower batch_tokens (now {batch_tokens}) or max_length, train fewer weights "
        "(lora.last_layers, last_layers), or use a larger device"
    ) from failure
