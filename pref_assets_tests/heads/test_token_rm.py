"""Token rewards: labels of an edit, planted good and bad words, and what a pair without an edit says."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.heads.token_rm import TokenRm
from pref_assets.heads.token_states import marked_sums, reader, token_labels
from pref_assets.models.tiny import tiny_llama
from pref_assets.pairs.schema import COMPLETIONS, PROMPTS
from pref_assets.pool import Pool
from pref_assets_tests.heads.toys import pool_of, swapped

NOUNS = ("tree", "river", "house", "stone", "cloud", "horse", "garden", "winter", "letter", "window")
GOOD, BAD = ("calm", "clear", "gentle", "honest"), ("cruel", "rotten", "stupid", "vile")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("tiny")
    return str(tiny_llama(folder))


def test_labels_by_hand() -> None:
    a, b, c, d, e, x = range(6)
    worse, better = token_labels([a, b, c, d], [a, x, c, d, e])
    assert (worse.tolist(), better.tolist()) == ([0, -1, 0, 0], [0, 1, 0, 0, 1])
    same = token_labels([a, b], [a, b])
    assert [each.tolist() for each in same] == [[0, 0], [0, 0]]


def pool_with(texts: list[tuple[str, str]]) -> Pool:
    """Pairs (chosen, rejected) that answer one prompt each."""
    said = [text for pair in texts for text in pair]
    completions = COMPLETIONS.frame(
        {
            "completion_id": f"c{i:05}",
            "prompt_id": f"q{i // 2:05}",
            "messages": [{"role": "assistant", "content": text}],
        }
        for i, text in enumerate(said)
    )
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i:05}", "messages": [{"role": "user", "content": "Say it."}]} for i in range(len(texts))
    )
    rows = [{"chosen": 2 * i, "rejected": 2 * i + 1} for i in range(len(texts))]
    return pool_of(np.eye(len(said), 1), rows, completions=completions, prompts=prompts)


def edits(n: int, seed: int) -> Pool:
    """Sentences with one word that is good in the chosen and bad in the rejected answer."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(n):
        one, two = rng.choice(NOUNS, 2, replace=False)
        frame = f"the {one} was {{}} and the {two} was old"
        texts.append((frame.format(rng.choice(GOOD)), frame.format(rng.choice(BAD))))
    return pool_with(texts)


def head(model: str, **settings: Any) -> TokenRm:
    return TokenRm(model=model, max_length=64, **settings)


@pytest.mark.parametrize("tokens", ["edited", "all"])
def test_planted_words_are_told_apart(model: str, tokens: str) -> None:
    pool, test = edits(40, 0), edits(40, 1)
    fitted = head(model, tokens=tokens).fit(pool, pool.pairs)
    found = fitted.predict(test, test.pairs)
    assert (found.margin > 0).mean() > 0.9
    assert fitted.predict(test, swapped(test.pairs)).margin == pytest.approx(-found.margin, abs=1e-12)
    again = fitted.config.restore(fitted.arrays()).predict(test, test.pairs)
    assert np.array_equal(again.margin, found.margin)
    if tokens == "edited":
        # One word of nine, perhaps of several tokens, on both sides.
        assert (found.details["edited_share"] < 0.4).all()
    else:
        assert (found.details["edited_share"] == 1).all()


def test_margin_is_the_sum_of_the_rewards_of_edited_tokens(model: str) -> None:
    pool = edits(20, 2)
    fitted = head(model).fit(pool, pool.pairs)
    found = fitted.predict(pool, pool.pairs)
    row = pool.texts(pool.pairs[:1]).row(0, named=True)
    sides = [fitted.token_rewards("Say it.", row[side]) for side in ("chosen", "rejected")]
    ids = [reader(model, 64).tokenizer.convert_tokens_to_ids(tokens) for tokens, _ in sides]
    labels = token_labels(ids[1], ids[0])
    total = (sides[0][1] * labels[1]).sum() + (sides[1][1] * labels[0]).sum()
    assert found.margin[0] == pytest.approx(total)
    assert reader(model, 64).tokenizer.convert_tokens_to_string(sides[0][0]) == row["chosen"]


def test_a_pair_without_an_edit_says_and_teaches_nothing(model: str) -> None:
    same = ("the tree was calm", "the tree was calm")
    pool = pool_with([same, ("a good day", "a bad day")])
    sums = marked_sums(model, 64, "edited", [("Say it.", *same)])
    assert not sums[0].any()
    assert sums[2].tolist() == [[0, 0]]
    with_it, alone = (head(model).fit(pool, pairs) for pairs in (pool.pairs, pool.pairs[1:]))
    assert with_it.weights == pytest.approx(alone.weights, abs=1e-9)
    assert with_it.predict(pool, pool.pairs).margin[0] == 0


def test_long_texts_lose_the_start_of_the_prompt_and_then_the_end_of_the_answer(model: str) -> None:
    found = reader(model, 8)
    prompt, answer = list(range(100, 120)), list(range(200, 206))
    assert np.array_equal(found.states(prompt, answer), found.states(prompt[-2:], answer))
    assert not np.array_equal(found.states(prompt, answer), found.states(prompt[:2], answer))
    longer = found.states(prompt, [*answer, *answer])
    assert not longer[8:].any()
    assert longer[:8].any(axis=1).all()


def test_bad_input_is_refused(model: str) -> None:
    pool = edits(4, 3)
    with pytest.raises(ValueError, match="no pair to learn from"):
        head(model).fit(pool, pool.pairs.clear())
    with pytest.raises(ValidationError, match="reads no embeddings"):
        head(model, embeddings="e")
    silent = Pool(pool.pairs, pool.completions.filter(pl.col("completion_id") != "c00000"), prompts=pool.prompts)
    with pytest.raises(ValueError, match="1 pairs have a prompt or completion without text"):
        head(model).fit(silent, silent.pairs)
