"""Pairing rules: which completions of a prompt are compared, and what each annotator's ratings say of them."""

import hashlib
from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.settings import Settings

ROUNDING = 1e-9
"""Rating differences below this are rounding, not judgement."""
PROVENANCE_COLUMNS = ("source", "uri", "row", "batch")
_LOT = 8
"""Bytes of a hash that decide a random pick."""
_GROUP = ("source", "prompt_id", "dimension")


class Pairing(Settings):
    """Turns absolute ratings into votes.

    Completions of a prompt are ordered by their mean rating over annotators, within one source and dimension (scales
    of different sources are not comparable); equal means are ordered by completion id. The rule picks pairs from that
    order, and every annotator who rated both votes by the difference of his own ratings, which is the vote's strength.
    """

    type: Literal["all", "best_vs_rest", "best_vs_worst", "adjacent", "random_k"] = "all"
    """``all``: every two completions; ``best_vs_rest``: the first with each other; ``best_vs_worst``: the first with
    the last; ``adjacent``: each with the next; ``random_k``: ``k`` pairs of ``all`` at random."""
    dimensions: tuple[str, ...] | None = ("overall",)
    """Dimensions whose ratings make votes; null for every dimension."""
    min_gap: float = Field(default=0.0, ge=0)
    """Smallest difference of ratings that is a preference; a smaller one is a vote for a tie."""
    ties: Literal["as_ties", "drop"] = "as_ties"
    """Whether completions whose mean ratings are equal, or closer than ``min_gap``, are compared. ``as_ties``: they
    are, and what becomes of pairs whose votes tie is for the vote policy to say; ``drop``: they are not."""
    k: int = Field(default=1, ge=1)
    """Pairs that ``random_k`` picks of each prompt and dimension of a source; all where there are no more."""
    seed: int = Field(default=0, ge=0)
    """Another seed makes ``random_k`` pick anew. More prompts change no pick, and more completions of a prompt only
    put their own pairs in the place of others."""
    max_completions: int = Field(default=64, ge=2, le=1024)
    """Bound on the completions of one prompt under ``all`` and ``random_k``, whose number of pairs is quadratic."""

    def votes(self, completions: pl.DataFrame) -> pl.DataFrame:
        """Votes that the ratings imply.

        Args:
            completions: ``RECORD_COMPLETIONS`` of all batches. Ratings of the same completion by the same annotator
                are averaged; a row read twice counts once.

        Returns:
            completion_a < completion_b, annotator, dimension, choice (``a``, ``b``, ``tie``), strength, rationale
            (null) and provenance: the rows that hold the ratings.

        Raises:
            ValueError: a prompt has more than ``max_completions`` rated completions under ``all`` or ``random_k``.
        """
        ratings = self._ratings(completions)
        pairs = self._pairs(ratings)
        by = [*_GROUP, "annotator"]
        rows = ratings.group_by([*by, "completion_id"]).agg(rows=pl.struct(PROVENANCE_COLUMNS).unique())
        values = self._values(ratings).join(rows, on=[*by, "completion_id"])
        first = pairs.join(values, left_on=[*_GROUP, "completion_a"], right_on=[*_GROUP, "completion_id"])
        both = first.join(
            values, left_on=[*by, "completion_b"], right_on=[*by, "completion_id"], suffix="_b", how="inner"
        )
        gap = pl.col("value") - pl.col("value_b")
        tie = self._close(gap)
        return both.select(
            "completion_a",
            "completion_b",
            "annotator",
            "dimension",
            choice=pl.when(tie).then(pl.lit("tie")).when(gap > 0).then(pl.lit("a")).otherwise(pl.lit("b")),
            strength=gap.abs(),
            rationale=pl.lit(None, pl.String),
            provenance=pl.concat_list("rows", "rows_b").list.unique(),
        )

    def _ratings(self, completions: pl.DataFrame) -> pl.DataFrame:
        """One row a rating with a number: the completion, dimension, value, annotator and the row that holds it."""
        columns = ["prompt_id", "completion_id", *PROVENANCE_COLUMNS]
        rated = completions.filter(pl.col("ratings").list.len() > 0)
        ratings = rated.select(*columns, "ratings").explode("ratings").unnest("ratings").drop_nulls("value")
        if self.dimensions is not None:
            ratings = ratings.filter(pl.col("dimension").is_in(self.dimensions))
        return ratings

    def _values(self, ratings: pl.DataFrame) -> pl.DataFrame:
        """Each annotator's mean rating of each completion, over the rows that hold one."""
        once = ratings.drop("batch").unique()
        return once.group_by([*_GROUP, "annotator", "completion_id"]).agg(pl.col("value").sort().mean())

    def _pairs(self, ratings: pl.DataFrame) -> pl.DataFrame:
        """Pairs the rule picks: source, prompt, dimension, completion_a < completion_b."""
        standing = (
            self._values(ratings).group_by([*_GROUP, "completion_id"]).agg(pl.col("value").sort().mean().round(9))
        )
        order = standing.sort([*_GROUP, "value", "completion_id"], descending=[False] * 3 + [True, False])
        order = order.with_columns(
            place=pl.int_range(pl.len()).over(_GROUP), last=pl.len().over(_GROUP).cast(pl.Int64) - 1
        )
        self._check_size(order)
        lefts = order.filter(place=0) if self.type.startswith("best") else order
        right = pl.col("place_b")
        allowed = {
            "all": right > pl.col("place"),
            "best_vs_rest": right > pl.col("place"),
            "best_vs_worst": (right == pl.col("last")) & (right > pl.col("place")),
            "adjacent": right == pl.col("place") + 1,
            "random_k": right > pl.col("place"),
        }[self.type]
        if self.ties == "drop":
            allowed &= ~self._close(pl.col("value") - pl.col("value_b"))
        pairs = lefts.join(order.drop("last"), on=_GROUP, suffix="_b").filter(allowed)
        ends = "completion_id", "completion_id_b"
        pairs = pairs.select(*_GROUP, completion_a=pl.min_horizontal(*ends), completion_b=pl.max_horizontal(*ends))
        return self._at_random(pairs) if self.type == "random_k" else pairs

    def _close(self, gap: pl.Expr) -> pl.Expr:
        """Whether a difference of ratings is no preference."""
        return (gap.abs() < ROUNDING) | (gap.abs() < self.min_gap - ROUNDING)

    def _at_random(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The ``k`` pairs of each prompt with the smallest hashes: a choice that depends on nothing else."""
        ends = pairs.select("completion_a", "completion_b").iter_rows()
        lots = [hashlib.sha256(f"{self.seed}:{a}:{b}".encode()).digest()[:_LOT] for a, b in ends]
        drawn = pairs.with_columns(pl.Series("lot", lots, dtype=pl.Binary))
        return drawn.filter(pl.col("lot").rank("ordinal").over(_GROUP) <= self.k).drop("lot")

    def _check_size(self, order: pl.DataFrame) -> None:
        if self.type not in ("all", "random_k"):
            return
        large = order.filter(pl.col("last") >= self.max_completions).sort("last", "prompt_id", descending=[True, False])
        if large.height:
            prompt, last = large.select("prompt_id", "last").row(0)
            raise ValueError(
                f"prompt {prompt} has {last + 1} rated completions, more than max_completions={self.max_completions}; "
                "raise it or use best_vs_rest, best_vs_worst or adjacent"
            )
