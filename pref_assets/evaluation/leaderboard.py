"""Checkpoints side by side, each against random subsets of the same size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pref_assets.evaluation.accuracy import VERSUS
from pref_assets.evaluation.intervals import Estimate, difference
from pref_assets.pairs.schema import Column, Table
from pref_assets.training.checkpoint import Manifest

LEADERBOARD = Table(
    "leaderboard",
    ("evaluation", "metric", "name"),
    {
        "evaluation": Column(pl.String, "Entry of the pipeline file that measured."),
        "metric": Column(pl.String, "What was measured, on the whole held-out set."),
        "name": Column(pl.String, "Checkpoint, score table or baseline."),
        "version": Column(pl.String, "Its version; null for a baseline."),
        "kind": Column(pl.String, "`policy`, `reward_model`, `critique_reward_model`, `score` or `baseline`."),
        "subset": Column(pl.String, "What a checkpoint was trained on."),
        "pairs": Column(pl.Int64, "How many pairs that is."),
        "control": Column(
            pl.String, "Checkpoints trained alike on as many random pairs, comma-separated; null when there is none."
        ),
        "value": Column(pl.Float64, "The value."),
        "lo": Column(pl.Float64, "Lower end of the 95 % interval."),
        "hi": Column(pl.Float64, "Upper end."),
        "n": Column(pl.Int64, "Items measured."),
        "difference": Column(pl.Float64, "Value minus the mean of the controls'."),
        "difference_lo": Column(
            pl.Float64,
            "Lower end of its 95 % interval: on the same items where the evaluation compares them, else as if "
            "measured on different ones; several controls add how much they differ by seed.",
        ),
        "difference_hi": Column(pl.Float64, "Upper end."),
    },
)

RANDOM = "random"
"""Selector type whose subsets are controls."""
HEADLINES = (
    "accuracy",
    "accuracy_true",
    "accuracy_length_gap",
    "length_correlation",
    "constraints_met",
    "constraints_gain",
    "prompts_met",
    "implicit_reward_accuracy",
    "ranking_accuracy",
    "ranking_accuracy_normalised",
    "ranking_gap",
    "win_rate",
    "win_rate_length_controlled",
    "kl",
    "rating",
    "bench_score",
    "calibration_error",
)
"""Metrics that the Markdown shows, in this order; the table has them all."""
NOT_SETTINGS = ("subset", "seed")
"""Fields in which a checkpoint and its control may differ."""


def leaderboard(
    evaluations: Mapping[str, pl.DataFrame], manifests: Sequence[Manifest], subsets: Mapping[str, str]
) -> pl.DataFrame:
    """The ``LEADERBOARD`` table: every metric on the whole set, for every checkpoint, score and baseline, in order.

    Args:
        evaluations: ``EVALUATIONS`` tables by name.
        manifests: of the checkpoints that were measured; more do no harm.
        subsets: selector type of each subset, by name.

    Raises:
        ValueError: an evaluation measured a checkpoint version that has no manifest.
    """
    known = {(manifest.name, manifest.version): manifest for manifest in manifests}
    rows = []
    for evaluation, frame in sorted(evaluations.items()):
        whole = frame.filter(pl.col("subset") == "all").to_dicts()
        measured = {(row["checkpoint"], row["version"]) for row in whole}
        controls = _controls([known[each] for each in sorted(measured & set(known))], subsets)
        values = {(row["metric"], row["checkpoint"]): _estimate(row) for row in whole}
        versus = frame.filter(pl.col("subset").str.starts_with(VERSUS)).to_dicts()
        paired = {(row["metric"], row["checkpoint"], row["subset"]): _estimate(row) for row in versus}
        for row in whole:
            name, version = row["checkpoint"], row["version"]
            manifest = known.get((name, version))
            if manifest is None and not row["baseline"] and not name.startswith("scores/"):
                raise ValueError(
                    f"evaluation {evaluation!r} measured {name}@{version}, a checkpoint that is gone; evaluate again"
                )
            control = controls.get(name, [])
            gap = _against(row, [each for each in control if (row["metric"], each) in values], values, paired)
            rows.append(
                {
                    "evaluation": evaluation,
                    "metric": row["metric"],
                    "name": name,
                    "version": version,
                    "kind": manifest.kind if manifest else "baseline" if row["baseline"] else "score",
                    "subset": manifest and manifest.subset.key[-1],
                    "pairs": manifest and manifest.n_pairs,
                    "control": ", ".join(control) or None,
                    **{column: row[column] for column in ("value", "lo", "hi", "n")},
                    **dict(zip(("difference", "difference_lo", "difference_hi"), gap, strict=True)),
                }
            )
    return LEADERBOARD.frame(rows).sort("evaluation", *order())


def _controls(manifests: Sequence[Manifest], subsets: Mapping[str, str]) -> dict[str, list[str]]:
    """For each checkpoint, those that have its settings and size and were trained on a random subset, by name: one for
    each seed that was drawn."""
    found = {}
    for manifest in manifests:
        if subsets.get(manifest.subset.key[-1]) == RANDOM:
            continue
        found[manifest.name] = sorted(
            other.name
            for other in manifests
            if subsets.get(other.subset.key[-1]) == RANDOM
            and other.n_pairs == manifest.n_pairs
            and _settings(other) == _settings(manifest)
        )
    return found


Gap = tuple[float | None, float | None, float | None]


def _against(
    row: Mapping[str, Any],
    controls: Sequence[str],
    values: Mapping[tuple[str, str], Estimate],
    paired: Mapping[tuple[str, str, str], Estimate],
) -> Gap:
    """The value less the mean of the controls', with its interval.

    Controls are measured on the same items, so the mean of several is about as uncertain as one of them: the arms of
    the single differences are averaged. How much the controls differ among themselves (Student's t of their mean)
    comes on top, in quadrature.
    """
    if not controls:
        return None, None, None
    metric, name = row["metric"], row["checkpoint"]
    single = [values[metric, each] for each in controls]
    gap = row["value"] - float(np.mean([each.value for each in single]))
    arms = [
        _arms(paired.get((metric, name, f"{VERSUS}{each}")), _estimate(row), values[metric, each]) for each in controls
    ]
    known = [each for each in arms if each is not None]
    if len(known) < len(arms):
        return gap, None, None
    below, above = np.mean(known, axis=0)
    seeds = _seed_arm([each.value for each in single])
    return gap, gap - float(np.hypot(below, seeds)), gap + float(np.hypot(above, seeds))


def _arms(paired: Estimate | None, ours: Estimate, theirs: Estimate) -> tuple[float, float] | None:
    """How far the interval of a difference reaches below and above it."""
    if paired is not None:
        value, lo, hi = paired.value, paired.lo, paired.hi
    else:
        value, lo, hi = difference(ours, theirs)
    return None if lo is None or hi is None else (value - lo, hi - value)


def _seed_arm(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean over seeds; 0 for one, which says nothing of it."""
    if len(values) < 2:
        return 0.0
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def _settings(manifest: Manifest) -> dict[str, Any]:
    config = {name: value for name, value in manifest.config.items() if name not in NOT_SETTINGS}
    return {**config, "base": manifest.base_identity, "kind": manifest.kind}


def _estimate(row: Mapping[str, Any]) -> Estimate:
    return Estimate(row["value"], row["lo"], row["hi"], row["n"])


def markdown(board: pl.DataFrame) -> str:
    """One table for policies and one for reward models: a row a checkpoint, a column a metric.

    A cell reads ``value [lo, hi]``, and ``Δ`` is the difference to the control, starred when its interval leaves out 0.
    """
    parts = []
    for title, measured in groups(board).items():
        shown = measured.filter(pl.col("metric").is_in(HEADLINES)).sort(*order())
        columns = shown.select("evaluation", "metric").unique(maintain_order=True).rows()
        metrics = [metric for _, metric in columns]
        heads = [m if metrics.count(m) == 1 else f"{e}: {m}" for e, m in columns]
        cells = {(row["name"], row["evaluation"], row["metric"]): _cell(row) for row in shown.to_dicts()}
        lines = [f"### {title}", ""]
        lines.append("| " + " | ".join(["name", "subset", "pairs", "control", *heads]) + " |")
        lines.append("|" + "---|" * (4 + len(heads)))
        for row in shown.unique("name", maintain_order=True).sort(*order()[2:]).to_dicts():
            name = f"*{row['name']}*" if row["kind"] == "baseline" else row["name"]
            about = [name, *(str(row[c]) if row[c] is not None else "" for c in ("subset", "pairs", "control"))]
            lines.append("| " + " | ".join([*about, *(cells.get((row["name"], e, m), "") for e, m in columns)]) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def groups(board: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The board in readable parts, by what an evaluation measures: title -> rows."""
    policies = board.filter(pl.col("kind") == "policy")["evaluation"].unique().to_list()
    parts = {
        "Policies": board.filter(pl.col("evaluation").is_in(policies)),
        "Reward models and scores": board.filter(~pl.col("evaluation").is_in(policies)),
    }
    return {title: part for title, part in parts.items() if not part.is_empty()}


def order() -> list[pl.Expr]:
    """Sort keys: headlines first, then other metrics by name; checkpoints, then scores, then baselines."""
    places = {metric: place for place, metric in enumerate(HEADLINES)}
    metric = pl.col("metric").replace_strict(places, default=len(places), return_dtype=pl.Int32)
    kind = pl.col("kind").replace_strict({"baseline": 2, "score": 1}, default=0, return_dtype=pl.Int32)
    return [metric, pl.col("metric"), kind, pl.col("name")]


def _cell(row: Mapping[str, Any]) -> str:
    text = f"{row['value']:.3f}"
    if row["lo"] is not None:
        text += f" [{row['lo']:.3f}, {row['hi']:.3f}]"
    if row["difference"] is not None:
        lo, hi = row["difference_lo"], row["difference_hi"]
        text += f" Δ{row['difference']:+.3f}{'*' if lo is not None and not lo <= 0 <= hi else ''}"
    return text
