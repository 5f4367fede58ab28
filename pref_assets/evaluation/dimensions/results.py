"""Results folders of lmms-eval, and what a bench's numbers are on a common scale."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard

from pydantic import Field, model_validator

from pref_assets.evaluation.intervals import Z95, Estimate
from pref_assets.settings import Settings

Direction = Literal["higher", "lower"]
PATTERNS = ("*results.json", "results*.json")
"""Names of files with aggregated results: those of lmms-eval, with the date before or after."""
_NONE = "none"


class ResultsError(ValueError):
    """A results folder that is none; the message names folder, file, task or metric, and what to do."""


class BenchScore(Settings):
    """Where a bench's number is, and its scale."""

    task: str = Field(min_length=1)
    """Its task in the results."""
    metrics: list[str] = Field(min_length=1)
    """Its metric, or several; ``metric,filter`` where the results have several filters of one."""
    combine: Literal["mean", "sum"] = "mean"
    """What several metrics become."""
    low: float = 0.0
    """What counts as 0."""
    high: float = 1.0
    """What counts as 100."""

    @model_validator(mode="after")
    def _has_a_scale(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"`low` is {self.low:g} and `high` {self.high:g}; the scale must rise")
        return self

    def value(self, found: "Task") -> Estimate | None:
        """The bench's number from 0 to 100 with its interval (where the results have standard errors); null where a
        metric has no number.

        Raises:
            ResultsError: the number lies outside the scale.
        """
        parts = [found.number(metric) for metric in self.metrics]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        share = 1.0 if self.combine == "sum" else 1 / len(known)
        value = sum(part[0] for part in known) * share
        if not self.low - 1e-9 <= value <= self.high + 1e-9:
            raise ResultsError(
                f"{found.file}: task {self.task!r}: {', '.join(self.metrics)} is {value:g}, outside its scale of "
                f"{self.low:g} to {self.high:g}; correct `low` and `high`"
            )
        scale = 100 / (self.high - self.low)
        errors = [part[1] for part in known if part[1] is not None]
        scaled = (value - self.low) * scale
        if len(errors) < len(known):
            return Estimate(scaled, None, None, found.items)
        half = Z95 * scale * share * math.sqrt(sum(error**2 for error in errors))
        return Estimate(scaled, scaled - half, scaled + half, found.items)


class Dimension(Settings):
    """Benches whose mean is one number."""

    better: Direction = "higher"
    """Which way all of them are better."""
    benches: dict[str, BenchScore] = Field(min_length=1)
    """Its benches by name."""


@dataclass(frozen=True)
class Task:
    """A task's results: numbers by ``metric,filter``, items measured, and the file they are from."""

    name: str
    numbers: Mapping[str, Any]
    items: int
    file: str

    def number(self, metric: str) -> tuple[float, float | None] | None:
        """The metric's value and standard error; null where it is none or not a number.

        Raises:
            ResultsError: the results have several filters of the metric, and none is named.
        """
        name, _, wanted = metric.partition(",")
        keys = [key for key in self.numbers if key.partition(",")[0] == name and (not wanted or key == metric)]
        if len(keys) > 1:
            raise ResultsError(
                f"{self.file}: task {self.name!r} has {', '.join(sorted(keys))}; name one with its filter"
            )
        if not keys or not _is_number(self.numbers[keys[0]]):
            return None
        error = self.numbers.get(f"{name}_stderr,{keys[0].partition(',')[2] or _NONE}")
        return float(self.numbers[keys[0]]), float(error) if _is_number(error) else None


def read_results(folder: str, several: Literal["refuse", "newest"]) -> dict[str, Task]:
    """Tasks by name, of all results files in a folder and below.

    Args:
        folder: what lmms-eval got as its output path, or a file.
        several: what becomes of a task that several files have: an error, or the one in the file whose name comes last
            (lmms-eval begins names with the date).

    Raises:
        ResultsError: there is no file, or one is not of the format.
    """
    root = Path(folder).expanduser()
    files = [root] if root.is_file() else sorted({path for each in PATTERNS for path in root.rglob(each)}, key=_order)
    if not files:
        raise ResultsError(f"{folder}: no results of lmms-eval ({' or '.join(PATTERNS)}) in it or below")
    found: dict[str, Task] = {}
    for path in files:
        for task in _tasks(path):
            if task.name in found and several == "refuse":
                raise ResultsError(
                    f"task {task.name!r} is in {found[task.name].file} and in {task.file}; keep one, or set "
                    "`several: newest`"
                )
            found[task.name] = task
    return found


def _order(path: Path) -> tuple[str, str]:
    return path.name, str(path)


def _tasks(path: Path) -> list[Task]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tasks, counts = content["results"], content.get("n-samples") or {}
        return [Task(name, dict(numbers), _items(counts.get(name)), str(path)) for name, numbers in tasks.items()]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"{path}: no results of lmms-eval ({type(error).__name__}: {error}); they hold "
            '{"results": {task: {"metric,filter": value}}}'
        ) from error


def _items(counted: Any) -> int:
    """Items of a task, 1 where the results do not say."""
    number = counted.get("effective") or counted.get("original") if isinstance(counted, dict) else None
    return number if isinstance(number, int) and number > 0 else 1


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
