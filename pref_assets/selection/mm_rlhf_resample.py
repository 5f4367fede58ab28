"""Prompts or pairs of three types in a fixed ratio, drawn alike from every cluster."""

from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.quotas import largest_remainder, smallest_n
from pref_assets.selection.turns import Ints, clusters_of, draws, nested_turns
from pref_assets.settings import ClustersName, Settings

TYPES = ("long", "short", "mcq")
_OPTION = r"(?m)(?:^|\s)\(?{}[.):]\s"


class TypeRatio(Settings):
    """How many of each type go together."""

    long: float = Field(default=4, gt=0)
    """Those with a long chosen answer."""
    short: float = Field(default=5, gt=0)
    """Those with a short one."""
    mcq: float = Field(default=1, gt=0)
    """Those whose prompt is a multiple-choice question."""

    def weights(self) -> NDArray[np.float64]:
        """In the order of ``TYPES``."""
        return np.array([getattr(self, name) for name in TYPES])


class MMRLHFResample(Budgeted):
    """MM-RLHF: Zhang et al., "MM-RLHF" (arXiv:2502.10391), section 3.1: prompts are sorted into multiple choice, long
    and short, clustered, and N of each type are drawn from every cluster at random, N such that types are 4 : 5 : 1.

    The budget is shared among the types by the ratio, to the largest remainders, and inside a type each cluster gives
    one at a time until the share is full: the smallest N that fills it, the last round cut to be exact, larger
    clusters first. In which order a cluster gives is drawn from ids and seed alone: rows that another cluster gains
    change how far the order is followed, never the order. A budget in tokens, whose number of pairs nobody knows
    beforehand, lets types take turns in the same proportions instead.

    A prompt is multiple choice when it offers the options A and B (`A.`, `A)`, `(A)` or `A:`). Of the others one is
    long when its chosen answer has more than ``long_over`` characters, so that exactly as many is short, which the
    paper leaves open. The paper draws prompts, before there are pairs (`unit: prompts`), by the length of GPT-4o's
    answer; here by that of the answer that is chosen in most of the prompt's pairs. It clusters CLIP vectors of
    images (embeddings of type `image`) by 100 centres; seed and scaling are not stated. Time O(n log n).
    """

    type: Literal["mm_rlhf_resample"] = "mm_rlhf_resample"
    clusters: ClustersName
    """Clusters to draw from; of completions, a pair is where its chosen completion is."""
    unit: Literal["pairs", "prompts"] = "pairs"
    """What is drawn, and what the budget counts: `pairs`, each by itself, or `prompts`, each with all its train pairs;
    then `96` are 96 prompts and `25%` is a quarter of the prompts that have train pairs."""
    ratio: TypeRatio = TypeRatio()
    """How many of each type; 4 long to 5 short to 1 multiple choice in the paper."""
    long_over: int = Field(default=128, ge=0)
    """A chosen answer with more characters is long; 128 in the paper."""
    short_of: Literal["error", "fill", "less"] = "error"
    """When a type has fewer than its share: an error, fill up with the other types by their ratio, or keep less than
    the budget; then reasons say how much of its share the type gave."""

    @model_validator(mode="after")
    def _prompts_are_counted(self) -> Self:
        if self.budget.tokens is not None and (self.unit == "prompts" or self.short_of == "less"):
            raise ValueError("a budget in tokens goes with `unit: pairs` and `short_of: error` or `fill`")
        return self

    @property
    def fill(self) -> bool:
        """False where it may keep less than its budget."""
        return self.short_of != "less"

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no cluster or text, or two prompts where prompts are drawn; a type has too few;
                or the budget is larger than the pool.
        """
        candidates = pool.candidates()
        units = self._units(candidates)
        units = units.sort(seeded_hash(units["unit"], self.seed, "mm_rlhf"))
        types = self.types(pool.texts(units))
        clusters = clusters_of(pool, self.clusters, units)
        weights = self.ratio.weights()
        order = nested_turns(types, clusters, dict(enumerate(weights.tolist())))
        if self.budget.tokens is None:
            given, due = self._given(np.bincount(types, minlength=len(TYPES)), len(units))
            taken = draws(types, order)[order] <= given[types[order]]
        else:
            taken = self.take(pool, units["unit"][order].to_list())
            given = np.bincount(types[order][taken], minlength=len(TYPES))
            due = np.floor(given.sum() * weights / weights.sum()).astype(np.int64)
            if self.short_of == "error":
                self._check(due, given, np.bincount(types, minlength=len(TYPES)))
        frame = units.select("unit").with_columns(
            reason=pl.Series(_reasons(types, clusters, order, given, due), dtype=pl.String)
        )[order]
        frame = frame.with_columns(selected=pl.Series(taken, dtype=pl.Boolean))
        code = pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("over_share"))
        frame = frame.with_columns(reason=pl.format("{}: {}", code, "reason"))
        members = candidates.select("pair_id", unit="pair_id" if self.unit == "pairs" else "prompt_id")
        found = frame.join(members, on="unit", how="left", maintain_order="left_right")
        return decide(pool, found.select("pair_id", "selected", "reason"))

    def types(self, texts: pl.DataFrame) -> Ints:
        """The type of each row, (n,), as its place in ``TYPES``; ``texts`` has columns prompt and chosen."""
        prompt = pl.col("prompt").fill_null("")
        options = [prompt.str.contains(_OPTION.format(letter)) for letter in ("A", "B")]
        is_long = pl.col("chosen").str.len_chars() > self.long_over
        place = pl.when(pl.all_horizontal(options)).then(2).when(is_long).then(0).otherwise(1)
        return texts.select(place.cast(pl.Int64)).to_series().to_numpy()

    def _units(self, candidates: pl.DataFrame) -> pl.DataFrame:
        """What is drawn, with its id ``unit``: every pair, or of every prompt the first pair of the answer that most of
        its pairs choose."""
        if self.unit == "pairs":
            return candidates.with_columns(unit="pair_id")
        lost = candidates.filter(pl.col("prompt_id").is_null())["pair_id"]
        if len(lost):
            raise ValueError(
                f"mm_rlhf_resample: {len(lost)} train pairs compare answers to two prompts, e.g. "
                f"{lost.head(3).to_list()}, and `unit: prompts` draws prompts; use `unit: pairs`"
            )
        wins = pl.len().over("prompt_id", "chosen_id")
        ranked = candidates.with_columns(wins=wins).sort(
            ["wins", "chosen_id", "pair_id"], descending=[True, False, False]
        )
        first = ranked.unique("prompt_id", keep="first", maintain_order=True)
        return first.drop("wins").with_columns(unit="prompt_id").sort("unit")

    def _given(self, have: Ints, n: int) -> tuple[Ints, Ints]:
        """How many each type gives and its share, (3,) each; ``have`` is what there is of it, ``n`` of all."""
        weights, total = self.ratio.weights(), self.budget.resolve(n)
        due = largest_remainder(TYPES, weights, total, self.seed)
        given = np.minimum(due, have)
        if self.short_of == "error":
            self._check(due, given, have)
        while self.short_of == "fill" and (left := total - int(given.sum())):
            room = np.flatnonzero(given < have)
            part = largest_remainder([TYPES[place] for place in room], weights[room], left, self.seed)
            given[room] = np.minimum(given[room] + part, have[room])
        return given, due

    def _check(self, due: Ints, given: Ints, have: Ints) -> None:
        """That each type gave its share."""
        lacking = [
            f"{int(due[place])} {name} (there are {int(have[place])})"
            for place, name in enumerate(TYPES)
            if given[place] < due[place] and given[place] == have[place]
        ]
        if lacking:
            ratio = ":".join(f"{each:g}" for each in self.ratio.weights())
            raise ValueError(
                f"mm_rlhf_resample: {int(due.sum())} {self.unit} in the ratio {ratio} need {', '.join(lacking)}; lower "
                "the budget, change `ratio`, or say with `short_of` to `fill` up or keep `less`"
            )


def _reasons(types: Ints, clusters: Ints, order: Ints, given: Ints, due: Ints) -> list[str]:
    """Of each row its type, its draw and cluster, N, and what its type lacks."""
    cells = types * (clusters.max(initial=0) + 2) + clusters
    draw, told = draws(cells, order), []
    for place, name in enumerate(TYPES):
        sizes = np.unique(clusters[types == place], return_counts=True)[1]
        lacks = f" ({given[place]} of the {due[place]} due)" if given[place] < due[place] else ""
        told.append((f"{name}{lacks}", smallest_n(sizes, int(given[place]))))
    return [
        f"{told[kind][0]}, draw {number} of cluster {cluster}, N = {told[kind][1]}"
        for kind, number, cluster in zip(types.tolist(), draw.tolist(), clusters.tolist(), strict=True)
    ]
