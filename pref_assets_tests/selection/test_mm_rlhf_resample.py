import polars as pl
import pytest

from pref_assets.pool import Pool
from pref_assets.selection import MMRLHFResample
from pref_assets_tests.selection.clustered import clustered_pool, with_texts
from pref_assets_tests.selection.invariants import assert_promises

MCQ = "Which one?\nA. red\nB. blue\nC. green"
LONG, SHORT = "x" * 129, "x" * 128


def resample(budget: int | str, **more: object) -> MMRLHFResample:
    return MMRLHFResample.model_validate({"budget": budget, "clusters": "topics", **more})


def typed_pool(sizes: list[int], types: str, **more: object) -> Pool:
    """Pair i is of type ``types[i % len(types)]``: m, l or s."""
    pool = clustered_pool(sizes, **more)  # type: ignore[arg-type]
    kinds = [types[i % len(types)] for i in range(len(pool.pairs))]
    return with_texts(pool, [MCQ if k == "m" else "Why?" for k in kinds], [LONG if k == "l" else SHORT for k in kinds])


def counts(decisions: pl.DataFrame) -> dict[str, int]:
    named = decisions.filter("selected").select(pl.col("reason").str.extract(r"^selected: (\w+),")).to_series()
    return dict(named.value_counts().iter_rows())


def test_promises() -> None:
    for unit in ("pair", "completion"):
        pool = typed_pool([30, 12, 6], "llssm", unit=unit)
        for budget in (1, 7, 10, "25%"):
            assert_promises(resample(budget), pool)
        assert_promises(resample("100%", short_of="fill"), pool)


@pytest.mark.parametrize(
    ("prompt", "chosen", "expected"),
    [
        (MCQ, LONG, "mcq"),
        ("Pick (A) one or (B) two.", SHORT, "mcq"),
        ("A) yes B) no", SHORT, "mcq"),
        ("Vitamin A. What is it?", SHORT, "short"),
        ("Why?", LONG, "long"),
        ("Why?", SHORT, "short"),
        (None, LONG, "long"),
    ],
)
def test_types(prompt: str | None, chosen: str, expected: str) -> None:
    """A chosen answer of exactly 128 characters is short."""
    texts = pl.DataFrame({"prompt": [prompt], "chosen": [chosen]}, schema={"prompt": pl.String, "chosen": pl.String})
    assert resample(1).types(texts).tolist() == [("long", "short", "mcq").index(expected)]


def test_ratio_oracle() -> None:
    pool = typed_pool([40, 40], "lsm")
    assert counts(resample(7).select(pool)) == {"long": 3, "short": 3, "mcq": 1}
    assert counts(resample(40).select(pool)) == {"long": 16, "short": 20, "mcq": 4}


@pytest.mark.parametrize(("sizes", "target", "n"), [([10, 10, 10], 9, 3), ([1, 5, 100], 12, 6)])
def test_the_smallest_n_that_fills_the_share(sizes: list[int], target: int, n: int) -> None:
    """One type: every cluster gives n, or all it has; what the last round has too many is left out."""
    pool = typed_pool(sizes, "s")
    kept = (
        resample(target, short_of="fill")
        .select(pool)
        .filter("selected")
        .join(pool.clusters["topics"], left_on="pair_id", right_on="id")
    )
    assert kept.group_by("cluster").len()["len"].max() == n
    assert len(kept) == target


def test_a_type_that_runs_short_is_an_error_or_filled() -> None:
    pool = typed_pool([20], "lssss")  # 4 long, 16 short, no multiple choice
    with pytest.raises(
        ValueError, match=r"20 pairs in the ratio 4:5:1 need 8 long \(there are 4\), 2 mcq \(there are 0\)"
    ):
        resample(20).select(pool)
    assert counts(resample(15, short_of="fill").select(pool)) == {"long": 4, "short": 11}


def test_draws_of_a_cluster_do_not_depend_on_the_others() -> None:
    picks = []
    for other in (6, 60):
        decisions = resample(6, short_of="fill").select(typed_pool([6, other], "s", held_out=0))
        picks.append([id_ for id_ in decisions.filter("selected")["pair_id"].to_list() if id_ < "p0006"])
    assert picks[0] == picks[1]
