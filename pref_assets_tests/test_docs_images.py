"""``docs/images.md``: its examples are valid, and the pages it points to are there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from pref_assets.pipeline.spec import PipelineSpec

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "images.md").read_text()
BLOCKS: list[tuple[str, Any]] = [
    block for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for block in yaml.safe_load(text).items()
]


@pytest.mark.parametrize(("block", "entries"), BLOCKS)
def test_every_example_is_valid(block: str, entries: Any) -> None:
    TypeAdapter(PipelineSpec.model_fields[block].annotation).validate_python(entries)


def test_there_are_examples_of_every_stage() -> None:
    stages = {"sources", "pairs", "critiques", "embeddings", "clusters", "scores", "subsets", "reference_logps"}
    assert {block for block, _ in BLOCKS} >= {*stages, "checkpoints", "evaluations"}


def test_the_tests_it_names_are_there() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    named = set(re.findall(r"`(?:test_\w+\.py::)?((?:test_|Test)\w+)(?=[`:])", PAGE))
    assert len(named) > 5
    assert {name for name in named if name not in tests} == set()


def test_the_pages_it_points_to_are_there() -> None:
    files = set(re.findall(r"\]\(([\w/.]+)(?:#[\w-]*)?\)", PAGE))
    assert len(files) > 2
    assert {name for name in files if not (DOCS / name).is_file()} == set()
