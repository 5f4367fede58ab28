"""One number of several scores: what share of them an answer wins, or their product."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, Scorer, pair_scores, ranked_by, sides
from pref_assets.settings import ScoresName, Settings

ZERO = "zero_factor"
"""Category of a pair that some factor removes."""


class WinCount(Scorer):
    """Share of comparisons that an answer wins, over several scores: the ensembling of RankDPO (Karthik et al.,
    arXiv:2410.18013, section 3): phi = wins / (n (k - 1)), for n scores and the k answers of a prompt.

    Scores need not be on one scale: phi is the same under any increasing transform of each. A tie is half a win to
    both [choice]. ``score_chosen`` and ``score_rejected`` are phi in [0, 1], null and ``no_opponent`` where a prompt
    has no other answer; ``score`` is their margin unless ``rank_by`` says otherwise. Details: ``phi_chosen``,
    ``phi_rejected``, and ``rank_chosen``, ``rank_rejected``, the places from 1 among the answers of the prompt by phi,
    equal answers sharing the mean of theirs. Needs score entries. O(n · pairs · log pairs).
    """

    type: Literal["win_count"] = "win_count"
    scores: list[ScoresName] = Field(min_length=1)
    """The scores that vote, each an entry that scores all pairs."""
    compare: Literal["answers", "pairs"] = "answers"
    """`answers`: every answer of a prompt with every other, by what each score says of the chosen and of the rejected
    answer alone. `pairs`: only the two of a pair, by the sign of the margin, for scores that give no other number."""
    tolerance: float = Field(default=1e-6, ge=0)
    """An answer in several pairs may have several values that differ by rounding: by no more than this share of their
    size. Its least value counts."""
    rank_by: RankBy = "margin"
    """What `score` is: phi(chosen) - phi(rejected), either alone, or their mean."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs.

        Raises:
            ValueError: a pair has no finite number in some of the scores, or one answer has two numbers in one of them.
        """
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        pairs = pool.pairs.sort("pair_id")
        played = [
            _answers(pool, pairs, name, self.tolerance) if self.compare == "answers" else _margins(pool, pairs, name)
            for name in self.scores
        ]
        values = pl.concat(played).group_by("id").agg(pl.col("wins", "games").sum())
        values = values.select("id", phi=pl.when(pl.col("games") > 0).then(pl.col("wins") / pl.col("games")))
        chosen, rejected = pl.col("phi_chosen"), pl.col("phi_rejected")
        frame = sides(pairs, _ranked(pairs, values), ["phi", "rank"]).with_columns(
            score=ranked_by(self.rank_by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
            category=pl.when(chosen.is_null() | rejected.is_null())
            .then(pl.lit("no_opponent"))
            .otherwise(pl.lit("compared")),
        )
        return pair_scores(frame, details=["phi_chosen", "phi_rejected", "rank_chosen", "rank_rejected"])


class Factor(Settings):
    """A number between 0 and 1 that a pair is good to some extent in one respect."""

    scores: ScoresName
    """The scores it comes from."""
    column: str = "score"
    """Which number: a column of the scores (`p_correct`), or one of their named details."""
    scale: Literal["none", "sigmoid", "quantile"] = "none"
    """`none` for numbers in [0, 1]; `sigmoid` of any number; `quantile`: share of the train pairs that have no more."""

    def values(self, pool: Pool) -> pl.DataFrame:
        """Frame (pair_id, factor) of all pairs, ordered by id.

        Raises:
            ValueError: a pair has no finite number, or one outside [0, 1] that no ``scale`` brings there.
        """
        found = finite(pool, pool.pairs, self.scores, self.column)
        numbers = found["value"].to_numpy()
        if self.scale == "sigmoid":
            numbers = np.exp(-np.logaddexp(0, -numbers))
        elif self.scale == "quantile":
            known = np.sort(numbers[(found["split"] == "train").to_numpy()])
            numbers = np.searchsorted(known, numbers, side="right") / max(len(known), 1)
        outside = found["pair_id"].filter(pl.Series((numbers < 0) | (numbers > 1)))
        if len(outside):
            raise ValueError(
                f"{len(outside)} of {len(found)} pairs have {self.column!r} outside [0, 1] in scores {self.scores!r}, "
                f"e.g. {outside.head(3).to_list()}; set the factor's `scale`"
            )
        return found.select("pair_id", factor=pl.Series(numbers))


class ScoreProduct(Scorer):
    """Product of several numbers in [0, 1], so that a pair must be good in every respect (PhysHPO multiplies grades of
    dynamics, thermodynamics and optics, arXiv:2508.10858, data selection).

    A zero factor removes a pair: its ``score`` is 0 and its category ``zero_factor``, which `product_score_diverse`
    never takes. Details: ``factor_1``, ``factor_2``, … in the order of ``factors``. Needs score entries.
    O(n log n) a factor.
    """

    type: Literal["score_product"] = "score_product"
    factors: list[Factor] = Field(min_length=1)
    """What is multiplied."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs; raises as ``Factor.values`` does."""
        frame = product(pool, self.factors)
        category = pl.when(pl.col("score") == 0).then(pl.lit(ZERO)).otherwise(pl.lit("positive"))
        names = [name for name in frame.columns if name.startswith("factor_")]
        return pair_scores(frame.with_columns(category=category), details=names)


def product(pool: Pool, factors: list[Factor]) -> pl.DataFrame:
    """Frame (pair_id, score, factor_1, …) of all pairs, ordered by id: each factor, and their product."""
    frame = pool.pairs.select("pair_id").sort("pair_id")
    for number, factor in enumerate(factors, 1):
        frame = frame.with_columns(factor.values(pool)["factor"].alias(f"factor_{number}"))
    total = np.prod([frame[f"factor_{number}"].to_numpy() for number in range(1, len(factors) + 1)], axis=0)
    return frame.with_columns(score=pl.Series(total, dtype=pl.Float64))


def finite(pool: Pool, pairs: pl.DataFrame, name: str, column: str) -> pl.DataFrame:
    """The pairs, ordered by id, with ``value``: a column, or named value, of a score table.

    Raises:
        ValueError: a pair has no such value, or a NaN or infinite one; says how many and names some.
    """
    table = pool.value(name, column)
    found = pairs.sort("pair_id").join(table, on="pair_id", how="left", validate="1:1", maintain_order="left")
    broken = found.filter(~(pl.col("value").is_not_null() & pl.col("value").is_finite()))["pair_id"]
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(found)} pairs have no usable {column!r} in scores {name!r}, "
            f"e.g. {broken.head(3).to_list()}; materialize the scores again, or use another column"
        )
    return found


def _answers(pool: Pool, pairs: pl.DataFrame, name: str, tolerance: float) -> pl.DataFrame:
    """Frame (id, wins, games): how many other answers of its prompt each answer beats by one score."""
    both = [
        finite(pool, pairs, name, f"score_{side}").select(id=f"{side}_id", value="value")
        for side in ("chosen", "rejected")
    ]
    numbers = pl.concat(both).group_by("id").agg(value=pl.col("value").min(), most=pl.col("value").max())
    apart = pl.col("most") - pl.col("value") > tolerance * pl.max_horizontal(pl.col("value", "most").abs())
    twice = numbers.filter(apart)["id"].sort()
    if len(twice):
        raise ValueError(
            f"{len(twice)} answers have several values in scores {name!r}, e.g. {twice.head(3).to_list()}; "
            "compare `pairs` in place of `answers`"
        )
    prompts = pool.completions.select("prompt_id", id="completion_id")
    frame = numbers.join(prompts, on="id", how="left", validate="1:1").sort("id")
    homeless = frame.filter(pl.col("prompt_id").is_null())["id"]
    if len(homeless):
        raise ValueError(f"{len(homeless)} answers are not in the completions, e.g. {homeless.head(3).to_list()}")
    # The mean rank among k answers is 1 + those beaten + half of those tied with.
    return frame.select(
        "id",
        wins=pl.col("value").rank("average").over("prompt_id") - 1,
        games=(pl.len().over("prompt_id") - 1).cast(pl.Float64),
    )


def _ranked(pairs: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Frame (id, phi, rank): the place of each answer among those of its prompt; null where the prompt is."""
    compared = pl.concat(pairs.select("prompt_id", id=f"{side}_id") for side in ("chosen", "rejected"))
    known = values.join(compared.drop_nulls().unique(), on="id", how="left", validate="1:1", maintain_order="left")
    rank = pl.col("phi").rank("average", descending=True).over("prompt_id")
    return known.select("id", "phi", rank=pl.when(pl.col("prompt_id").is_not_null()).then(rank))


def _margins(pool: Pool, pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Frame (id, wins, games): how many of its pairs each answer wins by one score."""
    found = finite(pool, pairs, name, "score").with_columns(won=(pl.col("value").sign() + 1) / 2)
    return pl.concat(
        [
            found.select(id="chosen_id", wins="won", games=pl.lit(1.0)),
            found.select(id="rejected_id", wins=1 - pl.col("won"), games=pl.lit(1.0)),
        ]
    )
