"""A tiny Llama, six small pairs, and jobs on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.tiny import tiny_llama
from pref_assets.training.checkpoint import Pinned
from pref_assets.training.data import TRAINING_ROWS
from pref_assets.training.job import Job
from pref_assets.training.jobs import policy_job
from pref_assets.training.policy import PolicyCheckpoint
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows

SUBSET = Pinned(key=["p", "subsets", "s"], delta_version=3, data_version="d" * 32)


@dataclass
class Recorder:
    """A reporter that remembers."""

    logs: list[str] = field(default_factory=list)
    steps: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    done: list[tuple[int, int, str]] = field(default_factory=list)

    def log(self, message: str) -> None:
        self.logs.append(message)

    def progress(self, done: int, total: int, unit: str) -> None:
        self.done.append((done, total, unit))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append((step, dict(values)))


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def make_rows(n: int = 6) -> pl.DataFrame:
    """Pairs of different lengths; pair ``i`` prefers counting to ``i + 2`` over an apology."""
    return pl.DataFrame(
        [
            {
                "pair_id": f"pair{i}",
                "prompt": message("user", f"Count to {i + 2}, please."),
                "chosen": message("assistant", " ".join(str(k) for k in range(1, i + 3))),
                "rejected": message("assistant", "I am sorry, I cannot count." + " Really." * i),
                "chosen_id": f"c{i}",
                "rejected_id": f"r{i}",
                "p_chosen": 1.0,
                "weight": 1.0,
                "stage": 1,
            }
            for i in range(n)
        ],
        schema=TRAINING_ROWS,
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def reference(tiny: str) -> ReferenceLogps:
    return ReferenceLogps(model=tiny, max_length=96, batch_tokens=256)


@pytest.fixture
def rows() -> pl.DataFrame:
    return make_rows()


@pytest.fixture(scope="session")
def logps(reference: ReferenceLogps, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Reference log-probabilities of ``make_rows()``."""
    folder = tmp_path_factory.mktemp("reference")
    frame = completions_of(make_rows())
    frame.write_parquet(folder / "completions.parquet")
    job = Job(
        task="reference_logps",
        home=str(folder),
        config=reference.model_dump(mode="json"),
        inputs={"completions": str(folder / "completions.parquet")},
    )
    reference_logps(job, Recorder())
    return reference_rows(Store(Home(folder).store), reference, frame["completion_id"].to_list())


def completions_of(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        rows.select(completion_id=f"{side}_id", prompt=prompt, messages=side)
        for side, prompt in (("chosen", "prompt"), ("rejected", pl.coalesce("rejected_prompt", "prompt")))
    )


SETTINGS = {
    "subset": "s",
    "base": "smollm2",
    "batch_pairs": 2,
    "epochs": 2,
    "learning_rate": 0.02,
    "save_every": 2,
    "batch_tokens": 128,
}


def make_job(home: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame, **settings: object) -> Job:
    config = PolicyCheckpoint.model_validate({**SETTINGS, **settings})
    return policy_job(home, "p", "dpo", config, rows, reference, logps, SUBSET, {})
