"""Lets several voters decide whether a label stays, turns around, or is given up."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool
from pref_assets.selection.base import ranked
from pref_assets.selection.cleaning import Cleaner, mixed
from pref_assets.settings import ScoresName

_SLACK = 1e-9
"""So that three votes of four reach a share written as 0.75, and two of three one written as 0.6667 do not by luck."""


class RelabelVote(Cleaner):
    """Relabels pairs by a vote of k judges, in the manner of "The Elephant in the Room" (CHH-RLHF, arXiv:2409.19024),
    where a pair counts as inverted when at least three of four annotators say so.

    Voters are the score entries named here (reward models, judges, ensembles) and, with ``annotators``, the votes that
    people gave. A score above ``neutral`` is a vote for the label, below one against it; a score equal to it and a null
    score, as a judge's unreadable answer is, abstain, and an abstention supports no side but counts among the k. A pair
    turns around when the share against it reaches ``flip_from``, stays when the share for it reaches ``keep_from``, and
    is otherwise undecided. Shares in place of counts let pairs have different numbers of voters [choice]. A tie
    (p_chosen 0.5) has no label to vote on and stays.

    Needs the scores, or votes in the data. Cost O(k n log n).
    """

    type: Literal["relabel_vote"] = "relabel_vote"
    scores: tuple[ScoresName, ...] = ()
    """Score entries that vote, each once."""
    column: str = "score"
    """Which number of the scores votes: a column, or one of their named details."""
    neutral: float = 0.0
    """The value that says neither: 0 for margins, 0.5 for probabilities."""
    annotators: bool = False
    """Whether the votes in the data count as voters beside the scores, one each."""
    dimension: str = "overall"
    """What the annotators' votes are about; votes on other dimensions do not count."""
    flip_from: float = Field(default=0.75, gt=0.5, le=1)
    """Share of the voters against a label that turns it around: three of four in the paper."""
    keep_from: float = Field(default=0.5, gt=0, le=1)
    """Share of the voters for a label that keeps it."""
    undecided: Literal["drop", "keep"] = "drop"
    """What becomes of pairs that reach neither share."""
    label: Literal["certain", "share"] = "certain"
    """A turned label is the old one mirrored, or, of every pair with votes, the share of votes for the chosen side."""

    @model_validator(mode="after")
    def _someone_votes_once(self) -> Self:
        if not self.scores and not self.annotators:
            raise ValueError("nobody votes: name `scores`, or set `annotators`")
        if twice := sorted({name for name in self.scores if self.scores.count(name) > 1}):
            raise ValueError(f"scores {twice} vote twice; each entry has one vote")
        if self.flip_from + self.keep_from <= 1:
            raise ValueError(
                f"flip_from {self.flip_from:g} and keep_from {self.keep_from:g} can both be reached; raise one above "
                "what the other leaves"
            )
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is (votes for - votes against) / voters.

        Raises:
            ValueError: a train pair has no row in a score entry, a NaN or infinite number, or no voter at all; fewer
                pairs are clean than the budget.
        """
        votes = self._votes(pool)
        label, voters = pl.col("p_chosen"), pl.col("voters")
        tied = label == 0.5
        against = (pl.col("against") + _SLACK >= self.flip_from * voters) & ~tied
        kept = (pl.col("towards") + _SLACK >= self.keep_from * voters) | tied
        counted = pl.format(
            "{} of {} votes against, {} for",
            *(pl.col(name).cast(pl.Int64) for name in ("against", "voters", "towards")),
        )
        reason = (
            pl.when(against)
            .then(pl.format("flipped_label: {}", counted))
            .when(tied)
            .then(pl.lit("selected: a tie, nothing to vote on"))
            .when(kept)
            .then(pl.format("selected: {}", counted))
            .otherwise(pl.format("undecided: {}", counted))
        )
        spoken = pl.col("towards") + pl.col("against")
        share = pl.when((spoken > 0) & ~tied).then(pl.col("towards") / spoken)
        turned = pl.when(against).then(mixed(label, 1.0))
        order = ranked(votes.with_columns(score=(pl.col("towards") - pl.col("against")) / voters), self.seed)
        order = order.select(
            "pair_id",
            "score",
            clean=against | kept | pl.lit(self.undecided == "keep"),
            reason=reason,
            p_chosen=turned if self.label == "certain" else share,
        )
        return self.keep(pool, order)

    def _votes(self, pool: Pool) -> pl.DataFrame:
        """The candidates, ordered by id, with how many voters each has, ``towards`` its label and ``against`` it."""
        found = pool.candidates().with_columns(voters=0, towards=0, against=0)
        for name in self.scores:
            value = _scored(pool, found, name, self.column)
            found = found.with_columns(
                voters=pl.col("voters") + 1,
                towards=pl.col("towards") + (value > self.neutral).fill_null(False).cast(pl.Int64),
                against=pl.col("against") + (value < self.neutral).fill_null(False).cast(pl.Int64),
            )
        if self.annotators:
            choice = pl.element().struct.field("choice")
            about = pl.col("votes").list.filter(pl.element().struct.field("dimension") == self.dimension)
            said = {
                "voters": about.list.len(),
                "towards": about.list.filter(choice == "chosen").list.len(),
                "against": about.list.filter(choice == "rejected").list.len(),
            }
            found = found.with_columns(
                (pl.col(name) + count.fill_null(0).cast(pl.Int64)).alias(name) for name, count in said.items()
            )
        silent = found.filter((pl.col("voters") == 0) & (pl.col("p_chosen") != 0.5))["pair_id"]
        if len(silent):
            raise ValueError(
                f"{len(silent)} of {len(found)} train pairs have no vote on {self.dimension!r}, "
                f"e.g. {silent.head(3).to_list()}; name `scores` that vote on every pair"
            )
        return found.with_columns(pl.max_horizontal("voters", 1))


def _scored(pool: Pool, candidates: pl.DataFrame, name: str, column: str) -> pl.Series:
    """The number of each candidate, null where the entry abstains."""
    table = pool.value(name, column).with_columns(known=True)
    found = candidates.select("pair_id").join(table, on="pair_id", how="left", validate="1:1", maintain_order="left")
    broken = found.filter(pl.col("known").is_null() | ~pl.col("value").is_finite().fill_null(True))["pair_id"]
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(found)} train pairs have no row, or a NaN or infinite {column!r}, in scores "
            f"{name!r}, e.g. {broken.head(3).to_list()}; materialize the scores again"
        )
    return found["value"]
