import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pairs.votes import DawidSkene

SKILL = {"good": 0.9, "fair": 0.7, "coin": 0.5, "liar": 0.2, "fine": 0.8}


def simulated(n=400, tie=0.0, undecided=0.0, seed=0):
    """Votes of five annotators on every pair, and the truth of each (0: a, 1: b, 2: tie)."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n) < tie, 2, rng.integers(0, 2, n))
    rows = []
    for number, true in enumerate(truth):
        for name, skill in SKILL.items():
            right = rng.random() < skill
            choice = true if right else (1 - true if true < 2 else rng.integers(0, 2))
            choice = 2 if rng.random() < undecided else choice
            rows.append((f"a{number:04}", f"b{number:04}", name, "overall", ("a", "b", "tie")[choice]))
    names = ["completion_a", "completion_b", "annotator", "dimension", "choice"]
    return pl.DataFrame(rows, schema=names, orient="row"), truth


def posterior(policy, votes):
    tally = policy.tally(votes, policy.fit([votes])).sort("completion_a")
    return tally["weight_a"].to_numpy()


def test_it_learns_who_is_reliable_and_beats_the_majority():
    votes, truth = simulated(2000)
    policy = DawidSkene()
    weight = dict(policy.fit([votes]).select("annotator", "weight").iter_rows())
    assert sorted(SKILL, key=weight.__getitem__) == ["liar", "coin", "fair", "fine", "good"]
    assert weight["good"] == pytest.approx(np.log(0.9 / 0.1), abs=0.5)
    assert weight["coin"] == pytest.approx(0, abs=0.3)
    assert weight["liar"] == pytest.approx(np.log(0.2 / 0.8), abs=0.4)
    right = ((posterior(policy, votes) > 0.5) == (truth == 0)).mean()
    share = votes.group_by("completion_a").agg((pl.col("choice") == "a").mean()).sort("completion_a")["choice"]
    majority = ((share.to_numpy() > 0.5) == (truth == 0)).mean()
    assert right > majority + 0.03


@pytest.mark.parametrize(("tie", "undecided"), [(0.0, 0.0), (0.2, 0.0), (0.2, 0.1)])
def test_it_is_crowd_kit_s_on_data_told_from_both_sides(tie, undecided):
    """On every pair told twice with sides swapped, the free confusion matrices come out symmetric by themselves."""
    from crowdkit.aggregation import DawidSkene as CrowdKit

    votes, _ = simulated(150, tie, undecided)
    swapped = votes.with_columns(
        pl.concat_str(pl.lit("swapped "), "completion_a").alias("completion_a"),
        pl.col("choice").replace({"a": "b", "b": "a"}),
    )
    told = pl.concat([votes, swapped]).select(task="completion_a", worker="annotator", label="choice")
    theirs = CrowdKit(n_iter=1000, tol=1e-12).fit_predict_proba(told.to_pandas())
    theirs = theirs.reindex(columns=["a", "b", "tie"], fill_value=0.0)
    theirs = theirs[~theirs.index.str.startswith("swapped")].sort_index()
    ours = posterior(DawidSkene(smoothing=0, iterations=1000, tolerance=1e-12), votes)
    assert np.abs(ours - (theirs["a"] + theirs["tie"] / 2).to_numpy()).max() < 1e-4


def test_the_order_of_votes_and_parts_and_sides_changes_nothing():
    votes, _ = simulated(60, 0.1, 0.1)
    policy = DawidSkene()
    whole = policy.fit([votes])
    shuffled = votes.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(policy.fit(shuffled.iter_slices(17)), whole, check_exact=True)
    swapped = votes.with_columns(pl.col("choice").replace({"a": "b", "b": "a"}))
    np.testing.assert_allclose(posterior(policy, swapped), 1 - posterior(policy, votes), atol=1e-9)


def vote(pair, annotator, choice, dimension="overall"):
    return {
        "completion_a": f"a{pair}",
        "completion_b": f"b{pair}",
        "annotator": annotator,
        "dimension": dimension,
        "choice": choice,
    }


def test_who_never_judged_with_others_is_average():
    votes, _ = simulated(100)
    alone = pl.concat([votes, pl.DataFrame([vote(9999, "alone", "a"), vote(9998, "alone too", "b")])])
    weight = dict(DawidSkene().fit([alone]).select("annotator", "weight").iter_rows())
    assert weight["alone"] == weight["alone too"]
    assert weight["coin"] < weight["alone"] < weight["good"]
    assert weight["good"] == dict(DawidSkene().fit([votes]).select("annotator", "weight").iter_rows())["good"]


def test_tie_votes_alone_are_a_tie():
    votes, _ = simulated(100, 0.1)
    some = pl.concat([votes, pl.DataFrame([vote("!", name, "tie") for name in SKILL])])
    tally = DawidSkene().tally(some, DawidSkene().fit([some])).filter(completion_a="a!")
    assert tally.select("counted", "for_a", "ties").row(0) == (5, 0, 5)
    assert tally["weight_a"][0] == tally["weight_b"][0] == 0.5


def test_other_dimensions_do_not_count():
    votes, _ = simulated(50)
    other = votes.with_columns(dimension=pl.lit("length"), choice=pl.lit("b"))
    lone = pl.DataFrame([vote("!", "good", "a", "length")])
    policy = DawidSkene(dimensions=("overall",))
    both = pl.concat([votes, other, lone])
    fitted = policy.fit([both])
    assert_frame_equal(fitted, policy.fit([votes]))
    tally = policy.tally(both, fitted)
    assert_frame_equal(tally.filter(pl.col("completion_a") != "a!"), policy.tally(votes, fitted))
    assert tally.filter(completion_a="a!").select("counted", "weight_a", "weight_b").row(0) == (0, 0.0, 0.0)


def test_nothing_to_learn_from_is_an_error_and_no_votes_are_none():
    votes = pl.DataFrame([vote(1, "x", "a"), vote(2, "y", "b")])
    with pytest.raises(ValueError, match=r"no pair has two votes.*majority"):
        DawidSkene().fit([votes])
    assert DawidSkene().fit([votes.head(0)]).is_empty()
    with pytest.raises(ValueError, match="'x' had no votes"):
        DawidSkene().tally(votes, DawidSkene().fit([]))
