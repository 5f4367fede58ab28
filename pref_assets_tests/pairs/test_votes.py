import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from pref_assets.pairs.votes import DawidSkene, Majority, OneAnnotator, OneDimension, VotePolicyConfig, Weighted

VOTES = pl.DataFrame(
    [
        ("1", "2", "x", "overall", "a"),
        ("1", "2", "y", "overall", "b"),
        ("1", "2", "y", "length", "b"),
        ("1", "2", "z", "overall", "tie"),
        ("1", "3", "z", "overall", "tie"),
    ],
    schema=["completion_a", "completion_b", "annotator", "dimension", "choice"],
    orient="row",
)


def tally(policy):
    return policy.tally(VOTES, policy.fit([VOTES])).sort("completion_b").drop("completion_a", "completion_b").rows()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # counted, for a, ties, weight of a, weight of b
        (Majority(), [(4, 1, 1, 1.5, 2.5), (1, 0, 1, 0.5, 0.5)]),
        (Majority(tie_votes="ignore"), [(4, 1, 1, 1.0, 2.0), (1, 0, 1, 0.0, 0.0)]),
        (OneDimension(dimension="length"), [(1, 0, 0, 0.0, 1.0), (0, 0, 0, 0.0, 0.0)]),
        (OneAnnotator(annotator="z"), [(1, 0, 1, 0.5, 0.5), (1, 0, 1, 0.5, 0.5)]),
        (Weighted(dimensions={"length": 0.5}), [(4, 1, 1, 1.5, 2.0), (1, 0, 1, 0.5, 0.5)]),
        (Weighted(dimensions={"length": 2}, other_dimensions=0), [(1, 0, 0, 0.0, 2.0), (0, 0, 0, 0.0, 0.0)]),
        (
            Weighted(dimensions={"length": 0.5}, annotators={"y": 4, "z": 0.1}),
            [(4, 1, 1, 1.05, 6.05), (1, 0, 1, 0.05, 0.05)],
        ),
    ],
)
def test_what_votes_weigh(policy, expected):
    assert tally(policy) == expected


def test_the_block_in_yaml():
    union = TypeAdapter(VotePolicyConfig)
    assert union.validate_python({"type": "dawid_skene", "ties": "keep"}) == DawidSkene(ties="keep")
    assert union.validate_python({"type": "weighted", "annotators": {"x": 2}}) == Weighted(annotators={"x": 2.0})
    for bad in ({"x": -1}, {"x": float("inf")}):
        with pytest.raises(ValidationError):
            Weighted(annotators=bad)
