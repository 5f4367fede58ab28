"""The evaluation that fills a table of dimensions."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.content import content_hash
from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.base import AllOrNames, Evaluation, Inputs
from pref_assets.evaluation.dimensions.results import Dimension, ResultsError, read_results
from pref_assets.evaluation.intervals import Estimate
from pref_assets.home import Home
from pref_assets.models.reference import package_path
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName

MM_RLHF = "package://pref_assets/data/dimensions/mm_rlhf.yaml"


class DimensionTable(Evaluation):
    """Results of lmms-eval as a table of dimensions, such as MM-RLHF's ten (Zhang et al. 2025, arXiv:2502.10391,
    section 5):

    - ``dimension_score`` on ``dimension:<name>``: mean of the dimension's benches that have results, each brought to
      0-100; ``missing_benches`` counts those that have none, which are never taken as 0;
    - ``bench_score`` on ``bench:<dimension>/<name>``: a bench on that scale;
    - against `baseline`, on ``dimension:<name> vs:<baseline>``, over the benches that both have: ``change`` in points,
      ``relative_change`` in percent of the baseline, and ``gain``, the change with the sign that makes more better.

    Directions never mix: a dimension is better higher or lower, as a whole. Intervals come from the standard errors in
    the results, where every bench has one, as if benches were independent. Nothing is run here: run lmms-eval on an
    exported checkpoint and name its output folder.
    """

    type: Literal["dimension_table"] = "dimension_table"
    checkpoint_kind: ClassVar[Kind] = "policy"
    task: ClassVar[TaskName] = "evaluate_policy"

    checkpoints: AllOrNames = Field(default_factory=list, max_length=0)
    """None: the results name what they measured."""
    results: dict[str, str] = Field(min_length=1)
    """Names of models and the folders (or files) of their results."""
    baseline: str | None = None
    """The model in `results` that the others are compared with."""
    dimensions: dict[str, Dimension] | None = Field(default=None, min_length=1)
    """Which benches make a dimension, and their scales; null: those of MM-RLHF, where scales that the paper does not
    state are the benches' own."""
    several: Literal["refuse", "newest"] = "refuse"
    """What becomes of a task that several results files of a folder have."""

    @model_validator(mode="after")
    def _baseline_is_there(self) -> Self:
        if self.baseline is not None and self.baseline not in self.results:
            raise ValueError(f"`baseline` is {self.baseline!r}, which `results` does not name")
        return self

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        dimensions = self.dimensions or mm_rlhf_dimensions()
        models = {name: self._benches(name, dimensions) for name in self.results}
        rows: list[dict[str, Any]] = []
        for name, benches in models.items():
            of = _of(name, benches)
            for dimension, settings in dimensions.items():
                found = {
                    bench: benches[dimension, bench] for bench in settings.benches if (dimension, bench) in benches
                }
                missing = len(settings.benches) - len(found)
                rows.append(row(of, "missing_benches", f"dimension:{dimension}", _count(missing, settings)))
                rows += [row(of, "bench_score", f"bench:{dimension}/{each}", value) for each, value in found.items()]
                if found:
                    score = mean(list(found.values()))
                    rows.append(row(of, "dimension_score", f"dimension:{dimension}", score))
            if self.baseline is not None and name != self.baseline:
                rows += changes(of, benches, self.baseline, models[self.baseline], dimensions)
        return EVALUATIONS.frame(rows)

    def _benches(self, name: str, dimensions: Mapping[str, Dimension]) -> dict[tuple[str, str], Estimate]:
        """A model's benches that have results, by dimension and name.

        Raises:
            ResultsError: it has none at all, or see ``read_results``.
        """
        tasks = read_results(self.results[name], self.several)
        found = {
            (dimension, bench): value
            for dimension, settings in dimensions.items()
            for bench, score in settings.benches.items()
            if score.task in tasks and (value := score.value(tasks[score.task])) is not None
        }
        if not found:
            raise ResultsError(
                f"results of {name!r} have none of the dimensions' benches; their tasks are {sorted(tasks)}: say under "
                "`dimensions` which count"
            )
        return found


def changes(
    of: Margins,
    benches: Mapping[tuple[str, str], Estimate],
    baseline: str,
    before: Mapping[tuple[str, str], Estimate],
    dimensions: Mapping[str, Dimension],
) -> list[dict[str, Any]]:
    """Rows of a model's change from the baseline in each dimension, over the benches that both have."""
    rows = []
    for dimension, settings in dimensions.items():
        both = [key for bench in settings.benches if (key := (dimension, bench)) in benches and key in before]
        if not both:
            continue
        after, start = mean([benches[key] for key in both]), mean([before[key] for key in both])
        change = _difference(after, start)
        subset = f"dimension:{dimension} vs:{baseline}"
        rows.append(row(of, "change", subset, change))
        rows.append(row(of, "gain", subset, change if settings.better == "higher" else _scaled(change, -1.0)))
        if start.value != 0:
            # The baseline counts as known: the interval is that of the change.
            rows.append(row(of, "relative_change", subset, _scaled(change, 100 / start.value)))
    return rows


def mean(values: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates; an interval where all of them have one."""
    value = sum(each.value for each in values) / len(values)
    n = sum(each.n for each in values)
    halves = [(each.hi - each.lo) / 2 for each in values if each.lo is not None and each.hi is not None]
    if len(halves) < len(values):
        return Estimate(value, None, None, n)
    half = math.sqrt(sum(each**2 for each in halves)) / len(values)
    return Estimate(value, value - half, value + half, n)


@cache
def mm_rlhf_dimensions() -> dict[str, Dimension]:
    """The dimensions of MM-RLHF."""
    import yaml

    found = yaml.safe_load(package_path(MM_RLHF).read_text(encoding="utf-8"))
    return {name: Dimension.model_validate(each) for name, each in found.items()}


def _difference(after: Estimate, before: Estimate) -> Estimate:
    value, n = after.value - before.value, min(after.n, before.n)
    if after.lo is None or after.hi is None or before.lo is None or before.hi is None:
        return Estimate(value, None, None, n)
    half = math.hypot(after.hi - after.lo, before.hi - before.lo) / 2
    return Estimate(value, value - half, value + half, n)


def _scaled(estimate: Estimate, by: float) -> Estimate:
    if estimate.lo is None or estimate.hi is None:
        return Estimate(estimate.value * by, None, None, estimate.n)
    ends = sorted((estimate.lo * by, estimate.hi * by))
    return Estimate(estimate.value * by, ends[0], ends[1], estimate.n)


def _count(number: int, settings: Dimension) -> Estimate:
    return Estimate(float(number), None, None, len(settings.benches))


def _of(name: str, benches: Mapping[tuple[str, str], Estimate]) -> Margins:
    """A model's name; its version is the hash of its numbers."""
    rows = [(dimension, bench, each.value) for (dimension, bench), each in sorted(benches.items())]
    frame = pl.DataFrame(rows, schema={"dimension": pl.String, "bench": pl.String, "value": pl.Float64}, orient="row")
    return Margins(name, content_hash(frame), frame)
