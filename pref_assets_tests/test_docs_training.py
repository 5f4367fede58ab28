"""``docs/training.md``: its examples are valid, it names every objective, head, update and evaluation, and what its
table says of objectives is what the code says."""

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pref_assets.evaluation import EvaluationConfig
from pref_assets.heads import RewardModelConfig
from pref_assets.pipeline.spec import BLOCKS, PipelineSpec
from pref_assets.pipeline.spec_errors import SpecError, parse_as
from pref_assets.settings import Ref
from pref_assets.training.objectives import Objective, ObjectiveConfig
from pref_assets.training.online.updates import UpdateConfig

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "training.md").read_text()
OF_COLUMNS = ("soft label", "tie", "margin", "two prompts")
LEAST: dict[str, dict[str, Any]] = {
    "gpo": {"scores": "wins"},
    "mm_dpo": {"delta": "strength"},
    "mmpo": {"scores": "strength"},
    "rankdpo": {"scores": "wins"},
}
"""Settings that objectives cannot be without."""


def members(union: Any) -> dict[str, Any]:
    """Classes of a union by the name that YAML uses."""
    return {each.model_fields["type"].default: each for each in get_args(get_args(union)[0])}


@cache
def examples() -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def until(number: int) -> dict[str, Any]:
    """The page's first example, a whole file, with the parts up to another one."""
    attributes = copy.deepcopy(examples()[0]["attributes"])
    for part in examples()[1 : number + 1]:
        for block, entries in part.items():
            attributes.setdefault(block, {}).update(entries)
    return attributes


@pytest.mark.parametrize("number", range(len(examples())))
def test_every_example_is_valid(number: int) -> None:
    parse_as(PipelineSpec, until(number))


def test_the_examples_are_parts_of_the_first_and_replace_nothing() -> None:
    assert len(examples()) > 6
    seen = {(block, name) for block in BLOCKS for name in examples()[0]["attributes"].get(block, {})}
    for part in examples()[1:]:
        assert set(part) <= set(BLOCKS)
        places = {(block, name) for block, entries in part.items() for name in entries}
        assert not places & seen
        seen |= places


def test_an_example_with_a_wrong_name_would_be_seen() -> None:
    attributes = until(len(examples()))
    attributes["evaluations"]["stages"]["checkpoints"] = ["easy_to_hard_4"]
    with pytest.raises(SpecError, match="easy_to_hard_4"):
        parse_as(PipelineSpec, attributes)


@pytest.mark.parametrize("union", [ObjectiveConfig, RewardModelConfig, EvaluationConfig, UpdateConfig])
def test_every_method_has_a_line_in_a_table(union: Any) -> None:
    types = set(members(union))
    assert len(types) > 5
    assert types == {name for name in types if f"\n| `{name}` | " in PAGE}


def test_the_pages_and_recipes_it_points_to_are_there() -> None:
    files = set(re.findall(r"\]\(([\w/.]+)(?:#[\w-]*)?\)", PAGE))
    assert len(files) > 5
    assert {name for name in files if not (DOCS / name).is_file()} == set()
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", PAGE))
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("#")}
    assert anchors
    assert anchors <= headings


def cells(objective: str) -> tuple[str, str]:
    """What the table says that an objective needs and takes."""
    *_, needs, takes = re.findall(rf"^\| `{objective}` \|(.*)\|$", PAGE, re.MULTILINE)[0].split(" | ")
    return needs, takes.strip()


@pytest.mark.parametrize("name", sorted(members(ObjectiveConfig)))
def test_the_table_says_what_an_objective_needs_and_takes(name: str) -> None:
    settings: type[Objective] = members(ObjectiveConfig)[name]
    objective = settings(**LEAST.get(name, {}))
    needs, takes = cells(name)
    named = {
        field
        for field, info in settings.model_fields.items()
        if any(isinstance(mark, Ref) and mark.stage == "scores" for mark in (*info.metadata, *_inside(info.annotation)))
    }
    assert takes == (", ".join(each for each in OF_COLUMNS if each not in objective.refused()) or "-")
    assert ("reference" in needs) != objective.reference_free
    assert ("`tokens: true`" in needs) == objective.reference_tokens
    assert ("scores" in needs) == bool(named)
    assert ("texts" in needs) == (name in ("rdpo", "selm"))
    assert ("LoRA" in needs) == (objective.live is not None or "samples" in settings.model_fields)


def _inside(annotation: Any) -> list[Any]:
    """Marks inside ``Annotated[str, mark] | None``."""
    return [mark for each in get_args(annotation) for mark in getattr(each, "__metadata__", ())]
