import math

import krippendorff
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.agreement import agreement, alpha
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.schema import AGREEMENT, ANNOTATORS, COMPARISONS
from pref_assets.pairs.votes import DawidSkene, Majority, OneAnnotator
from pref_assets_tests.pairs.build import read_completions, together


def judged(*pairs, source="s", start=0):
    """Records of pairs, each ``{annotator: choice}`` between the answers "a" and "b" of a prompt of its own."""
    rows = [
        {
            "prompt": f"prompt {number}",
            "completions": [{"content": "a"}, {"content": "b"}],
            "votes": [
                {"a": 0, "b": 1, "choice": choice, "annotator": who, "dimension": dimension}
                for (who, dimension), choice in votes.items()
            ],
        }
        for number, votes in enumerate(pairs, start)
    ]
    return read_completions(rows, source=source)


def overall(**votes):
    return {(who, "overall"): choice for who, choice in votes.items()}


def measured(*records, policy=None):
    policy = policy or Majority()
    merged = merge(*together(*records), PairsSettings(votes=policy))
    return agreement(merged.comparisons.lazy(), policy)


units = st.lists(st.tuples(*[st.integers(0, 4)] * 3).filter(lambda unit: sum(unit) > 1), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(units)
def test_alpha_is_the_krippendorff_package_s(counts):
    frame = pl.DataFrame(counts, schema=["a", "b", "tie"], orient="row")
    found = frame.select(alpha()).item()
    if (np.array(counts).sum(axis=0) > 0).sum() < 2:
        assert found is None
    else:
        values = np.array(counts)
        theirs = krippendorff.alpha(value_counts=values, level_of_measurement="nominal")
        assert found == pytest.approx(theirs, abs=1e-12)


def compared(*pairs):
    """Comparisons of the completions "1" and "2", as ``(chosen, {annotator: choice})``."""
    return COMPARISONS.frame(
        {
            "pair_id": str(number),
            "chosen_id": chosen,
            "rejected_id": {"1": "2", "2": "1"}[chosen],
            "votes": [{"annotator": who, "dimension": "overall", "choice": choice} for who, choice in votes.items()],
            "provenance": [{"source": "s", "uri": "u", "row": number, "batch": "b"}],
        }
        for number, (chosen, votes) in enumerate(pairs, 1)
    )


def test_agreement_by_hand():
    # For 1 and 1, for 2 and 2, one for each, and a single vote, which does not count.
    both, split = {"x": "chosen", "y": "chosen"}, {"x": "chosen", "y": "rejected"}
    frame = compared(("1", both), ("2", both), ("2", split), ("1", {"x": "chosen"}))
    _, found = agreement(frame.lazy(), Majority())
    assert found.schema == AGREEMENT.schema
    assert found["source"].to_list() == ["all", "s"]
    for row in found.rows(named=True):
        assert (row["pairs"], row["votes"], row["annotators"]) == (3, 6, 2)
        assert row["unanimous"] == pytest.approx(2 / 3)
        # Two of six pairable values disagree; by chance 3 * 3 * 2 of 6 * 5 would.
        assert row["alpha"] == pytest.approx(1 - (2 / 6) / (18 / 30))


def test_chance_is_no_agreement_and_orientation_does_not_bias():
    rng = np.random.default_rng(0)
    pairs = [overall(**{who: "ab"[rng.integers(2)] for who in "xyz"}) for _ in range(600)]
    annotators, found = measured(judged(*pairs))
    # Three random votes: alpha has a standard deviation of about 1 / sqrt(3 * 600) = 0.024.
    assert abs(found["alpha"][0]) < 0.1
    assert found["unanimous"][0] == pytest.approx(0.25, abs=0.08)
    assert annotators["agreed"].to_list() == pytest.approx([0.5] * 3, abs=0.1)


def test_annotators_by_hand():
    records = judged(
        overall(x="a", y="a", z="b"),
        overall(x="tie", y="tie"),
        overall(x="a"),
        {("x", "overall"): "a", ("y", "length"): "b"},
    )
    annotators, found = measured(records)
    assert annotators.schema == ANNOTATORS.schema
    rows = {(row["annotator"], row["dimension"]): row for row in annotators.rows(named=True)}
    assert set(rows) == {("x", "overall"), ("y", "overall"), ("z", "overall"), ("y", "length")}
    x = rows["x", "overall"]
    # Of the three others' votes on the first two pairs, two say the same as x.
    assert (x["votes"], x["ties"], x["judged_with_others"], x["agreed"]) == (4, 1, 2, pytest.approx(2 / 3))
    z = rows["z", "overall"]
    assert (z["votes"], z["judged_with_others"], z["agreed"]) == (1, 1, 0.0)
    alone = rows["y", "length"]
    assert (alone["votes"], alone["judged_with_others"], alone["agreed"]) == (1, 0, None)
    assert set(annotators["weight"]) == {1.0}
    assert set(found["dimension"]) == {"overall"}


def test_two_votes_of_one_annotator_are_not_others():
    same = judged(overall(x="a"), overall(x="a"))
    again = judged(overall(x="b"), start=0, source="t")
    annotators, found = measured(same, again)
    assert annotators.select("votes", "judged_with_others", "agreed").rows() == [(3, 0, None)]
    # The prompt of rows in both sources has two votes, counted for each source and for all.
    assert found.select("source", "pairs", "votes").rows() == [("all", 1, 2), ("s", 1, 2), ("t", 1, 2)]
    assert found["alpha"].to_list() == pytest.approx([0.0] * 3)


def test_weights_are_the_policy_s():
    pairs = [overall(x="a", y="a", z="b") for _ in range(30)]
    given, _ = measured(judged(*pairs), policy=OneAnnotator(annotator="y"))
    assert given.select("annotator", "weight").rows() == [("x", 0.0), ("y", 1.0), ("z", 0.0)]
    pairs = [overall(x="ab"[i % 2], y="ab"[i % 2], z="aabb"[i % 4]) for i in range(80)]
    learnt, _ = measured(judged(*pairs), policy=DawidSkene())
    x, y, z = learnt["weight"]
    assert x == y > 2 > 0.5 > abs(z)
    assert math.isfinite(x)


def test_order_changes_nothing_and_no_votes_are_no_rows():
    pairs = [overall(x="a", y="b", z="tie") for _ in range(5)] + [overall(x="b", y="b") for _ in range(5)]
    policy = DawidSkene()
    comparisons = merge(*together(judged(*pairs)), PairsSettings(votes=policy)).comparisons
    first = agreement(comparisons.lazy(), policy)
    second = agreement(comparisons.sample(fraction=1, shuffle=True, seed=3).lazy(), policy)
    for one, other in zip(first, second, strict=True):
        assert_frame_equal(one, other)
    assert [frame.height for frame in agreement(comparisons.head(0).lazy(), policy)] == [0, 0]
