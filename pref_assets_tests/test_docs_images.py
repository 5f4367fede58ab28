"""``docs/images.md`` and ``docs/mm_rlhf.md``: their examples are valid, what they name is there, and figures are those
that were measured."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from pref_assets.pipeline.spec import PipelineSpec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {name: (DOCS / name).read_text() for name in ("images.md", "mm_rlhf.md")}
PAGE = PAGES["images.md"]
BLOCKS: list[tuple[str, Any]] = [
    block
    for page in PAGES.values()
    for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for block in yaml.safe_load(text).items()
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


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_it_points_to_are_there(name: str) -> None:
    files = set(re.findall(r"\]\(([\w/.]+)(?:#[\w-]*)?\)", PAGES[name]))
    assert len(files) > 2
    assert {each for each in files if not (DOCS / each).is_file()} == set()


def test_the_tables_of_the_scene_world_are_what_was_measured() -> None:
    spec = importlib.util.spec_from_file_location("scene_world", ROOT / "benchmarks" / "scene_world.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = module.show(DOCS / "measured" / "scene_world.csv")
    assert shown.count("\n| ") > 20
    assert shown.strip() in PAGES["mm_rlhf.md"]


def test_the_assets_it_names_are_in_the_pipeline() -> None:
    text = (ROOT / "pref_assets" / "defs" / "mm_rlhf" / "defs.yaml").read_text()
    entries = {
        each for block in yaml.safe_load(text)["attributes"].values() if isinstance(block, dict) for each in block
    }
    told = re.findall(
        r"`(?:checkpoints|embeddings|clusters|subsets|critiques|scores|evaluations)/(\w+)`", PAGES["mm_rlhf.md"]
    )
    assert len(told) > 8
    assert set(told) <= entries
