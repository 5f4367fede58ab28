"""``docs/selection.md``: its examples are valid, as are the README's, it names every method, and the files it points to
are there."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pref_assets.clustering import ClustererConfig
from pref_assets.pipeline.spec import BLOCKS, PipelineSpec
from pref_assets.pipeline.spec_errors import SpecError, parse_as
from pref_assets.proving.ground import ProvingSpec
from pref_assets.scoring import ScorerConfig
from pref_assets.selection import SelectorConfig

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "docs" / "selection.md").read_text()
README = (PROJECT / "README.md").read_text()
COMPONENTS: dict[str, type[PipelineSpec] | type[ProvingSpec]] = {
    "pref_assets.PreferencePipeline": PipelineSpec,
    "pref_assets.ProvingGround": ProvingSpec,
}


@cache
def examples(page: str = PAGE) -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]


def whole(example: dict[str, Any]) -> tuple[type[PipelineSpec] | type[ProvingSpec], dict[str, Any]]:
    """What the example describes, and its attributes: a whole file, or a part of the page's first one."""
    if "attributes" in example:
        return COMPONENTS[example["type"]], example["attributes"]
    attributes = copy.deepcopy(examples()[0]["attributes"])
    for example_so_far in parts_until(example):
        assert set(example_so_far) <= set(BLOCKS)
        for block, entries in example_so_far.items():
            attributes.setdefault(block, {}).update(entries)
    return PipelineSpec, attributes


def parts_until(example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of the file up to an example, which may use the names of those before it."""
    for each in examples():
        if "attributes" not in each:
            yield each
        if each is example:
            return


@pytest.mark.parametrize("number", range(len(examples())))
def test_every_example_is_valid(number: int) -> None:
    model, attributes = whole(examples()[number])
    parse_as(model, attributes)


def test_the_examples_of_the_readme_are_valid() -> None:
    found = examples(README)
    assert [set(each) for each in found] == [{"type", "attributes"}, {"subsets"}, {"checkpoints"}]
    parse_as(PipelineSpec, found[0]["attributes"])
    parse_as(PipelineSpec, {**examples()[0]["attributes"], **found[1]})
    # The third one is a part of the file in docs/training.md.
    whole_file = examples((PROJECT / "docs" / "training.md").read_text())[0]["attributes"]
    parse_as(PipelineSpec, {**whole_file, **found[2]})


def test_an_example_with_a_wrong_name_would_be_seen() -> None:
    model, attributes = whole(next(each for each in examples() if "trials" in each))
    attributes["trials"]["selectors"]["subsets"] = ["random_26"]
    with pytest.raises(SpecError, match="no subsets named 'random_26'"):
        parse_as(model, attributes)


def test_parts_add_entries_and_replace_none() -> None:
    seen = {(block, name) for block in BLOCKS for name in examples()[0]["attributes"].get(block, {})}
    for each in (each for each in examples() if "attributes" not in each):
        places = {(block, name) for block, entries in each.items() for name in entries}
        assert not places & seen
        seen |= places


@pytest.mark.parametrize("union", [SelectorConfig, ScorerConfig, ClustererConfig])
def test_every_method_is_named(union: Any) -> None:
    types = {each.model_fields["type"].default for each in get_args(get_args(union)[0])}
    assert len(types) > 3
    assert types == {name for name in types if f"`{name}`" in PAGE}


def test_the_files_it_names_are_there() -> None:
    files = set(re.findall(r"`(pref_assets(?:_tests)?/[\w/]+\.\w+)`", PAGE))
    assert len(files) > 10
    assert {name for name in files if not (PROJECT / name).is_file()} == set()
