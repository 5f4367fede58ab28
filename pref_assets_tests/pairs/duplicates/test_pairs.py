"""Near-duplicate pairs, end to end on small tables."""

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates import ArrivalError, NearDuplicates, pair_duplicates
from pref_assets.pairs.schema import PAIR_DUPLICATES
from pref_assets_tests.pairs.duplicates.tables import Said, Tables

EXACT = NearDuplicates(threshold=0.5, shingle=2, permutations=64, bands=64, candidates=1000)
"""Misses a pair of similarity 0.5 once in 10^19: what the definition says, the search finds."""

TEXT = st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(" ".join)
SAID = st.tuples(TEXT, TEXT, TEXT).filter(lambda t: t[1] != t[2]).map(lambda t: Said(*t))
BATCHES = st.lists(st.lists(SAID, max_size=8), min_size=1, max_size=3)


def search(tables: Tables, method: NearDuplicates = EXACT, store: Store | None = None) -> pl.DataFrame:
    found = pair_duplicates(*tables.merged(), tables.arrival(), method, store)
    assert found.schema == PAIR_DUPLICATES.schema
    return found.sort("pair_id", "of")


def bigrams(text: str) -> set[tuple[str, ...]]:
    parts = text.split()
    return {tuple(parts[at : at + 2]) for at in range(max(1, len(parts) - 1))}


def share(one: str, other: str) -> float:
    a, b = bigrams(one), bigrams(other)
    return len(a & b) / len(a | b)


def similarity(one: Said, other: Said) -> float:
    straight = min(share(one.one, other.one), share(one.other, other.other))
    crossed = min(share(one.one, other.other), share(one.other, other.one))
    return min(share(one.prompt, other.prompt), max(straight, crossed))


def by_hand(batches: list[list[Said]]) -> dict[tuple[str, str], float]:
    """The definition: each pair in order of arrival against all before it that stayed."""
    kept: list[Said] = []
    seen, found = set(), {}
    for said in (each for batch in batches for each in batch):
        if said.pair_id in seen:
            continue
        seen.add(said.pair_id)
        near = {(said.pair_id, k.pair_id): s for k in kept if (s := similarity(said, k)) >= EXACT.threshold}
        found |= near
        if not near:
            kept.append(said)
    return found


@settings(max_examples=25, deadline=None)
@given(BATCHES)
def test_it_is_what_the_definition_says(batches: list[list[Said]]) -> None:
    found = search(Tables(batches))
    assert {(a, b): s for a, b, s in found.select("pair_id", "of", "similarity").iter_rows()} == pytest.approx(
        by_hand(batches)
    )


@settings(max_examples=15, deadline=None)
@given(BATCHES, st.integers(0, 5))
def test_row_order_does_not_matter(batches: list[list[Said]], seed: int) -> None:
    assert_frame_equal(search(Tables(batches)), search(Tables(batches, seed=seed)))


@settings(max_examples=15, deadline=None)
@given(BATCHES, st.lists(SAID, min_size=1, max_size=8))
def test_a_later_batch_changes_nothing_before_it(batches: list[list[Said]], more: list[Said]) -> None:
    before, after = search(Tables(batches)), search(Tables([*batches, more]))
    old = {said.pair_id for batch in batches for said in batch}
    assert_frame_equal(after.filter(pl.col("pair_id").is_in(old)), before)
    assert after.filter(~pl.col("pair_id").is_in(old))["batch"].to_list() == [f"b{len(batches) + 1}"] * (
        after.height - before.height
    )


def long(seed: int, words: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(words)]


def edited(words: list[str], place: int) -> str:
    return " ".join([*words[:place], "changed", *words[place + 1 :]])


def test_planted_near_duplicates_are_found_with_their_similarity() -> None:
    """A changed word in the middle of 60 takes 5 of 56 shingles on both sides: 51 / 61."""
    texts = [(long(3 * n), long(3 * n + 1), long(3 * n + 2)) for n in range(200)]
    first = [Said(*(" ".join(text) for text in three)) for three in texts]
    # Sides swapped, one word changed in one answer.
    second = [Said(" ".join(prompt), edited(other, 30), " ".join(one)) for prompt, one, other in texts]
    found = search(Tables([first, second]), NearDuplicates())
    expected = dict(zip((s.pair_id for s in second), (s.pair_id for s in first), strict=True))
    assert dict(found.select("pair_id", "of").iter_rows()).items() <= expected.items()
    assert found.height >= 198
    assert found["similarity"].to_list() == pytest.approx([51 / 61] * found.height)
    assert set(found.select("batch", "of_batch").iter_rows()) == {("b2", "b1")}


def test_a_long_prompt_does_not_make_short_answers_alike() -> None:
    prompt = " ".join(long(1, 400))
    tables = Tables([[Said(prompt, "yes", "no"), Said(prompt, "yes", "maybe"), Said(prompt, "NO!", "Yes.")]])
    assert search(tables, NearDuplicates()).select("pair_id", "of", "similarity").rows() == [
        (tables.batches[0][2].pair_id, tables.batches[0][0].pair_id, 1.0)
    ]


def test_other_images_or_another_criterion_are_another_comparison() -> None:
    texts = ("what is in it", "a cat and a dog", "nothing at all here")
    said = [
        Said(*texts, images=["media://a"]),
        Said(*texts, images=["media://b"]),
        Said(*texts, context="helpful"),
        Said(*texts, context="harmless"),
        Said(*texts),
        Said("What is in it?", *texts[1:], images=["media://b"]),
    ]
    found = search(Tables([said]), NearDuplicates(candidates=1))
    assert found.select("pair_id", "of").rows() == [(said[5].pair_id, said[1].pair_id)]


def test_comparisons_across_prompts_are_left_alone() -> None:
    tables = Tables([[Said("a b c", "yes", "no"), Said("A b c", "yes", "no")]])
    comparisons, prompts, completions = tables.merged()
    comparisons = comparisons.with_columns(prompt_id=pl.lit(None, pl.String))
    assert pair_duplicates(comparisons, prompts, completions, tables.arrival(), EXACT).is_empty()


def test_no_pairs_have_no_duplicates(tmp_path: Path) -> None:
    assert search(Tables([[]]), EXACT, Store(tmp_path)).is_empty()
    assert search(Tables([[Said("a", "b", "c")]]), EXACT, Store(tmp_path)).is_empty()


def test_a_batch_that_was_never_registered_is_an_error() -> None:
    tables = Tables([[Said("a", "b", "c")]])
    with pytest.raises(ArrivalError, match=r"1 rows are of batches .*never registered, e\.g\. s/b1"):
        pair_duplicates(*tables.merged(), tables.arrival().clear(), EXACT)


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pref_assets.pairs.duplicates import pairs

    store, read = Store(tmp_path), []

    def chunks(*tables, only, **more):
        read.append(sorted(only))
        return original(*tables, only=only, **more)

    original = pairs.pair_chunks
    monkeypatch.setattr(pairs, "pair_chunks", chunks)
    first = [Said("a b c", "b c d", "c d a"), Said("A b c", "b c d", "c d a"), Said("d d d d", "e e", "f f")]
    whole = search(Tables([first]), EXACT, store)
    ids = sorted(said.pair_id for said in first)
    assert read == [ids, sorted(said.pair_id for said in first[:2])]
    assert_frame_equal(search(Tables([first]), EXACT, store), whole)
    assert len(read) == 2

    new = Said("d D d d", "e, e", "f f!")
    both = search(Tables([first, [new]]), EXACT, store)
    assert read[2:] == [[new.pair_id], sorted([new.pair_id, first[2].pair_id])]
    assert_frame_equal(both, search(Tables([first, [new]])))

    read.clear()
    search(Tables([first, [new]]), EXACT.model_copy(update={"threshold": 0.9}), store)
    assert sorted(map(len, read)) == [4]  # no hashing; candidates are verified anew
    read.clear()
    search(Tables([first, [new]]), EXACT.model_copy(update={"seed": 1}), store)
    assert read == [sorted([*ids, new.pair_id])]


def test_new_pairs_are_read_from_their_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pref_assets.pairs.duplicates import pairs

    read = []

    def chunks(comparisons, prompts, completions, only, **more):
        read.append((sorted(only), prompts.select(pl.len()).collect().item()))
        return original(comparisons, prompts, completions, only=only, **more)

    original = pairs.pair_chunks
    monkeypatch.setattr(pairs, "pair_chunks", chunks)
    old = [Said("a b c", "b c d", "c d a"), Said("A b c", "b c d", "c d a")]
    inside = Said("d d d d", "e e", "f f")
    # Its answers are of two batches, as a pairing rule over ratings makes them.
    across = Said(old[0].prompt, old[0].one, "e e e")
    tables = Tables([old, [inside, inside, across]])
    comparisons, prompts, completions = tables.merged()
    known = tables.record_completions().filter(
        (pl.col("batch") == "b1") | (pl.col("completion_id") != across.completion_ids[0])
    )
    store = Store(tmp_path)
    search(Tables([old]), EXACT, store)
    read.clear()
    records = (tables.record_prompts(), known)
    found = pair_duplicates(comparisons, prompts, completions, tables.arrival(), EXACT, store, records)
    assert read[:2] == [([inside.pair_id], 2), ([across.pair_id], 3)]
    assert_frame_equal(found.sort("pair_id", "of"), search(tables))


def test_many_candidates_are_verified_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    said = [Said(*(" ".join(rng.choices("abc", k=4)) for _ in range(3))) for _ in range(24)]
    whole = search(Tables([said]))
    assert whole.height > 3
    monkeypatch.setattr("pref_assets.pairs.duplicates.similar._SHINGLES", 40)
    monkeypatch.setattr("pref_assets.pairs.duplicates.texts._TEXTS", 7)
    assert_frame_equal(search(Tables([said])), whole)
