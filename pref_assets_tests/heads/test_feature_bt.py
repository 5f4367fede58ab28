"""Named features: by hand, a planted utility, signs, and contributions that add up."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.heads.feature_bt import FeatureBt, ramps
from pref_assets.heads.text_features import PatternFeature, TextFeature, feature_of
from pref_assets.pairs.schema import COMPLETIONS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.heads.toys import pool_of, rated, swapped

NAMES = tuple("abcdefg")


def test_features_by_hand() -> None:
    prompt, answer = "Name the capital of France and of Spain.", "The capital of France: perhaps Paris, perhaps Paris."
    found = {
        name: feature_of(TextFeature(name=name, ngram=2), prompt, answer)
        for name in ("words", "redundancy", "prompt_coverage", "copied", "hedges")
    }
    # the capital of france perhaps paris perhaps paris: 8 words, 7 pairs, `perhaps paris` twice.
    assert found["words"] == pytest.approx(np.log(9))
    assert found["redundancy"] == pytest.approx(1 / 7)
    # name, capital, france, spain; the answer has two. `the capital`, `capital of`, `of france` stand in the prompt.
    assert found["prompt_coverage"] == pytest.approx(2 / 4)
    assert found["copied"] == pytest.approx(3 / 7)
    assert found["hedges"] == pytest.approx(100 * 2 / 8)
    lines = PatternFeature(pattern=r"(?m)^- ", label="list")
    assert [feature_of(lines, "", text) for text in ("- a\n- b", "a - b")] == [1.0, 0.0]
    counted = lines.model_copy(update={"count": "log"})
    assert feature_of(counted, "", "- a\n- b") == pytest.approx(np.log(3))
    assert feature_of(TextFeature(name="redundancy"), "", "two words") == 0


def world(n: int, seed: int, held_out: int = 0) -> tuple[Pool, np.ndarray, np.ndarray]:
    """Pairs labelled by a linear utility of seven ratings through a logistic; and the test margins under it."""
    rng = np.random.default_rng(seed)
    total = n + held_out
    values = rng.normal(size=(2 * total, 7))
    truth = np.array([2.0, 1.5, 1.0, 0.5, 0.25, -1.0, -2.0])
    margin = (values[:total] - values[total:]) @ truth
    left = rng.random(total) < 1 / (1 + np.exp(-margin))
    rows = [
        {"chosen": i if left[i] else total + i, "rejected": total + i if left[i] else i,
         "split": "train" if i < n else "test"}
        for i in range(total)
    ]  # fmt: skip
    noisy = values @ rng.normal(size=(7, 768)) + 6.0 * rng.normal(size=(2 * total, 768))
    pool = pool_of(noisy, rows, completions=rated([dict(zip(NAMES, row, strict=True)) for row in values]))
    return pool, np.where(left, margin, -margin)[n:], truth


def head(**settings: Any) -> FeatureBt:
    return FeatureBt(**{"features": [{"dimension": name} for name in NAMES], **settings})


def test_few_pairs_with_the_right_features_are_as_good_as_many_with_embeddings() -> None:
    pool, margin, truth = world(940, seed=0, held_out=2000)
    test = pool.pairs.filter(split="test")
    found = head().fit(pool, pool.candidates())
    accuracy = (found.predict(pool, test).margin > 0).mean()
    bayes = (margin > 0).mean()
    assert accuracy >= 0.97 * bayes
    assert found.slopes[:, 0] / found.spread == pytest.approx(truth, abs=0.35)

    def differences(pairs: pl.DataFrame) -> np.ndarray:
        vectors = pool.embeddings["e"]
        return (vectors.rows(pairs["chosen_id"].to_list()) - vectors.rows(pairs["rejected_id"].to_list())).astype(float)

    x = differences(pool.candidates())
    w = fit_heads(x, np.ones(len(x)), np.ones((len(x), 1)), l2=100.0)[:, 0]
    assert (differences(test) @ w > 0).mean() < 0.97 * bayes


@pytest.mark.parametrize("knots", [0, 4])
def test_contributions_add_up_and_signs_hold(knots: int) -> None:
    pool, _, _ = world(300, seed=1)
    signs = {"a": "+", "f": "+", "g": "-"}
    method = head(features=[{"dimension": name, "sign": signs.get(name, "none")} for name in NAMES], knots=knots)
    found = method.fit(pool, pool.pairs)
    said = found.predict(pool, pool.pairs)
    assert sum(said.details.values()) == pytest.approx(said.margin)
    assert said.score_chosen is not None
    assert said.score_rejected is not None
    assert said.score_chosen - said.score_rejected == pytest.approx(said.margin)
    assert found.predict(pool, swapped(pool.pairs)).margin == pytest.approx(-said.margin)
    line = np.linspace(-5, 5, 101)[:, None] * np.ones((1, 7))
    rises = np.diff(found.contributions(line), axis=0)
    # `f` counts against in truth, so that the sign leaves it nothing.
    assert (rises[:, 0] >= 0).all()
    assert (rises[:, 5] >= 0).all()
    assert np.abs(rises[:, 5]).max() < rises[:, 0].max() / 5
    assert (rises[:, 6] <= 0).all()
    again = method.restore(found.arrays())
    assert np.array_equal(again.predict(pool, pool.pairs).margin, said.margin)


def test_bends_follow_a_planted_optimum() -> None:
    """Not too short and not too long: no straight line tells these apart."""
    rng = np.random.default_rng(2)
    length = rng.uniform(-2, 2, size=800)
    better = np.abs(length[:400]) < np.abs(length[400:])
    rows = [{"chosen": i if b else 400 + i, "rejected": 400 + i if b else i} for i, b in enumerate(better)]
    pool = pool_of(np.eye(800, 1), rows, completions=rated([{"length": value} for value in length]))
    accuracies = []
    for knots in (0, 5):
        found = head(features=[{"dimension": "length"}], knots=knots).fit(pool, pool.pairs)
        accuracies.append((found.predict(pool, pool.pairs).margin > 0).mean())
    assert accuracies[0] < 0.65
    assert accuracies[1] > 0.9


def test_ramps_by_hand() -> None:
    corners = np.array([[0.0, 1.0, 3.0]])
    found = ramps(np.array([[-1.0], [0.5], [1.0], [5.0]]), corners, np.array([2.0]))
    assert found[:, 0].tolist() == [[-1.0, 0.0], [-0.25, 0.0], [0.0, 0.0], [0.0, 2.0]]


def texts_pool() -> Pool:
    said = ["a long answer, long answer with many many words", "short", "no no no no no no", "fine thing, I think"]
    completions = COMPLETIONS.frame(
        {"completion_id": f"c{i:05}", "prompt_id": f"q{i % 2:05}", "messages": [{"role": "assistant", "content": text}]}
        for i, text in enumerate(said)
    )
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i:05}", "messages": [{"role": "user", "content": "Say it"}]} for i in (0, 1)
    )
    pairs = [{"chosen": 0, "rejected": 2, "prompt_id": "q00000"}, {"chosen": 3, "rejected": 1, "prompt_id": "q00001"}]
    return pool_of(np.eye(4), pairs, completions=completions, prompts=prompts)


def test_texts_are_read_from_the_tables() -> None:
    pool = texts_pool()
    method = FeatureBt()
    found = method.fit(pool, pool.pairs).predict(pool, pool.pairs)
    assert list(found.details) == ["f_words", "f_redundancy", "f_prompt_coverage", "f_copied", "f_hedges"]
    assert (found.margin > 0).all()
    silent = Pool(pool.pairs, pool.completions[1:], prompts=pool.prompts)
    with pytest.raises(ValueError, match=r"1 completions have no text or no prompt in the tables, e.g. \['c00000'\]"):
        method.fit(silent, silent.pairs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"embeddings": "e"}, "reads no embeddings"),
        ({"features": [{"name": "words"}, {"name": "words"}]}, "of the same name"),
        ({"features": [{"pattern": "(", "label": "x"}]}, "no regular expression"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FeatureBt(**settings)
