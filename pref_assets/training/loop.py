"""The optimiser loop that policies and reward models share: exact, resumable, and clear when it must stop."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pref_assets.training.config import Training
from pref_assets.training.errors import NonFiniteLossError, OutOfMemoryError, name_pairs
from pref_assets.training.job import Reporter
from pref_assets.training.plan import learning_rate
from pref_assets.training.state import State, WorkFolder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MicroBatch:
    """Losses of some rows of a batch, shape (n,), with the values to report for each, shape (n,) each."""

    rows: list[int]
    losses: "torch.Tensor"
    values: Mapping[str, "torch.Tensor"]
    tokens: int


@dataclass(frozen=True)
class Fitted:
    """What a run did. Seconds and tokens count this process only when it resumed."""

    steps: int
    resumed_from: int
    tokens: int
    seconds: float
    metrics: dict[str, float]


def fit(
    parameters: Mapping[str, "torch.nn.Parameter"],
    plan: Sequence[Sequence[int]],
    micro_batches: Callable[[Sequence[int]], Iterator[MicroBatch]],
    pair_ids: Sequence[str],
    settings: Training,
    folder: WorkFolder,
    report: Reporter,
) -> Fitted:
    """Trains ``parameters`` in place, from the saved state if the folder has one.

    The gradient of a step is that of the mean loss over the step's rows, whatever the micro-batches are.

    Args:
        parameters: what is trained, by a stable name.
        plan: row numbers of every step.
        micro_batches: yields the rows of a step in parts, each with differentiable losses.
        pair_ids: id of each row, for messages.
        settings: optimiser and schedule.
        folder: where state and step metrics are kept.
        report: gets metrics and progress.

    Raises:
        NonFiniteLossError: a loss or the gradient is not finite; nothing of that step is kept.
        OutOfMemoryError: the device's memory is too small for ``batch_tokens``.
    """
    import torch

    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    start = folder.restore(parameters, optimizer)
    if start:
        report.log(f"resuming after step {start} of {len(plan)}")
    began, tokens, last = time.perf_counter(), 0, folder.last_metrics()
    for step in range(start, len(plan)):
        rows = plan[step]
        # Seeding each step makes dropout a function of the step, so that no generator state needs saving.
        torch.manual_seed(settings.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(plan), settings)
        step_began = time.perf_counter()
        with memory_advice(settings.batch_tokens):
            values, step_tokens = _accumulate(rows, micro_batches, pair_ids)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters.values(), settings.max_grad_norm))
        if not math.isfinite(norm):
            raise NonFiniteLossError(
                f"step {step + 1}: the gradient is not finite. Pairs of the batch: "
                f"{name_pairs([pair_ids[row] for row in rows], shown=len(rows))}"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += step_tokens
        last = {
            **values,
            "grad_norm": norm,
            "lr": learning_rate(step, len(plan), settings),
            "tokens_per_second": step_tokens / (time.perf_counter() - step_began),
        }
        folder.record(step + 1, last)
        report.metrics(step + 1, last)
        report.progress(step + 1, len(plan), "steps")
        if (step + 1) % settings.save_every == 0 and step + 1 < len(plan):
            folder.save(State.of(step + 1, parameters, optimizer))
    return Fitted(len(plan), start, tokens, time.perf_counter() - began, last)


def _accumulate(
    rows: Sequence[int], micro_batches: Callable[[Sequence[int]], Iterator[MicroBatch]], pair_ids: Sequence[str]
) -> tuple[dict[str, float], int]:
    """Backward pass of the mean loss over ``rows``; means of the reported values, and tokens."""
    import torch

    sums: dict[str, float] = {}
    tokens = 0
    for part in micro_batches(rows):
        bad = [pair_ids[row] for row, ok in zip(part.rows, torch.isfinite(part.losses).tolist(), strict=True) if not ok]
        if bad:
            batch = name_pairs([pair_ids[row] for row in rows], shown=len(rows))
            raise NonFiniteLossError(f"the loss of pairs {name_pairs(bad)} is not finite. Pairs of the batch: {batch}")
        (part.losses.sum() / len(rows)).backward()
        tokens += part.tokens
        for name, value in {"loss": part.losses.detach(), **part.values}.items():
            sums[name] = sums.get(name, 0.0) + float(value.double().sum())
    return {name: total / len(rows) for name, total in sums.items()}, tokens


@contextmanager
def memory_advice(batch_tokens: int) -> Iterator[None]:
    """Turns an allocation failure on any device into an ``OutOfMemoryError`` that says what to change."""
    import torch

    try:
        yield
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


def environment() -> dict[str, Any]:
    """Peak memory of this process and of its GPU, in MiB, and where it ran."""
    import resource

    import torch

    found: dict[str, Any] = {
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    if torch.cuda.is_available():
        found |= {
            "device": torch.cuda.get_device_name(),
            "peak_cuda_mib": torch.cuda.max_memory_allocated() / 2**20,
        }
    return found
