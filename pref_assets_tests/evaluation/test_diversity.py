"""Diversity: by hand, against brute force, and what a collapsed policy looks like."""

from itertools import combinations, pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.evaluation.diversity import Diversity, measured
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets_tests.evaluation.fake_policies import answered, checkpoint, inputs, prompts, value


def answers(*texts, prompts_of=None):
    names = prompts_of or [f"p{i}" for i in range(len(texts))]
    return pl.DataFrame({"prompt_id": names, "text": texts}, schema={"prompt_id": pl.String, "text": pl.String})


def found(frame, ngrams=2):
    return {name: each.value for name, each in measured(frame, ngrams, 0, 100).items()}


def test_by_hand():
    values = found(answers("a b a", "a b", "c"))
    assert values["answer_tokens"] == 2.0
    assert values["distinct_1"] == pytest.approx(3 / 6)
    assert values["distinct_2"] == pytest.approx(2 / 3)  # a b, b a, a b
    first = np.array([2, 1, 0]) / 5**0.5
    second, third = np.array([1, 1, 0]) / 2**0.5, np.array([0, 0, 1.0])
    assert values["self_similarity"] == pytest.approx((first @ second + first @ third + second @ third) / 3)
    average = (np.array([2 / 3, 1 / 3, 0]) + np.array([1 / 2, 1 / 2, 0]) + np.array([0, 0, 1])) / 3
    cosines = [each @ average / np.linalg.norm(average) for each in (first, second, third)]
    assert values["dullness"] == pytest.approx(np.mean(cosines))
    assert "self_similarity_within" not in values


texts_of = st.lists(st.text("abc ", min_size=1, max_size=12), min_size=2, max_size=7)


@settings(max_examples=60, deadline=None)
@given(texts_of, st.lists(st.sampled_from("pqr"), min_size=7, max_size=7))
def test_against_every_pair(texts, names):
    """Values and jackknife ends are those of the definitions, computed pair by pair and prompt by prompt."""
    names = names[: len(texts)]
    frame = answers(*texts, prompts_of=names)
    ours = measured(frame, 2, 0, 100)

    def brute(kept):
        words = [(names[i], texts[i].split()) for i in kept]
        units = []
        for name, said in words:
            counts = np.array([said.count(word) for word in vocabulary], float)
            if said:
                units.append((name, counts / np.linalg.norm(counts)))
        both = [(a, b, u @ v) for (a, u), (b, v) in combinations(units, 2)]
        grams = [gram for _, said in words for gram in pairwise(said)]
        return {
            "self_similarity": [c for a, b, c in both if a != b],
            "self_similarity_within": [c for a, b, c in both if a == b],
            "distinct_2": [len(set(grams)) / len(grams)] if grams else [],
        }

    vocabulary = sorted({word for text in texts for word in text.split()})
    everything = range(len(texts))
    whole = brute(everything)
    left = [brute([i for i in everything if names[i] != out]) for out in sorted(set(names))]
    for name, values in whole.items():
        if not values:
            assert name not in ours
            continue
        assert ours[name].value == pytest.approx(np.mean(values), abs=1e-9)
        usable = np.array([np.mean(each[name]) for each in left if each[name]])
        if name == "self_similarity_within":
            # Prompts with one answer have nothing to leave out.
            several = {
                n for n in names if sum(m == n and bool(t.split()) for m, t in zip(names, texts, strict=True)) > 1
            }
            usable = np.array(
                [
                    np.mean(each[name])
                    for each, out in zip(left, sorted(set(names)), strict=True)
                    if each[name] and out in several
                ]
            )
        if len(usable) > 1:
            error = np.sqrt((len(usable) - 1) / len(usable) * np.square(usable - usable.mean()).sum())
            assert ours[name].hi - ours[name].value == pytest.approx(1.959964 * error, abs=1e-6)


def test_a_collapsed_policy_is_dull_and_like_itself(tmp_path):
    home, sampling = Home(tmp_path), Sampling(temperature=1.0)
    dpo = checkpoint("dpo", home)
    names = [f"p{i}" for i in range(6)]
    answered(home, dpo, sampling, {name: ["i do not know"] for name in names})
    answered(home, dpo, sampling, {name: [f"word{i} thing{i} other{i}"] for i, name in enumerate(names)}, base=True)
    rows = Diversity(resamples=100).rows(inputs(prompts(*names), dpo), home)
    assert value(rows, "dpo", "dullness")["value"] == pytest.approx(1.0)
    assert value(rows, "dpo", "self_similarity")["value"] == pytest.approx(1.0)
    assert value(rows, "untrained smol", "self_similarity")["value"] == pytest.approx(0.0, abs=1e-12)
    assert value(rows, "untrained smol", "distinct_1")["value"] == 1.0
    assert value(rows, "dpo", "distinct_1")["value"] == pytest.approx(4 / 24)
    assert value(rows, "untrained smol", "dullness")["baseline"]


def test_empty_answers_have_no_cosine():
    values = found(answers("", ""))
    assert values == {"answer_tokens": 0.0}
