import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.features.ngrams import hashed_ngrams
from pref_assets.scoring import DsirWeight
from pref_assets.scoring.text.dsir import kl_reduction
from pref_assets_tests.scoring.text.pools import detail, text_pool
from pref_assets_tests.selection.invariants import shuffled

TOPICS = ("river stone water fish boat", "stock price market bond yield", "goal match team score league")


def topic_texts(n: int, seed: int, words: int = 40, topics: tuple[int, ...] = (0, 1, 2)) -> tuple[list[str], list[int]]:
    """Texts of one topic each, half of the words common to all; the topic of each."""
    rng = np.random.default_rng(seed)
    which = rng.choice(topics, size=n).tolist()
    common = [f"word{i}" for i in range(200)]
    return [
        " ".join(np.where(rng.random(words) < 0.5, rng.choice(TOPICS[t].split(), words), rng.choice(common, words)))
        for t in which
    ], which


def write_target(folder: Path, texts: list[str]) -> dict[str, Any]:
    path = folder / "target.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return {"type": "file", "location": str(path), "texts": ["prompt"]}


@pytest.mark.parametrize(("size", "buckets"), [(2, 10_000), (1, 500), (3, 5000)])
def test_weights_are_those_of_data_selection(tmp_path: Path, size: int, buckets: int) -> None:
    package = pytest.importorskip("data_selection", reason="data-selection is not installed")
    texts, _ = topic_texts(120, 0, words=130)
    texts += [text[:300] + ", isn't it? " for text in texts[:10]]
    target, _ = topic_texts(30, 1, topics=(0,))
    target_file = write_target(tmp_path, target)
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    theirs = package.HashedNgramDSIR(
        [str(raw)],
        [target_file["location"]],
        cache_dir=str(tmp_path / "cache"),
        target_parse_example_fn=lambda row: row["prompt"],
        num_proc=1,
        ngrams=size,
        num_buckets=buckets,
    )
    theirs.fit_importance_estimator(num_tokens_to_fit="all")
    theirs.compute_importance_weights()
    expected = np.load(tmp_path / "cache" / "log_importance_weights" / "0.npy")
    lengths = np.load(tmp_path / "cache" / "perexample_metadata" / "0.npy")

    method = DsirWeight(target=target_file, ngrams=size, buckets=buckets, min_tokens=100)
    ours = method.score(text_pool(texts))
    assert np.abs(np.array(detail(ours, "log_w")) - expected).max() < 1e-9
    assert detail(ours, "n_tokens") == lengths.tolist()
    assert (ours["category"] == "too_short").to_list() == (lengths < 100).tolist()
    assert ours["score"].is_null().sum() == (lengths < 100).sum() == 10


def test_weights_by_hand(tmp_path: Path) -> None:
    pool = text_pool(["a b", "b b", "c"])
    scores = DsirWeight(target=write_target(tmp_path, ["a a b", "b"]), ngrams=1).score(pool)
    p, q = {"a": 1 / 2, "b": 1 / 2, "c": 0}, {"a": 1 / 5, "b": 3 / 5, "c": 1 / 5}
    log = {word: np.log(p[word] + 1e-8) - np.log(q[word] + 1e-8) for word in "abc"}
    assert scores["score"].to_list() == pytest.approx([log["a"] + log["b"], 2 * log["b"], log["c"]], abs=1e-12)
    each = DsirWeight(target=write_target(tmp_path, ["a a b", "b"]), ngrams=1, length_normalize=True).score(pool)
    assert each["score"].to_list() == pytest.approx([(log["a"] + log["b"]) / 2, log["b"], log["c"]], abs=1e-12)
    smooth = DsirWeight(target=write_target(tmp_path, ["a a b", "b"]), ngrams=1, buckets=1000, laplace=1.0).score(pool)
    assert smooth["score"][2] == pytest.approx(np.log(1 / 1004 + 1e-8) - np.log(1 / 5 + 1e-8))


def test_a_target_equal_to_the_data_weighs_nothing(tmp_path: Path) -> None:
    texts = list(dict.fromkeys(topic_texts(50, 0)[0]))
    pool = text_pool(texts)
    for target in (write_target(tmp_path, texts), {"type": "source", "sources": ["ours"]}):
        assert DsirWeight(target=target).score(pool)["score"].to_list() == [0.0] * len(texts)


def test_the_target_s_topic_weighs_most_and_brings_the_data_nearer(tmp_path: Path) -> None:
    texts, topic = topic_texts(400, 2)
    target, _ = topic_texts(100, 3, topics=(1,))
    scores = DsirWeight(target=write_target(tmp_path, target), ngrams=1).score(text_pool(texts))
    best = scores.with_columns(topic=pl.Series(topic)).sort("score", descending=True).head(100)
    assert set(best["topic"]) == {1}

    grams = hashed_ngrams(pl.Series(texts), 1)
    p = hashed_ngrams(pl.Series(target), 1).totals(np.ones(100, dtype=np.int64)) / 1.0
    p /= p.sum()
    once = np.ones(400, dtype=np.int64)
    by_weight = kl_reduction(grams, once, scores["score"].to_numpy(), p, 1e-8)
    chance = np.random.default_rng(0).random(400)
    by_chance = kl_reduction(grams, once, chance, p, 1e-8)
    quarter, drawn = np.argsort(-scores["score"].to_numpy())[99], np.argsort(-chance)[99]
    assert detail(scores, "kl_reduction") == by_weight.tolist()
    assert by_weight[quarter] > 0.3 > 0.1 > by_chance[drawn]
    assert by_weight[scores["score"].arg_min()] == 0  # of all pairs


def test_kl_reduction_is_the_difference_of_divergences() -> None:
    grams = hashed_ngrams(pl.Series(["a", "b", "b", "c"]), 1, 10_000)
    p = np.zeros(10_000)
    p[grams.buckets[0][:2]] = 0.5

    def divergence(a: float, b: float) -> float:
        return 0.5 * np.log(0.5 / a) + 0.5 * np.log(0.5 / b)

    scores = np.array([4.0, 3.0, 2.0, 1.0])
    found = kl_reduction(grams, np.array([1, 1, 1, 1]), scores, p, 1e-12)
    whole = divergence(1 / 4, 2 / 4)
    assert found.tolist() == pytest.approx(
        [whole - divergence(1, 1e-12), whole - divergence(1 / 2, 1 / 2), whole - divergence(1 / 3, 2 / 3), 0], abs=1e-9
    )
    assert np.isnan(kl_reduction(grams, np.zeros(4, dtype=np.int64), scores, p, 1e-12)).all()


def test_pairs_that_share_a_prompt_count_as_often(tmp_path: Path) -> None:
    target = write_target(tmp_path, ["a b"])
    once = DsirWeight(target=target, ngrams=1).score(text_pool(["a", "b", "c c"]))
    twice = DsirWeight(target=target, ngrams=1).score(text_pool(["a", "b", "c", "c"]))
    assert twice["score"].to_list()[:2] == once["score"].to_list()[:2]


def test_held_out_pairs_are_weighed_but_not_counted(tmp_path: Path) -> None:
    texts, _ = topic_texts(60, 4)
    method = DsirWeight(target=write_target(tmp_path, topic_texts(20, 5)[0]))
    alone = method.score(text_pool(texts[:40]))
    both = method.score(text_pool(texts, splits=["train"] * 40 + ["test"] * 20))
    assert_frame_equal(alone, both.head(40))
    assert both["score"].null_count() == 0


def test_a_target_with_held_out_texts_is_refused(tmp_path: Path) -> None:
    pool = text_pool(["one two", "three four"], splits=["train", "test"])
    target = write_target(tmp_path, ["Three   FOUR ", "five"])
    with pytest.raises(ValueError, match=r"1 of 2 target texts are prompts or answers of this pipeline's held-out"):
        DsirWeight(target=target).score(pool)
    assert len(DsirWeight(target={**target, "allow_held_out": True}).score(pool)) == 2
    answered = write_target(tmp_path, ["no 1"])
    with pytest.raises(ValueError, match="1 of 1 target texts"):
        DsirWeight(target=answered).score(pool)


def test_targets_of_this_pipeline_are_named() -> None:
    pool = text_pool(
        ["a a", "b b", "c c", "a b"],
        splits=["train", "train", "train", "validation"],
        sources=["ours", "theirs", "ours", "theirs"],
    )
    theirs = DsirWeight(target={"type": "source", "sources": ["theirs"]}, ngrams=1).score(pool)
    p, q = np.log(1 + 1e-8), np.log(1 / 3 + 1e-8)
    assert theirs["score"][1] == pytest.approx(2 * (p - q))  # b b alone: the validation pair is not the target
    held_out = DsirWeight(target={"type": "split", "split": "validation"}, ngrams=1).score(pool)
    assert held_out["score"][0] == held_out["score"][1] > held_out["score"][2]
    with pytest.raises(ValueError, match="no train pair came from source 'nobody'"):
        DsirWeight(target={"type": "source", "sources": ["ours", "nobody"]}).score(pool)
    with pytest.raises(ValueError, match="there is no test pair"):
        DsirWeight(target={"type": "split", "split": "test"}).score(pool)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("prompt", 1), ("chosen", 2), ("rejected", 3), ("prompt_chosen", 3), ("all", 6)],
)
def test_the_text_can_be_chosen(text: str, expected: int) -> None:
    pool = text_pool(["a"], ["b b"], ["c c c"])
    scores = DsirWeight(target={"type": "source", "sources": ["ours"]}, text=text).score(pool)
    assert detail(scores, "n_tokens") == [expected]


def test_row_order_does_not_matter(tmp_path: Path) -> None:
    pool = text_pool(topic_texts(80, 6)[0])
    method = DsirWeight(target=write_target(tmp_path, topic_texts(20, 7)[0]), text="all")
    assert_frame_equal(method.score(pool), method.score(shuffled(pool, 3)), check_exact=True)


def test_texts_without_tokens(tmp_path: Path) -> None:
    method = DsirWeight(target=write_target(tmp_path, ["a"]))
    scores = method.score(text_pool(["", "a b"]))
    assert scores["score"][0] == 0
    with pytest.raises(ValueError, match="the train texts hold no token"):
        method.score(text_pool(["", " "]))
    with pytest.raises(ValueError, match="the target texts hold no token"):
        DsirWeight(target=write_target(tmp_path, [" "])).score(text_pool(["a"]))


def test_a_pair_without_its_text_is_an_error(tmp_path: Path) -> None:
    pool = text_pool(["a", "b"])
    pool = type(pool)(pool.pairs, pool.completions, prompts=pool.prompts.head(1))
    with pytest.raises(ValueError, match=r"1 pairs have no prompt in the tables, e\.g\. \['p001'\]"):
        DsirWeight(target=write_target(tmp_path, ["a"])).score(pool)


def test_the_digest_knows_the_target_s_content(tmp_path: Path) -> None:
    target = write_target(tmp_path, ["one"])
    before = DsirWeight(target=target).digest()
    write_target(tmp_path, ["one", "two"])
    assert DsirWeight(target=target).digest() != before


def test_no_pairs_have_no_scores(tmp_path: Path) -> None:
    assert DsirWeight(target=write_target(tmp_path, ["a"])).score(text_pool([])).is_empty()
