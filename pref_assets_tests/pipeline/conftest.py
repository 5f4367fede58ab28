"""A whole pipeline on tiny data: made-up answers to made-up prompts, the real MiniLM, a tiny random Llama."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pref_assets.definitions import resources
from pref_assets.home import Home
from pref_assets.models.tiny import tiny_llama
from pref_assets.pipeline.graph import pipeline_definitions
from pref_assets.pipeline.run import Progress, RunReport, run_pipeline
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import parse_spec
from pref_assets.resources.compute import Compute
from pref_assets.resources.tracking import Tracking
from pref_assets.tables import TableStore

TOPICS = ("apples", "boats", "clouds", "drums", "engines", "forests")


def rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    """Completions with ratings: longer answers are better, with some noise; three answers to a prompt."""
    draw = random.Random(start)
    found = []
    for number in range(start, start + n):
        topic = TOPICS[number % len(TOPICS)]
        answers = [
            {
                "content": f"{topic} " * (2 + 4 * quality) + f"answer {number} {quality}",
                "ratings": [{"dimension": "overall", "value": quality + draw.random(), "annotator": "annotator_1"}],
            }
            for quality in range(3)
        ]
        found.append({"prompt": f"Tell me of {topic}, number {number}.", "completions": answers})
    return found


def write_rows(path: Path, content: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in content))
    return path


@dataclass
class Lab:
    """A deployment of one pipeline in a folder of its own."""

    root: Path
    attributes: dict[str, Any]
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    tracking: bool = False

    @property
    def home(self) -> Home:
        return Home(self.root / "home")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def spec(self) -> PipelineSpec:
        return parse_spec(self.attributes)

    @property
    def name(self) -> str:
        return str(self.attributes["name"])

    @property
    def tables(self) -> TableStore:
        return TableStore(self.home.tables)

    def definitions(self) -> dg.Definitions:
        used = resources(self.home) | {
            "compute": Compute(mode="in_process"),
            "tracking": Tracking(home=str(self.home.root), enabled=self.tracking),
        }
        return dg.Definitions.merge(
            pipeline_definitions(self.spec), dg.Definitions(resources=used, executor=dg.in_process_executor)
        )

    def run(self, select: str | None = None, listener: Callable[[Progress], None] = lambda _: None) -> RunReport:
        return run_pipeline(
            self.instance, self.name, select, definitions=self.definitions(), home=self.home, listener=listener
        )

    def read(self, stage: str, name: str) -> pl.DataFrame:
        return self.tables.read([self.name, stage, name])

    def key(self, stage: str, name: str) -> dg.AssetKey:
        return dg.AssetKey([self.name, stage, name])

    def metadata(self, stage: str, name: str) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(self.key(stage, name))
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)


def attributes(data: Path, llama: Path) -> dict[str, Any]:
    """Every stage once or twice, small enough for a few seconds."""
    return {
        "name": "tiny",
        "sources": {"made_up": {"type": "completions", "location": str(data)}},
        "pairs": {"splits": {"test": 0.3, "validation": 0.0}},
        "embeddings": {"minilm": {"type": "sentence_transformer", "max_length": 64}},
        "clusters": {"topics": {"type": "kmeans", "embeddings": "minilm", "k": 3}},
        "reward_models": {"ensemble": {"type": "bradley_terry", "embeddings": "minilm", "members": 2, "folds": 2}},
        "scores": {"strength": {"type": "reward_ensemble", "reward_model": "ensemble"}},
        "subsets": {
            "all": {"type": "all"},
            "random_8": {"type": "random", "budget": 8},
            "deita_8": {"type": "deita", "budget": 8, "quality": "strength", "embeddings": "minilm"},
        },
        "reference_logps": {"llama": {"model": str(llama), "max_length": 64}},
        "checkpoints": {
            "dpo_random": {"type": "policy", "subset": "random_8", "base": "llama"},
            "dpo_deita": {"type": "policy", "subset": "deita_8", "base": "llama"},
            "reward": {"type": "reward_model", "subset": "random_8", "max_length": 64, "last_layers": 0},
        },
        "evaluations": {
            "accuracy": {"type": "reward_accuracy", "scores": ["strength"]},
            "ranking": {"type": "ranking_accuracy", "max_pairs": 8},
        },
        "trials": {"selectors": {"embeddings": "minilm", "budgets": [8], "seeds": [0, 1], "draws": 2}},
    }


def light_attributes(data: Path) -> dict[str, Any]:
    """Only what needs no model: seconds become tenths."""
    return {
        "name": "light",
        "sources": {"made_up": {"type": "completions", "location": str(data), "max_bad_share": 0.2}},
        "subsets": {"all": {"type": "all"}, "random_8": {"type": "random", "budget": 8}},
    }


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Lab:
    """A pipeline with every stage, run once for the whole session; whoever changes it puts it back."""
    folder = tmp_path_factory.mktemp("done")
    write_rows(folder / "data" / "first.jsonl", rows(24))
    lab = Lab(folder, attributes(folder / "data", llama), tracking=True)
    report = lab.run()
    assert report.ok, report.failures
    return lab


@pytest.fixture
def light(tmp_path: Path) -> Lab:
    """A pipeline without models, with one file of 24 prompts, nothing run yet."""
    write_rows(tmp_path / "data" / "first.jsonl", rows(24))
    return Lab(tmp_path, light_attributes(tmp_path / "data"))


@pytest.fixture
def lab(tmp_path: Path, llama: Path) -> Lab:
    """A pipeline with every stage and one file of 24 prompts, nothing run yet."""
    write_rows(tmp_path / "data" / "first.jsonl", rows(24))
    return Lab(tmp_path, attributes(tmp_path / "data", llama))
