"""Whether a scorer ranks the chosen side above the rejected one: pure functions over margins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.evaluation import baselines
from pref_assets.evaluation.heldout import slices
from pref_assets.evaluation.intervals import Estimate, bootstrap, bootstrap_mean, difference, group_numbers, share

VERSUS = "vs:"
"""Slices of differences to another scorer on the same items."""


@dataclass(frozen=True)
class Margins:
    """What one scorer says of the held-out pairs.

    Attributes:
        name: checkpoint, scorer or baseline.
        version: its version; null for a baseline.
        frame: (pair_id, margin), positive when it prefers the chosen side.
        baseline: whether it is one.
        tie: margins up to this size count as undecided.
    """

    name: str
    version: str | None
    frame: pl.DataFrame
    baseline: bool = False
    tie: float = 0.0


def row(of: Margins, metric: str, subset: str, estimate: Estimate) -> dict[str, Any]:
    """One ``EVALUATIONS`` row."""
    return {
        "checkpoint": of.name,
        "version": of.version,
        "metric": metric,
        "subset": subset,
        "value": estimate.value,
        "lo": estimate.lo,
        "hi": estimate.hi,
        "n": estimate.n,
        "baseline": of.baseline,
    }


def baseline_margins(test: pl.DataFrame) -> list[Margins]:
    """Longer, shorter and random, for every table of accuracies."""
    return [Margins(name, None, frame, baseline=True) for name, frame in baselines.margins(test).items()]


def points(margin: pl.Expr, tie: float = 0.0) -> pl.Expr:
    """1 for a margin above ``tie``, 0 below ``-tie``, one half between: what a coin would earn on an undecided pair."""
    return pl.when(margin > tie).then(1.0).when(margin < -tie).then(0.0).otherwise(0.5)


def joined(test: pl.DataFrame, of: Margins) -> pl.DataFrame:
    """The held-out pairs with ``margin`` and ``points`` of one scorer.

    Raises:
        ValueError: a pair has no margin, or it is not finite; names the scorer and the pair.
    """
    frame = test.join(of.frame.select("pair_id", "margin"), on="pair_id", how="left").sort("pair_id")
    unknown = frame.filter(~pl.col("margin").is_finite().fill_null(False))
    if not unknown.is_empty():
        raise ValueError(
            f"{of.name}: no finite margin for {unknown.height} of {frame.height} held-out pairs, "
            f"such as {unknown['pair_id'][0]}; score them again"
        )
    return frame.with_columns(points(pl.col("margin"), of.tie).alias("points"))


def accuracy_rows(scorers: Sequence[Margins], test: pl.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Share of pairs whose recorded winner scores higher, on every slice.

    Where the truth is known, ``<metric>_true`` is the same against the true winner: a scorer that learned the truth
    from faulty labels disagrees with the faulty ones and is right.
    Intervals are Wilson's at the sample size that is left after grouping pairs by prompt.
    """
    parts = slices(test)
    rows = []
    for scorer in scorers:
        frame = joined(test, scorer)
        rows += _sliced(scorer, metric, frame, parts)
        known = frame.drop_nulls("label_right")
        truthful = pl.when("label_right").then(pl.col("points")).otherwise(1 - pl.col("points"))
        rows += _sliced(scorer, f"{metric}_true", known.with_columns(truthful.alias("points")), parts)
    return rows


def recorded_rows(test: pl.DataFrame, metric: str) -> list[dict[str, Any]]:
    """The recorded label itself against the truth: what training data of this kind would be worth."""
    known = test.drop_nulls("label_right").with_columns(pl.col("label_right").cast(pl.Float64).alias("points"))
    recorded = Margins(baselines.RECORDED, None, pl.DataFrame(), baseline=True)
    return _sliced(recorded, f"{metric}_true", known, slices(test))


def plus_rows(scorers: Sequence[Margins], test: pl.DataFrame) -> list[dict[str, Any]]:
    """``accuracy_plus``: share of prompts on all of whose pairs the recorded winner scores strictly higher.

    ACC+ of MM-RLHF (arXiv:2502.10391, section 4): chance is 1 / n! for n ranked answers, so it tells scorers apart that
    accuracy does not. It equals accuracy where every prompt has one pair, up to ties, which count as wrong here.
    """
    rows = []
    for scorer in scorers:
        right = (pl.col("points") == 1).all().cast(pl.Float64)
        whole = joined(test, scorer).group_by("group").agg(right.alias("right")).sort("group")["right"].to_numpy()
        rows.append(row(scorer, "accuracy_plus", "all", share(whole, np.arange(len(whole)))))
    return rows


def paired_rows(
    scorers: Sequence[Margins], test: pl.DataFrame, metric: str, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """Each scorer less each other one on the same pairs: slices ``vs:<other>``, bootstrap interval over prompts.

    Baselines are left out. Cost: k (k - 1) / 2 bootstraps for k scorers.
    """
    compared = [scorer for scorer in scorers if not scorer.baseline]
    points_of = [joined(test, scorer)["points"].to_numpy() for scorer in compared]
    groups = group_numbers(test.sort("pair_id")["group"].to_list())
    rows = []
    for j, other in enumerate(compared):
        for i, one in enumerate(compared[:j]):
            gap = bootstrap_mean(points_of[i] - points_of[j], groups, seed, resamples)
            rows.append(row(one, metric, f"{VERSUS}{other.name}", gap))
            rows.append(row(other, metric, f"{VERSUS}{one.name}", mirrored(gap)))
    return rows


def mirrored(gap: Estimate) -> Estimate:
    """The estimate of minus the value."""
    lo, hi = (None, None) if gap.lo is None or gap.hi is None else (-gap.hi, -gap.lo)
    return Estimate(-gap.value, lo, hi, gap.n)


def _sliced(scorer: Margins, metric: str, frame: pl.DataFrame, parts: pl.DataFrame) -> list[dict[str, Any]]:
    held = parts.join(frame.select("pair_id", "group", "points"), on="pair_id").sort("subset", "pair_id")
    return [
        row(scorer, metric, str(subset), share(part["points"].to_numpy(), group_numbers(part["group"].to_list())))
        for (subset,), part in held.group_by("subset", maintain_order=True)
    ]


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation; ``nan`` when either side does not vary."""
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def length_bias_rows(scorers: Sequence[Margins], test: pl.DataFrame, seed: int, resamples: int) -> list[dict[str, Any]]:
    """How much a scorer's margins follow length (characters of chosen minus rejected).

    - ``length_correlation``: Pearson's correlation of margin and length difference, bootstrap interval over prompts;
      0 for one that ignores length, no row where the margins do not vary.
    - ``accuracy_longer_chosen``, ``accuracy_shorter_chosen``: accuracy where the recorded winner is the longer, or the
      shorter one. A scorer without length bias is equally good at both.
    - ``accuracy_length_gap``: the first minus the second, with Newcombe's interval; 1 for "longer wins".
    """
    rows = []
    for scorer in scorers:
        frame = joined(test, scorer)
        lengths, margins = frame["length_difference"].to_numpy().astype(np.float64), frame["margin"].to_numpy()
        groups = group_numbers(frame["group"].to_list())
        value = correlation(margins, lengths)
        if np.isfinite(value):
            ends = _correlation_interval(margins, lengths, groups, seed, resamples)
            rows.append(row(scorer, "length_correlation", "all", Estimate.around(value, ends, frame.height)))
        sides = {}
        for side, condition in (("longer", lengths > 0), ("shorter", lengths < 0)):
            part = frame.filter(condition)
            if part.is_empty():
                continue
            sides[side] = share(part["points"].to_numpy(), group_numbers(part["group"].to_list()))
            rows.append(row(scorer, f"accuracy_{side}_chosen", "all", sides[side]))
        if len(sides) == 2:
            gap = difference(sides["longer"], sides["shorter"])
            rows.append(row(scorer, "accuracy_length_gap", "all", Estimate(*gap, n=sum(s.n for s in sides.values()))))
    return rows


def _correlation_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], groups: NDArray[np.int64], seed: int, resamples: int
) -> tuple[float, float] | tuple[None, None]:
    return bootstrap(lambda items: correlation(a[items], b[items]), groups, seed, resamples)
