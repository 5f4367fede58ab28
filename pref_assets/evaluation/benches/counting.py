"""From scored answers of a bench to its numbers with intervals, one function for each format."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.evaluation.benches import measures
from pref_assets.evaluation.benches.formats import CHOSEN, REJECTED, STYLES, BenchRowError
from pref_assets.evaluation.draws import Drawn, drawn_mean, part_seed, weighted
from pref_assets.evaluation.intervals import group_numbers

Floats = NDArray[np.float64]
SCORE = "bench_score"


@dataclass(frozen=True)
class Counted:
    """A number of a bench: metric, slice, value with draws."""

    metric: str
    subset: str
    drawn: Drawn


@dataclass(frozen=True)
class Item:
    """Scores of one row of a bench: right answers (a,), wrong ones (b,), both in the order of the row."""

    name: str
    subset: str
    prompt: str
    right: Floats
    wrong: Floats


def items(scored: pl.DataFrame) -> list[Item]:
    """The rows of a ``BENCH`` frame with a ``score``, in the order of the bench."""
    sides = scored.group_by("item", maintain_order=True).agg(
        pl.col("name", "subset", "prompt_id").first(),
        right=pl.col("score")
        .filter(pl.col("side") == CHOSEN)
        .sort_by(pl.col("place").filter(pl.col("side") == CHOSEN)),
        wrong=pl.col("score")
        .filter(pl.col("side") == REJECTED)
        .sort_by(pl.col("place").filter(pl.col("side") == REJECTED)),
    )
    return [
        Item(name, subset, prompt, np.array(right, np.float64), np.array(wrong, np.float64))
        for name, subset, prompt, right, wrong in sides.sort("item").drop("item").iter_rows()
    ]


def reward_bench_rows(scored: pl.DataFrame, tie: float, seed: int, resamples: int) -> list[Counted]:
    """RewardBench 1; raises ``BenchRowError`` for a subset that is in no section and no prior set."""
    parts = _by_subset(items(scored), tie, seed, resamples)
    known = {subset for subsets in measures.SECTIONS.values() for subset in subsets} | set(measures.PRIOR_SETS)
    if unknown := sorted(set(parts) - known):
        raise BenchRowError(f"subsets {unknown} are none of RewardBench's; name the wanted ones in `subsets`")
    sections: dict[str, Drawn] = {}
    for section, names in measures.SECTIONS.items():
        if present := [name for name in names if name in parts]:
            sections[section] = weighted([(measures.COUNTS[name], parts[name]) for name in present])
    weights = dict.fromkeys(sections, 1.0)
    if prior := [name for name in measures.PRIOR_SETS if name in parts]:
        sections[measures.PRIOR] = weighted([(1.0, parts[name]) for name in prior])
        weights[measures.PRIOR] = measures.PRIOR_WEIGHT
    found = _named("subset", parts) + _named("section", sections)
    whole = weighted([(weights[name], part) for name, part in sections.items()])
    return [*found, Counted(SCORE, "all", whole), _plus(items(scored), seed, resamples)]


def reward_bench_2_rows(scored: pl.DataFrame, tie: float, seed: int, resamples: int) -> list[Counted]:
    """RewardBench 2. Equal scores share a place in its best of 4, whatever ``tie`` says."""
    rows = items(scored)
    parts: dict[str, Drawn] = {}
    details: list[Counted] = []
    for subset in sorted({each.subset for each in rows}):
        part = [each for each in rows if each.subset == subset]
        if subset.lower() == measures.TIES:
            found = _ties(part, part_seed(seed, subset), resamples)
            parts[subset] = found.pop("overall")
            details = [Counted(f"ties_{name}", "all", value) for name, value in found.items()]
        else:
            values = [measures.best_of(np.concatenate([each.right, each.wrong]), len(each.right)) for each in part]
            parts[subset] = _mean(part, values, part_seed(seed, subset), resamples)
    whole = weighted([(1.0, part) for part in parts.values()])
    return [*_named("subset", parts), Counted(SCORE, "all", whole), *details, _plus(rows, seed, resamples)]


def rm_bench_rows(scored: pl.DataFrame, tie: float, seed: int, resamples: int) -> list[Counted]:
    """RM-Bench."""
    rows = items(scored)
    domains: dict[str, dict[str, Drawn]] = {}
    cells: dict[str, Drawn] = {}
    for domain in sorted({measures.rm_bench_domain(each.subset) for each in rows}):
        part = [each for each in rows if measures.rm_bench_domain(each.subset) == domain]
        matrices = [measures.beats(each.right, each.wrong, tie) for each in part]
        of_items = [measures.levels(matrix) for matrix in matrices]
        domains[domain] = {
            level: _mean(part, [each[level] for each in of_items], part_seed(seed, domain), resamples)
            for level in of_items[0]
        }
    for i, chosen in enumerate(STYLES):
        for j, rejected in enumerate(STYLES):
            values = [measures.beats(each.right, each.wrong, tie)[i, j] for each in rows]
            cells[f"{chosen}>{rejected}"] = _mean(rows, values, seed, resamples)
    found = _named("style", cells)
    for level in ("average", "hard", "normal", "easy"):
        metric = SCORE if level == "average" else f"{level}_accuracy"
        found += _named("domain", {name: parts[level] for name, parts in domains.items()}, metric)
        found.append(Counted(metric, "all", weighted([(1.0, parts[level]) for parts in domains.values()])))
    return [*found, _plus(rows, seed, resamples)]


def llmbar_rows(scored: pl.DataFrame, tie: float, seed: int, resamples: int) -> list[Counted]:
    """LLMBar; raises ``BenchRowError`` when none of its five own subsets is there."""
    rows = items(scored)
    parts = _by_subset(rows, tie, seed, resamples)
    checked = [name for name in measures.LLMBAR if name in parts]
    if not checked:
        raise BenchRowError(f"none of LLMBar's own subsets is there: {', '.join(measures.LLMBAR)}")
    found = _named("subset", parts)
    if adversarial := [name for name in checked if name.startswith("Adversarial")]:
        found.append(Counted(SCORE, "adversarial", weighted([(1.0, parts[name]) for name in adversarial])))
    whole = weighted([(1.0, parts[name]) for name in checked])
    return [*found, Counted(SCORE, "all", whole), _plus(rows, seed, resamples)]


def _by_subset(rows: list[Item], tie: float, seed: int, resamples: int) -> dict[str, Drawn]:
    found = {}
    for subset in sorted({each.subset for each in rows}):
        part = [each for each in rows if each.subset == subset]
        values = [float(measures.beats(each.right, each.wrong, tie)[0, 0]) for each in part]
        found[subset] = _mean(part, values, part_seed(seed, subset), resamples)
    return found


def _mean(part: list[Item], values: Iterable[float], seed: int, resamples: int) -> Drawn:
    return drawn_mean(np.array(list(values)), group_numbers([each.prompt for each in part]), seed, resamples)


def _ties(part: list[Item], seed: int, resamples: int) -> dict[str, Drawn]:
    """Score of Ties and its parts, resampling pairs of questions."""
    halves: dict[str, dict[str, measures.Spread]] = {"ref": {}, "tied": {}}
    for each in part:
        kind, _, question = each.name.partition(":")
        if kind not in halves or not question:
            raise BenchRowError(f"id {each.name!r} of a Ties row is not `ref:<number>` or `tied:<number>`")
        halves[kind][question] = measures.spread(each.right, each.wrong)
    questions = sorted(set(halves["ref"]) | set(halves["tied"]))
    tied = [halves["tied"].get(question) for question in questions]
    reference = [halves["ref"].get(question) for question in questions]

    def score(picked: NDArray[np.int64]) -> measures.TiesScore:
        return measures.ties_score([tied[i] for i in picked], [reference[i] for i in picked])

    value = score(np.arange(len(questions)))
    generator = np.random.default_rng(seed)
    draws = [score(generator.integers(len(questions), size=len(questions))) for _ in range(resamples)]

    def part_of(name: str) -> Drawn:
        known = np.array([getattr(each, name) for each in draws]) if len(questions) > 1 else None
        return Drawn(getattr(value, name), known, len(part))

    names = ("overall", "tied", "reference", "preferred", "preferred_hard", "margin")
    return {name: part_of(name) for name in names}


def _plus(rows: list[Item], seed: int, resamples: int) -> Counted:
    right: dict[str, bool] = {}
    for each in rows:
        right[each.prompt] = right.get(each.prompt, True) and bool(each.right.min() > each.wrong.max())
    values = np.array([float(right[prompt]) for prompt in sorted(right)])
    return Counted("accuracy_plus", "all", drawn_mean(values, np.arange(len(values)), seed, resamples))


def _named(kind: str, parts: Mapping[str, Drawn], metric: str = SCORE) -> list[Counted]:
    return [Counted(metric, f"{kind}:{name}", part) for name, part in parts.items()]
