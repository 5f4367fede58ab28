"""Mean preference of an answer over the others: circles have none, rewards come back centred."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import MeanPreference
from pref_assets_tests.scoring.text.pools import detail, text_pool


def every_pair(margins: dict[tuple[int, int], float]) -> Pool:
    """One prompt whose answers c000, c001, ... were compared as given: margins of the first over the second."""
    pool = text_pool(["q"] * (1 + max(max(each) for each in margins)))
    rows = [{"pair_id": f"p{i}{k}", "chosen_id": f"c{i:03}", "rejected_id": f"c{k:03}"} for i, k in margins]
    columns = pool.pairs.drop("pair_id", "chosen_id", "rejected_id").head(1)
    pairs = pl.DataFrame(rows).join(columns, how="cross").with_columns(prompt_id=pl.lit("q000"))
    table = PAIR_SCORES.frame({"pair_id": f"p{i}{k}", "score": value} for (i, k), value in margins.items())
    return Pool(pairs.select(pool.pairs.columns), pool.completions, scores={"rm": table}, prompts=pool.prompts)


def test_a_circle_prefers_nobody() -> None:
    s = 0.8660254037844386
    scores = MeanPreference(scores="rm").score(every_pair({(0, 1): s, (1, 2): s, (2, 0): s}))
    assert scores["score_chosen"].to_list() == pytest.approx([0, 0, 0], abs=1e-15)
    assert scores["score"].to_list() == pytest.approx([0, 0, 0], abs=1e-15)
    assert detail(scores, "compared_chosen") == [3, 3, 3]


def test_by_hand() -> None:
    # c000 over c001 by 3 and c002 by 6, itself by 0: 9 / 3; c001 has -3 + 3; c002 -6 - 3.
    scores = MeanPreference(scores="rm").score(every_pair({(0, 1): 3.0, (0, 2): 6.0, (1, 2): 3.0}))
    assert scores["score_chosen"].to_list() == [3, 3, 0]
    assert scores["score_rejected"].to_list() == [0, -3, -3]
    assert scores["score"].to_list() == [3, 6, 3]


def test_of_a_reward_it_is_the_reward_less_its_mean() -> None:
    reward = np.random.default_rng(0).normal(size=5)
    pool = every_pair({(i, k): float(reward[i] - reward[k]) for i in range(5) for k in range(i + 1, 5)})
    scores = MeanPreference(scores="rm").score(pool)
    chosen = pool.pairs.sort("pair_id")["chosen_id"].str.tail(1).cast(pl.Int64).to_numpy()
    assert scores["score_chosen"].to_numpy() == pytest.approx(reward[chosen] - reward.mean())


def test_only_finite_margins() -> None:
    pool = every_pair({(0, 1): 3.0, (0, 2): float("nan")})
    with pytest.raises(ValueError, match=r"1 of 2 pairs have no usable 'score' in scores 'rm'"):
        MeanPreference(scores="rm").score(pool)


def test_no_pair() -> None:
    pool = every_pair({(0, 1): 3.0})
    empty = Pool(pool.pairs.head(0), pool.completions, scores=pool.scores)
    assert_frame_equal(MeanPreference(scores="rm").score(empty), PAIR_SCORES.empty())
