"""A small network that trains in milliseconds, with dropout and a carried mean; also a program that trains it."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import save_file

from pref_assets.training import worker
from pref_assets.training.config import Training
from pref_assets.training.job import Job, Reporter
from pref_assets.training.loop import Fitted, Loop, MicroBatch
from pref_assets.training.plan import batch_plan
from pref_assets.training.state import WorkFolder
from pref_assets.training.world import World

SETTINGS: dict[str, Any] = {
    "subset": "s",
    "batch_pairs": 5,
    "batch_tokens": 64,
    "learning_rate": 0.05,
    "epochs": 4,
    "save_every": 3,
}


class Toy:
    """Regression of 12 rows on two hidden layers; rows 9 to 11 are for measuring."""

    def __init__(self, dropout: float = 0.0, part: int = 2, poison: int | None = None, pause: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(12, 6, generator=generator)
        self.targets = (self.inputs.sum(1) > 0).double()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
        self.unused = torch.nn.Parameter(torch.ones(2).double())
        self.dropout, self.part, self.poison, self.pause = dropout, part, poison, pause
        self.mean = torch.zeros((), dtype=torch.float64)
        self.ids = [f"pair{row}" for row in range(12)]

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        return {**dict(self.net.named_parameters()), "unused": self.unused}

    def micro_batches(self, step: Sequence[int], rows: Sequence[int]) -> Iterator[MicroBatch]:
        losses = []
        time.sleep(self.pause)
        for at in range(0, len(rows), self.part):
            picked = list(rows[at : at + self.part])
            x = torch.nn.functional.dropout(self.inputs[picked].double(), self.dropout)
            loss = (self.net(x)[:, 0] - self.targets[picked] - 0.1 * self.mean) ** 2
            bad = torch.tensor([row == self.poison for row in picked])
            loss = torch.where(bad, torch.nan, loss)
            losses.append(loss.detach())
            yield MicroBatch(picked, loss, {"double": 2 * loss.detach()}, 10 * len(picked))
        # One change a step, a mean over the rows.
        self.mean += 0.5 * (torch.cat(losses).mean() - self.mean)

    def loop(self, world: World = World(), **settings: Any) -> Loop:  # noqa: B008 (immutable)
        config = Training.model_validate({**SETTINGS, **settings})
        heldout = [9, 10, 11] if config.early_stop else []
        return Loop(self.parameters, self.micro_batches, self.ids, config, {"mean": self.mean}, heldout, world=world)

    def fit(self, folder: Path, report: Reporter, world: World = World(), **settings: Any) -> Fitted:  # noqa: B008
        loop = self.loop(world, **settings)
        folder.mkdir(parents=True, exist_ok=True)
        return loop.fit(batch_plan([1] * 9, loop.settings), WorkFolder(folder), report)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {**{name: p.detach() for name, p in self.parameters.items()}, "mean": self.mean}


def task(job: Job, report: Reporter) -> Mapping[str, Any]:
    """Trains a toy and saves its tensors; ``params`` may name rows to poison, or a rank and a step to die at."""
    params = dict(job.params)
    settings, die = params.pop("settings", {}), params.pop("die", None)
    world = World.join()
    toy = Toy(**params)
    if die and world.rank == die["rank"]:
        original = toy.micro_batches
        calls = iter(range(10_000))

        def dying(step: Sequence[int], rows: Sequence[int]) -> Iterator[MicroBatch]:
            if next(calls) == die["step"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(step, rows)

        toy.micro_batches = dying  # type: ignore[method-assign]
    fitted = toy.fit(Path(job.home) / "toy", report, world, **settings)
    if world.main:
        save_file(toy.tensors(), Path(job.home) / "toy.safetensors")
    return {"metrics": fitted.metrics, "tokens": fitted.tokens, "rank": world.rank, "pid": os.getpid()}


def rows(n: int, prompts: int) -> pl.DataFrame:
    """Pairs that take turns on some prompts."""
    return pl.DataFrame(
        {"pair_id": [str(i) for i in range(n)], "prompt": [[{"p": str(i % prompts)}] for i in range(n)]}
    )


if __name__ == "__main__":
    worker.TASKS["train_policy"] = f"{__name__}:task"
    if len(sys.argv) > 1:
        found = Job.model_validate_json(Path(sys.argv[1]).read_text())
        print(json.dumps(worker.run(found, worker.Silent())))
    else:
        sys.exit(worker.main())
