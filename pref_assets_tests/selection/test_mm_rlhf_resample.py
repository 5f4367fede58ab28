from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import CLUSTERS, COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.selection import MMRLHFResample
from pref_assets.selection.mm_rlhf_resample import TYPES, TypeRatio
from pref_assets.selection.quotas import largest_remainder, smallest_n
from pref_assets_tests.selection.clustered import clustered_pool, shares, with_texts
from pref_assets_tests.selection.invariants import assert_promises, shuffled

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
    named = decisions.filter("selected").select(pl.col("reason").str.extract(r"^selected: (\w+)[ ,]")).to_series()
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


@pytest.mark.parametrize(
    ("sizes", "target", "n", "given"),
    [
        ([10, 10, 10], 9, 3, [3, 3, 3]),
        ([1, 5, 100], 12, 6, [1, 5, 6]),
        ([0, 3, 3], 6, 3, [0, 3, 3]),
        ([2, 2], 10, 2, [2, 2]),
        ([4, 4], 5, 3, [3, 3]),
        ([], 3, 0, []),
        ([7], 0, 0, [0]),
    ],
)
def test_the_smallest_n_that_fills_the_share(sizes: list[int], target: int, n: int, given: list[int]) -> None:
    """Oracle: the smallest N with sum of min(size, N) >= target, by counting up."""
    assert smallest_n(np.array(sizes, dtype=np.int64), target) == n
    reached = [m for m in range(max(sizes, default=0) + 1) if sum(min(size, m) for size in sizes) >= target]
    assert n == min(reached, default=max(sizes, default=0))
    assert [min(size, n) for size in sizes] == given


@pytest.mark.parametrize(
    ("sizes", "target", "n", "given"),
    [([10, 10, 10], 9, 3, [3, 3, 3]), ([1, 5, 100], 12, 6, [1, 5, 6]), ([3, 3], 6, 3, [3, 3])],
)
def test_every_cluster_gives_n_or_all_it_has(sizes: list[int], target: int, n: int, given: list[int]) -> None:
    decisions = resample(target, short_of="fill").select(pool := typed_pool(sizes, "s"))
    assert shares(pool, decisions) == given
    assert decisions.filter("selected")["reason"].str.ends_with(f"N = {n}").all()
    assert decisions["pair_id"].is_unique().all()


def test_the_published_counts_are_near_the_ratio() -> None:
    """9,575 long, 12,063 short and 2,125 multiple choice of 23,763 are 4 : 5 : 1 to 1.2 points; exact shares follow."""
    due = largest_remainder(TYPES, TypeRatio().weights(), 23_763, 0)
    assert due.tolist() == [9_505, 11_882, 2_376]
    assert largest_remainder(TYPES, TypeRatio().weights(), 7, 0).tolist() == [3, 3, 1]
    assert np.abs(np.array([9_575, 12_063, 2_125]) - due).max() / 23_763 < 0.012


def test_a_type_that_runs_short_is_an_error_or_filled() -> None:
    pool = typed_pool([20], "lssss")  # 4 long, 16 short, no multiple choice
    with pytest.raises(
        ValueError, match=r"20 pairs in the ratio 4:5:1 need 8 long \(there are 4\), 2 mcq \(there are 0\)"
    ):
        resample(20).select(pool)
    assert counts(resample(15, short_of="fill").select(pool)) == {"long": 4, "short": 11}


def test_what_a_type_lacks_is_said_where_less_is_kept() -> None:
    """Of 10 due 4 long, 5 short and 1 multiple choice, two clusters hold 2 + 2 short and nothing else."""
    pool = typed_pool([2, 2], "s")
    with pytest.raises(ValueError, match="budget of 10 pairs, but only 4 candidates"):
        resample(10, short_of="less").select(pool)
    decisions = resample(4, short_of="less", ratio={"long": 1, "short": 8, "mcq": 1}).select(pool)
    assert decisions.filter("selected").height == 3
    pool = typed_pool([20], "lssss")
    decisions = assert_promises(resample(20, short_of="less"), pool, short=True)
    assert decisions.filter("selected").height == 4 + 10
    long = decisions.filter(pl.col("reason").str.contains("long"))["reason"]
    assert long.str.starts_with("selected: long (4 of the 8 due), draw").all()


def test_draws_of_a_cluster_do_not_depend_on_the_others() -> None:
    """Rows that another cluster gains change how far a cluster's order is followed, never the order."""
    orders = []
    for other in (6, 7, 60):
        decisions = resample(10, short_of="fill").select(typed_pool([6, other], "s", held_out=0))
        own = decisions.filter(pl.col("pair_id") < "p0006")
        drawn = own.with_columns(draw=pl.col("reason").str.extract(r"draw (\d+)").cast(int)).sort("draw")
        orders.append(drawn["pair_id"].to_list())
        assert drawn["selected"].sum() == 5
        assert drawn["selected"].head(5).all()
    assert orders[0] == orders[1] == orders[2]
    assert (
        resample(10, short_of="fill", seed=1).select(typed_pool([6, 6], "s")).filter("selected")["pair_id"].to_list()
        != resample(10, short_of="fill").select(typed_pool([6, 6], "s")).filter("selected")["pair_id"].to_list()
    )


def prompts_of_three() -> Pool:
    """Prompts q0 to q5 in two clusters, each with the pairs a > b, a > c and b > c; of q0, q2 and q4 a is long, and
    a long b never wins most."""
    pairs, prompts, answers, clusters = [], [], [], []
    for q in range(6):
        prompts.append({"prompt_id": f"q{q}", "messages": [{"role": "user", "content": MCQ if q == 5 else "Why?"}]})
        lengths = {"a": 200 if q in (0, 2, 4) else 3, "b": 200, "c": 1}
        for answer, length in lengths.items():
            turn = [{"role": "assistant", "content": "x" * length}]
            answers.append({"completion_id": f"q{q}{answer}", "prompt_id": f"q{q}", "messages": turn})
            clusters.append({"id": f"q{q}{answer}", "cluster": q % 2, "distance": 0.0})
        pairs += [
            {
                "pair_id": f"q{q}{better}{worse}",
                "prompt_id": f"q{q}",
                "chosen_id": f"q{q}{better}",
                "rejected_id": f"q{q}{worse}",
                "p_chosen": 1.0,
                "split": "train",
            }
            for better, worse in ("ab", "ac", "bc")
        ]
    frames = (PAIRS.frame(pairs), COMPLETIONS.frame(answers), CLUSTERS.frame(clusters), PROMPTS.frame(prompts))
    return Pool(frames[0], frames[1], clusters={"topics": frames[2]}, prompts=frames[3])


def test_a_drawn_prompt_brings_all_its_pairs() -> None:
    """3 long, 2 short and 1 multiple-choice prompt; the budget counts prompts."""
    pool = prompts_of_three()
    for budget, wanted in ((3, {"long": 1, "short": 1, "mcq": 1}), ("100%", {"long": 3, "short": 2, "mcq": 1})):
        method = resample(budget, unit="prompts", ratio=wanted)
        decisions = method.select(pool)
        assert counts(decisions) == {name: 3 * n for name, n in wanted.items()}
        by_prompt = decisions.group_by(pl.col("pair_id").str.head(2)).agg(pl.col("selected").n_unique())
        assert by_prompt["selected"].to_list() == [1] * 6
        assert sorted(decisions["rank"]) == list(range(1, 19))
        for seed in range(2):
            assert method.select(shuffled(pool, seed)).equals(decisions)
    crossed = replace(pool, pairs=pool.pairs.with_columns(prompt_id=pl.lit(None, pl.String)))
    with pytest.raises(ValueError, match=r"18 train pairs compare answers to two prompts.*use `unit: pairs`"):
        resample(3, unit="prompts").select(crossed)
    with pytest.raises(ValueError, match="goes with `unit: pairs`"):
        resample("9k tokens", unit="prompts", counted_by="minilm")
