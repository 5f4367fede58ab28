"""Checkpoints side by side, controls, Markdown and picture."""

import io
from typing import get_args

import polars as pl
import pytest

from pref_assets.evaluation.leaderboard import LEADERBOARD, leaderboard, markdown
from pref_assets.evaluation.plot import plot
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.training.checkpoint import Kind, Manifest, Pinned

SUBSETS = {"deita_25": "deita", "random_25": "random", "random_50": "random", "all": "all"}


def manifest(name, subset, n, kind="policy", **config):
    return Manifest(
        pipeline="p",
        name=name,
        version=f"v_{name}",
        kind=kind,
        created="2026-01-01T00:00:00+00:00",
        code_version="0",
        libraries={},
        config={"subset": subset, "seed": 0, "beta": 0.1, **config},
        base="m",
        base_identity="m==1",
        reference=None,
        subset=Pinned(key=["p", "subsets", subset], delta_version=0, data_version="d"),
        tables={},
        n_pairs=n,
        pair_ids_sha256="0",
        files={},
        metrics={},
        run={},
    )


def result(name, metric, value, lo=None, hi=None, subset="all", baseline=False):
    version = None if baseline else f"v_{name}"
    columns = (name, version, metric, subset, value, lo, hi, 40, baseline)
    return dict(zip(EVALUATIONS.columns, columns, strict=True))


MANIFESTS = [
    manifest("dpo_deita", "deita_25", 100),
    manifest("dpo_random", "random_25", 100, seed=7),
    manifest("dpo_hot", "random_25", 100, beta=0.5),
    manifest("dpo_random_50", "random_50", 200),
    manifest("dpo_all", "all", 400),
]
EVALUATION = EVALUATIONS.frame(
    [
        result("dpo_deita", "constraints_met", 0.5, 0.4, 0.6),
        result("dpo_deita", "constraints_met", 0.1, 0.0, 0.2, subset="family:start"),
        result("dpo_deita", "prompts_met", 0.3),
        result("dpo_random", "constraints_met", 0.4, 0.3, 0.5),
        result("dpo_hot", "constraints_met", 0.9, 0.8, 0.95),
        result("dpo_random_50", "constraints_met", 0.42, 0.3, 0.5),
        result("dpo_all", "constraints_met", 0.6, 0.5, 0.7),
        result("untrained smol", "constraints_met", 0.35, 0.3, 0.4, baseline=True),
    ]
)
REWARD = EVALUATIONS.frame(
    [
        {**result("scores/strength", "accuracy", 0.7, 0.6, 0.8), "version": "h"},
        result("longer wins", "accuracy", 0.55, 0.5, 0.6, baseline=True),
    ]
)


@pytest.fixture(scope="module")
def board():
    return leaderboard({"constraints": EVALUATION, "rewards": REWARD}, MANIFESTS, SUBSETS)


def row(board, name, metric="constraints_met"):
    return board.filter(name=name, metric=metric).row(0, named=True)


def test_the_control_is_random_alike_and_of_the_same_size(board):
    deita = row(board, "dpo_deita")
    assert (deita["kind"], deita["subset"], deita["pairs"], deita["control"]) == (
        "policy",
        "deita_25",
        100,
        "dpo_random",
    )
    assert deita["difference"] == pytest.approx(0.1)
    # Both intervals are 0.1 to either side: 0.1 -+ sqrt(0.01 + 0.01).
    assert (deita["difference_lo"], deita["difference_hi"]) == pytest.approx((0.1 - 0.02**0.5, 0.1 + 0.02**0.5))
    assert row(board, "dpo_random")["control"] is None
    assert row(board, "dpo_all")["control"] is None  # no random subset of 400
    assert row(board, "dpo_all")["difference"] is None


def test_a_metric_that_the_control_lacks_has_no_difference(board):
    assert row(board, "dpo_deita", "prompts_met")["difference"] is None


def test_slices_stay_out_and_kinds_are_told_apart(board):
    assert board.height == 9
    kinds = dict(board.select("name", "kind").unique().rows())
    assert kinds["scores/strength"] == "score"
    assert kinds["untrained smol"] == kinds["longer wins"] == "baseline"
    assert LEADERBOARD.conform(board).equals(board)
    assert not board.select(LEADERBOARD.key).is_duplicated().any()


def test_markdown_has_a_row_a_checkpoint(board):
    policies, rewards = markdown(board).split("### Reward models and scores")
    lines = [line for line in policies.splitlines() if line.startswith("| ")]
    assert lines[0] == "| name | subset | pairs | control | constraints_met | prompts_met |"
    assert [line.split(" | ")[0][2:] for line in lines[1:]] == [
        "dpo_all",
        "dpo_deita",
        "dpo_hot",
        "dpo_random",
        "dpo_random_50",
        "*untrained smol*",
    ]
    assert "| dpo_deita | deita_25 | 100 | dpo_random | 0.500 [0.400, 0.600] Δ+0.100 | 0.300 |" in lines
    assert "| *untrained smol* |  |  |  | 0.350 [0.300, 0.400] |  |" in lines
    assert "| scores/strength |  |  |  | 0.700 [0.600, 0.800] |" in rewards


def test_a_difference_whose_interval_leaves_out_zero_is_starred():
    frame = EVALUATIONS.frame([result("a", "accuracy", 0.9, 0.85, 0.95), result("b", "accuracy", 0.5, 0.45, 0.55)])
    manifests = [manifest("a", "deita_25", 10, "reward_model"), manifest("b", "random_25", 10, "reward_model")]
    assert "Δ+0.400*" in markdown(leaderboard({"r": frame}, manifests, SUBSETS))


def test_a_checkpoint_that_is_gone_is_an_error():
    with pytest.raises(ValueError, match="'constraints' measured dpo_all@v_dpo_all"):
        leaderboard({"constraints": EVALUATION}, MANIFESTS[:-1], SUBSETS)


def test_the_picture_is_small(board):
    from PIL import Image

    png = plot(board)
    assert len(png) <= 5_000
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 3
    with pytest.raises(ValueError, match="empty"):
        plot(LEADERBOARD.empty())


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_checkpoint_has_a_point(kind: Kind):
    frame = EVALUATIONS.frame([result("a", "accuracy", 0.9, 0.85, 0.95), result("b", "accuracy", 0.5, 0.45, 0.55)])
    manifests = [manifest(name, "deita_25", 10, kind) for name in ("a", "b")]
    assert plot(leaderboard({"r": frame}, manifests, SUBSETS))


def test_a_full_board_still_makes_a_small_picture():
    frame = pl.concat([EVALUATION, *(EVALUATION.with_columns(metric=pl.lit(f"m{i}")) for i in range(3))])
    evaluations = {f"evaluation_{i}": frame for i in range(6)}
    assert len(plot(leaderboard(evaluations, MANIFESTS, SUBSETS))) <= 5_000


def seeds(*values, extra=()):
    manifests = [manifest("deita", "deita_25", 100)]
    rows = [result("deita", "accuracy", 0.8, 0.7, 0.9), *extra]
    for i, value in enumerate(values):
        manifests.append(manifest(f"random_{i}", "random_25", 100, seed=i))
        rows.append(result(f"random_{i}", "accuracy", value, value - 0.1, value + 0.1))
    return row(leaderboard({"r": EVALUATIONS.frame(rows)}, manifests, SUBSETS), "deita", "accuracy")


def test_the_control_is_the_mean_over_all_random_seeds():
    found = seeds(0.5, 0.7, 0.6)
    assert found["control"] == "random_0, random_1, random_2"
    assert found["difference"] == pytest.approx(0.2)
    # Items: 0.1 and 0.1 in quadrature. Seeds: t(2) = 4.303 times 0.1 / sqrt(3).
    arm = (0.02 + (4.302653 * 0.1 / 3**0.5) ** 2) ** 0.5
    assert (found["difference_lo"], found["difference_hi"]) == pytest.approx((0.2 - arm, 0.2 + arm))


def test_a_paired_difference_is_used_where_there_is_one():
    extra = [result("deita", "accuracy", 0.2, 0.15, 0.26, subset="vs:random_0")]
    found = seeds(0.6, extra=extra)
    assert (found["difference"], found["difference_lo"], found["difference_hi"]) == pytest.approx((0.2, 0.15, 0.26))
    assert seeds(0.6, 0.6, extra=extra)["difference_lo"] == pytest.approx(0.2 - (0.05 + 0.02**0.5) / 2)
