"""A tiny Llama, a pool of eight pairs of all lengths, and a way to measure as the pipeline does."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.tiny import tiny_llama
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring import MeasuredScorer
from pref_assets.scoring.measure import measure, measured_alone
from pref_assets.training.job import Job
from pref_assets_tests.training.conftest import Recorder, message


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("language")))


def counting_pool(n: int = 8) -> Pool:
    """Pair ``i`` prefers counting to an apology; odd prompts have a turn before, and two pairs share a prompt."""
    prompts, completions, pairs = [], [], []
    for i in range(n):
        q = min(i, n - 2)
        earlier = [*message("user", "Hello!"), *message("assistant", "Hi, how can I help?")] if q % 2 else []
        asked = [*earlier, *message("user", f"Count to {q + 2}, please." + " I like numbers." * (5 * q))]
        if q == i:
            prompts.append({"prompt_id": f"q{q}", "messages": asked, "images": [], "split": "train"})
        answers = {"c": " ".join(str(k) for k in range(1, i + 3)), "r": "I am sorry, I cannot." + " Really." * i}
        for side, text in answers.items():
            turns = message("assistant", text)
            completions.append({"completion_id": f"{side}{i}", "prompt_id": f"q{q}", "messages": turns})
        sides = {"chosen_id": f"c{i}", "rejected_id": f"r{i}"}
        pairs.append({"pair_id": f"p{i}", "prompt_id": f"q{q}", **sides, "p_chosen": 1.0, "split": "train"})
    tables = {"pairs": PAIRS.frame(pairs), "completions": COMPLETIONS.frame(completions)}
    return Pool(**tables, prompts=PROMPTS.frame(prompts))


@pytest.fixture(scope="session")
def pool() -> Pool:
    return counting_pool()


@pytest.fixture
def score(tmp_path: Path) -> Callable[[MeasuredScorer, Pool], pl.DataFrame]:
    return lambda scorer, pool: scorer.combine(pool, measured(tmp_path, scorer, pool)[0])


def job_of(home: Path, scorer: MeasuredScorer, pool: Pool, task: str) -> Job:
    scorer.items(pool).write_parquet(home / "items.parquet")
    params = {"key": scorer.key(pool), "sources": scorer.sources(pool)}
    inputs = {"items": str(home / "items.parquet")}
    return Job(task=task, home=str(home), config=scorer.model_dump(mode="json"), inputs=inputs, params=params)


def measured(home: Path, scorer: MeasuredScorer, pool: Pool) -> tuple[pl.DataFrame, dict[str, float]]:
    """The store's rows of the pool's items, and what measuring counted."""
    counted = measure(job_of(home, scorer, pool, "measure"), Recorder())
    ids = scorer.items(pool)["id"]
    return Store(Home(home).store).read(scorer.kind, scorer.key(pool), ids), counted


def difference_alone(home: Path, scorer: MeasuredScorer, pool: Pool) -> float:
    """Largest difference of a number when each item is measured alone, as the asset check does."""
    return max(measured_alone(job_of(home, scorer, pool, "measured_alone"), Recorder())["differences"])


def named(scores: pl.DataFrame) -> dict[str, dict[str, float]]:
    """``details`` by pair id and name."""
    return {
        pair: {each["name"]: each["value"] for each in details}
        for pair, details in scores.select("pair_id", "details").iter_rows()
    }
