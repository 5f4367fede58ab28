"""Near-duplicate prompts and their groups, end to end on small tables."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates import NearDuplicates, exact_duplicates, prompt_duplicates
from pref_assets.pairs.schema import PROMPT_DUPLICATES
from pref_assets_tests.pairs.duplicates.tables import Said, Tables

EXACT = NearDuplicates(threshold=0.5, shingle=1, permutations=64, bands=64, candidates=1000)
BATCHES = st.lists(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5).map(" ".join), max_size=8),
    min_size=1,
    max_size=3,
)


def tables(*batches: list[str], seed: int | None = None) -> Tables:
    return Tables([[Said(prompt, "x", "y") for prompt in batch] for batch in batches], seed)


def search(given: Tables, store: Store | None = None) -> tuple[pl.DataFrame, dict[str, str]]:
    found, groups = prompt_duplicates(given.record_prompts(), given.arrival(), EXACT, store)
    assert found.schema == PROMPT_DUPLICATES.schema
    return found.sort("prompt_id", "of"), dict(groups.select("prompt_id", "group_id").iter_rows())


def by_hand(batches: list[list[str]]) -> dict[str, str]:
    """Each prompt in order of arrival joins the group of the most similar before it, the first among equals."""
    group: dict[str, str] = {}
    for prompt in dict.fromkeys(each for batch in batches for each in batch):
        mine = set(prompt.split())
        shares = {other: len(mine & set(other.split())) / len(mine | set(other.split())) for other in group}
        best = max(shares, key=lambda other: shares[other], default=None)
        group[prompt] = group[best] if best is not None and shares[best] >= EXACT.threshold else prompt
    ids = {prompt: Said(prompt, "x", "y").prompt_id for prompt in group}
    return {ids[prompt]: ids[first] for prompt, first in group.items() if first != prompt}


@settings(max_examples=25, deadline=None)
@given(BATCHES)
def test_groups_are_what_the_definition_says(batches: list[list[str]]) -> None:
    assert search(tables(*batches))[1] == by_hand(batches)


@settings(max_examples=15, deadline=None)
@given(BATCHES, BATCHES, st.integers(0, 5))
def test_more_data_in_any_order_moves_no_prompt(batches: list[list[str]], more: list[list[str]], seed: int) -> None:
    found, groups = search(tables(*batches))
    more_found, more_groups = search(tables(*batches, *more, seed=seed))
    old = {Said(prompt, "x", "y").prompt_id for batch in batches for prompt in batch}
    assert {prompt: group for prompt, group in more_groups.items() if prompt in old} == groups
    assert_frame_equal(more_found.filter(pl.col("prompt_id").is_in(old)), found)


def test_evidence_names_the_most_similar_of_every_group(tmp_path: Path) -> None:
    texts = ["a b c d", "e f g h", "a b c", "a b c d e f g h", "a b c d e f h"]
    given = tables(texts[:2], texts[2:])
    ids = [Said(text, "x", "y").prompt_id for text in texts]
    for store in (None, Store(tmp_path), Store(tmp_path)):
        found, groups = search(given, store)
        # The whole is half of a-d and half of e-h: it goes with the first; the last is 7/8 of the whole.
        assert groups == {ids[2]: ids[0], ids[3]: ids[0], ids[4]: ids[0]}
        expected = [
            (ids[2], ids[0], 3 / 4, "b2", "b1"),
            (ids[3], ids[0], 1 / 2, "b2", "b1"),
            (ids[3], ids[1], 1 / 2, "b2", "b1"),
            (ids[4], ids[3], 7 / 8, "b2", "b2"),
        ]
        assert found.rows() == sorted(expected)


def test_another_image_is_another_prompt_and_another_criterion_is_not() -> None:
    said = [
        Said("what is it", "x", "y", images=["media://a"]),
        Said("What is it?", "x", "y", images=["media://b"]),
        Said("What is it", "x", "y", images=["media://a"], context="helpful"),
        Said("what is it!", "x", "y"),
    ]
    _, groups = search(Tables([said]))
    assert groups == {said[2].prompt_id: said[0].prompt_id}


def test_a_prompt_of_several_batches_came_with_the_first() -> None:
    given = tables(["a b c"], ["a b c d", "a b c"])
    given.sequence = {"b1": 7, "b2": 1}
    _, groups = search(given)
    first, second = (Said(text, "x", "y").prompt_id for text in ("a b c", "a b c d"))
    assert groups == {first: second}


def test_exact_duplicates_are_counted_by_batch() -> None:
    one, other = Said("a", "b", "c"), Said("d", "e", "f")
    given = Tables([[one, other, one], [one, Said("g", "h", "i")]])
    counts = exact_duplicates(given.merged()[0], "pair_id", given.arrival())
    assert counts.rows() == [("s", "b1", 3, 2, 1), ("s", "b2", 2, 1, 1)]


@pytest.mark.parametrize("batches", [[[]], [["a b"]]])
def test_few_prompts(batches: list[list[str]]) -> None:
    found, groups = search(tables(*batches))
    assert found.is_empty()
    assert groups == {}
