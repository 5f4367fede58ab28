"""Bench texts planted in pairs, found with the words they share."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.features.store import Store
from pref_assets.pairs.decontamination import Bench, Decontamination, contamination
from pref_assets.pairs.schema import CONTAMINATION
from pref_assets_tests.pairs.duplicates.tables import Said, Tables


def bench(folder: Path, *texts: str, **fields) -> Decontamination:
    folder.mkdir(exist_ok=True)
    (folder / "bench.jsonl").write_text("".join(json.dumps({"q": text}) + "\n" for text in texts))
    return Decontamination(benches={"b": Bench(location=str(folder), texts=("q",))}, **fields)


def search(said: list[Said], method: Decontamination, store: Store | None = None) -> pl.DataFrame:
    found = contamination(*Tables([said]).merged(), method, store)
    assert found.schema == CONTAMINATION.schema
    return found.sort(CONTAMINATION.key)


def sentence(start: int, words: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + words))


def test_ngrams_are_counted_and_shown(tmp_path: Path) -> None:
    """Of 20 words, 16 stand in a long answer: 4 of 8 13-grams, and as a set it is no near duplicate."""
    said = Said("who knows", f"{sentence(500, 50)} {sentence(0, 16).upper()}, {sentence(600, 50)}", "not me")
    found = search([said], bench(tmp_path, sentence(100, 20), sentence(0, 20)))
    assert found.rows() == [(said.pair_id, "b", 2, "chosen", "ngram", 4 / 8, sentence(0, 16))]
    assert search([said], bench(tmp_path, sentence(0, 21))).is_empty()  # 4 of 9
    assert search([said], bench(tmp_path, sentence(0, 21), ngram=8)).height == 1  # 9 of 14


def test_short_texts_are_compared_as_near_duplicates(tmp_path: Path) -> None:
    """10 words have 6 shingles; the answer has one word more: 6 of 7."""
    said = Said("What is the capital of France?", "no idea", sentence(0, 11))
    method = bench(tmp_path, sentence(0, 10), "what is the CAPITAL of france")
    assert search([said], method).select("bench_row", "part", "kind", "similarity", "detail").rows() == [
        (1, "rejected", "near_duplicate", 6 / 7, sentence(0, 10)),
        (2, "prompt", "near_duplicate", 1.0, "what is the capital of france"),
    ]
    assert search([said], bench(tmp_path, sentence(0, 10), near=0.9)).is_empty()


def test_very_short_texts_are_not_looked_for(tmp_path: Path) -> None:
    said = Said("is it so", "yes", "no")
    assert search([said], bench(tmp_path, "yes", "is it so")).is_empty()
    assert search([said], bench(tmp_path, "yes", "is it so", min_words=1)).height == 2
    assert search([said], Decontamination()).is_empty()


def test_a_text_and_a_longer_one_around_it_are_both_named(tmp_path: Path) -> None:
    said = Said(sentence(0, 30), "yes", "no")
    found = search([said], bench(tmp_path, sentence(0, 30), sentence(10, 15), detail_words=3))
    assert found.select("bench_row", "kind", "similarity", "detail").rows() == [
        (1, "near_duplicate", 1.0, "w0 w1 w2 …"),
        (1, "ngram", 1.0, "w0 w1 w2 …"),
        (2, "ngram", 1.0, "w10 w11 w12 …"),
    ]


def test_grams_of_too_many_bench_texts_name_none(tmp_path: Path) -> None:
    head = sentence(0, 20)
    texts = [f"{head} {sentence(100 * n, 6)}" for n in range(1, 5)]
    said = Said(f"{head} and so on", "yes", "no")
    assert search([said], bench(tmp_path, *texts, share=0.1, near=0.5)).height == 8
    assert search([said], bench(tmp_path, *texts, share=0.1, near=0.5, common=3)).is_empty()
    # The whole of a text is still found: what is its own, and then all of it.
    found = search([Said(texts[2], "yes", "no")], bench(tmp_path, *texts, common=3))
    assert found.select("bench_row", "kind", "similarity").rows() == [(3, "near_duplicate", 1.0), (3, "ngram", 1.0)]


def test_only_what_is_new_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pref_assets.pairs.decontamination.matching import BenchIndex

    searched = []
    original = BenchIndex.find
    monkeypatch.setattr(
        BenchIndex, "find", lambda self, texts, how: searched.append(len(texts)) or original(self, texts, how)
    )
    store = Store(tmp_path / "store")
    method = bench(tmp_path / "bench", "what is the capital of france")
    first, new = Said("What is the capital of France?", "Paris", "Rome"), Said("And of Italy?", "Rome", "Paris")
    whole = search([first], method, store)
    assert (whole.height, sum(searched)) == (1, 3)
    assert_frame_equal(search([first], method, store), whole)
    assert sum(searched) == 3
    assert_frame_equal(search([first, new], method, store), whole)
    assert sum(searched) == 6
    search([first, new], bench(tmp_path / "bench", "what is the capital of italy"), store)
    assert sum(searched) == 12


def test_the_part_follows_the_orientation_of_the_pair(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    method = bench(tmp_path / "bench", sentence(0, 20))
    comparisons, prompts, completions = Tables([[Said("why", sentence(0, 20), "no")]]).merged()
    swapped = comparisons.rename({"chosen_id": "rejected_id", "rejected_id": "chosen_id"})
    parts = [set(contamination(each, prompts, completions, method, store)["part"]) for each in (comparisons, swapped)]
    assert parts == [{"chosen"}, {"rejected"}]


TEXT = st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join)


def by_hand(said: Said, texts: list[str], method: Decontamination) -> set[tuple]:
    def grams(text: str, size: int) -> set[tuple]:
        words = text.split()
        return {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}

    found = set()
    for row, text in enumerate(texts, 1):
        if text in texts[: row - 1]:
            continue
        for part, words in (("prompt", said.prompt), ("chosen", said.one), ("rejected", said.other)):
            own, theirs = grams(words, method.shingle), grams(text, method.shingle)
            if (near := len(own & theirs) / len(own | theirs)) >= method.near:
                found.add((row, part, "near_duplicate", near))
            if len(text.split()) >= method.ngram:
                own, theirs = grams(words, method.ngram), grams(text, method.ngram)
                if (share := len(own & theirs) / len(theirs)) >= method.share:
                    found.add((row, part, "ngram", share))
    return found


@settings(max_examples=40, deadline=None)
@given(st.tuples(TEXT, TEXT, TEXT), st.lists(TEXT, min_size=1, max_size=4))
def test_it_is_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory, said: tuple, texts: list[str]
) -> None:
    if said[1] == said[2]:
        return
    method = bench(tmp_path_factory.mktemp("b"), *texts, ngram=3, shingle=2, near=0.6, share=0.4, min_words=1)
    found = search([Said(*said)], method)
    rows = set(found.select("bench_row", "part", "kind", "similarity").iter_rows())
    assert rows == by_hand(Said(*said), texts, method)
    for part, detail in found.select("part", "detail").iter_rows():
        assert detail in {"prompt": said[0], "chosen": said[1], "rejected": said[2]}[part]


def test_many_conversations_are_searched_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    said = [Said(*(" ".join(rng.choices("abcdef", k=6)) for _ in range(3))) for _ in range(30)]
    method = bench(tmp_path, *(" ".join(rng.choices("abcdef", k=6)) for _ in range(20)), shingle=2, near=0.4)
    whole = search(said, method)
    assert whole.height > 5
    monkeypatch.setattr("pref_assets.pairs.duplicates.texts._TEXTS", 4)
    monkeypatch.setattr("pref_assets.pairs.decontamination.search.READ_ROWS", 7)
    assert_frame_equal(search(said, method), whole)
