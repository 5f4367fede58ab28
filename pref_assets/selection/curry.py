"""The best answer of a prompt against each other one, the easy comparisons first."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import Selector, decide
from pref_assets.selection.values import candidate_values
from pref_assets.settings import ScoresName

_OF_PROMPT = "prompt_id"


class Curry(Selector):
    """Keeps the pairs of each prompt's best answer with its other answers, a stage each by the rank of the gap:
    Curri-DPO (Pattnaik et al., "Curry-DPO", arXiv:2403.07230): of four rated answers (R1, R4), then (R1, R3), then
    (R1, R2). Train on it with a `curricula` entry, `reference: previous`.

    The gap of a pair is a number of a score table, or its `strength`; its sign says which side is better. The best
    answer beats the most others of its prompt, then by the larger sum of gaps, then by the seed. Pairs of two other
    answers, without a gap, or whose label contradicts the gap are left out. Of a prompt with more such pairs than
    `stages`, those at evenly spaced ranks are taken, the largest and the smallest gap included; with fewer, see
    `incomplete`. Needs the pairs of the best answer with others (pairing rule `best_vs_rest` or `all`). O(n log n).
    """

    type: Literal["curry"] = "curry"
    scores: ScoresName | None = None
    """Scores whose number is the gap, chosen minus rejected; left out, the pairs' own `strength`."""
    column: str | None = None
    """Which number: a column of the scores (`score` if left out), or one of their named details."""
    stages: int = Field(default=3, ge=1, le=100)
    """Pairs of a prompt, each in a stage of its own."""
    order: Literal["easy_first", "hard_first", "random", "mixed"] = "easy_first"
    """Large gaps first, small gaps first, in an order drawn for each prompt, or all pairs in one stage (controls)."""
    incomplete: Literal["drop", "keep"] = "drop"
    """A prompt with fewer pairs than stages: left out, so that every prompt occurs in every stage, or kept, with its
    pairs in evenly spaced stages, the first one included."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ranks go by stage and falling gap.

        Raises:
            ValueError: a train pair has no finite gap.
        """
        column = self.column or ("score" if self.scores else "strength")
        found = candidate_values(pool, self.scores, column)
        found = found.select("pair_id", _OF_PROMPT, "chosen_id", "rejected_id", "score")
        judged = found.join(self._best(found), on=_OF_PROMPT, how="left").with_columns(code=_code())
        taken = self._staged(judged.filter(pl.col("code").is_null()))
        order = judged.join(taken, on="pair_id", how="left").sort(
            "stage", "score", "pair_id", descending=[False, True, False], nulls_last=True
        )
        selected = pl.col("stage").is_not_null()
        reason = (
            pl.when(selected)
            .then(pl.format("selected: stage {}, gap {}", "stage", "score"))
            .otherwise(pl.format("{}: gap {}", pl.coalesce("code", "left_out"), "score"))
        )
        stage = pl.col("stage").fill_null(1)
        return decide(pool, order.select("pair_id", "score", selected=selected, reason=reason, stage=stage))

    def _best(self, found: pl.DataFrame) -> pl.DataFrame:
        """The best answer of each prompt: frame (prompt_id, best)."""
        within = found.filter(pl.col(_OF_PROMPT).is_not_null())
        sides = [
            within.select(_OF_PROMPT, answer=f"{side}_id", gap=sign * pl.col("score"))
            for side, sign in (("chosen", 1.0), ("rejected", -1.0))
        ]
        totals = (
            pl.concat(sides)
            .sort("answer", "gap")
            .group_by(_OF_PROMPT, "answer", maintain_order=True)
            .agg(wins=pl.col("gap").sign().sum(), total=pl.col("gap").sum())
        )
        hashes = seeded_hash(totals["answer"], self.seed, "tie")
        ordered = totals.with_columns(hash=hashes).sort("wins", "total", "hash", descending=[True, True, False])
        return ordered.group_by(_OF_PROMPT).agg(best=pl.col("answer").first())

    def _staged(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Stage of each pair of a best answer, or why it has none: frame (pair_id, stage, left_out)."""
        hashes = seeded_hash(pairs["pair_id"], self.seed, "curry")
        order = pairs.with_columns(hash=hashes).sort(_OF_PROMPT, "score", "hash", descending=[False, True, False])
        groups = order.group_by(_OF_PROMPT, maintain_order=True).agg("pair_id", "hash")
        rows = [
            (pair_id, stage, None if stage else "between" if len(ids) >= self.stages else "incomplete")
            for ids, drawn in groups.select("pair_id", "hash").iter_rows()
            for pair_id, stage in zip(ids, self._stages(drawn), strict=True)
        ]
        return pl.DataFrame(rows, schema={"pair_id": pl.String, "stage": pl.Int64, "left_out": pl.String}, orient="row")

    def _stages(self, hashes: list[int]) -> list[int | None]:
        """Stages of a prompt's pairs, the largest gap first; ``hashes`` decide where the order is drawn."""
        m, k = len(hashes), self.stages
        if m < k and self.incomplete == "drop":
            return [None] * m
        if m < k:
            found: dict[int, int] = {place: stage + 1 for place, stage in enumerate(_evenly(m, k))}
        else:
            found = {place: stage + 1 for stage, place in enumerate(_evenly(k, m))}
        stages = list(found.values())
        if self.order == "hard_first":
            stages = [k + 1 - stage for stage in stages]
        elif self.order == "random":
            stages = [stage for _, stage in sorted(zip((hashes[place] for place in found), stages, strict=True))]
        elif self.order == "mixed":
            stages = [1] * len(stages)
        placed = dict(zip(found, stages, strict=True))
        return [placed.get(place) for place in range(m)]


def _evenly(count: int, among: int) -> list[int]:
    """``count`` of the places 0, 1, …, ``among`` - 1, evenly spaced and both ends included; one alone is the first."""
    return [0] if count == 1 else [(2 * i * (among - 1) + count - 1) // (2 * (count - 1)) for i in range(count)]


def _code() -> pl.Expr:
    """Why a pair is none of its prompt's best answer; null where it is one."""
    gap, best = pl.col("score"), pl.col("best")
    return (
        pl.when(best.is_null())
        .then(pl.lit("two_prompts"))
        .when((pl.col("chosen_id") != best) & (pl.col("rejected_id") != best))
        .then(pl.lit("not_best"))
        .when(gap == 0)
        .then(pl.lit("no_gap"))
        .when((gap < 0) | (pl.col("rejected_id") == best))
        .then(pl.lit("against_label"))
    )
