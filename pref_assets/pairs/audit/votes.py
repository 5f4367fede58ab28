"""Rules on labels: what the votes on a pair say, and which prompts its sides answer."""

from typing import Literal

import polars as pl

from pref_assets.pairs.audit.base import VoteRule, found


class PromptsDiffer(VoteRule):
    """The two sides answer different prompts, so that nothing can be trained on their difference alone.

    Severity warning; goes to quarantine by default. Data that compares answers to different prompts on purpose (one
    question about two images) says ``keep``.
    """

    type: Literal["prompts_differ"] = "prompts_differ"
    severity = "warning"
    action = "quarantine"

    def find(self, comparisons: pl.LazyFrame) -> pl.DataFrame:
        rows = comparisons.select("pair_id", "prompt_id").filter(pl.col("prompt_id").is_null()).collect()
        return found(rows, pl.lit(True), pl.lit("the two sides answer different prompts"))


class Tie(VoteRule):
    """The counted votes weigh the same for both sides.

    Severity info; keeps by default: what becomes of a tie is the vote policy's ``ties``.
    """

    type: Literal["tie"] = "tie"
    severity = "info"
    action = "keep"

    def find(self, comparisons: pl.LazyFrame) -> pl.DataFrame:
        rows = comparisons.select("pair_id", "p_chosen", votes=pl.col("votes").list.len())
        rows = rows.filter(pl.col("p_chosen") == 0.5)
        return found(rows.collect(), pl.lit(True), pl.format("a tie after {} votes", "votes"))


class ContradictoryLabels(VoteRule):
    """One annotator preferred each of the two sides on the same dimension, in different votes.

    Rows that name no annotator count as one annotator: a row whose sides were swapped, with its label left as it
    was, shows here. Different people who disagree are no fault: the agreement table measures them.

    Severity warning; keeps by default: the vote policy has weighed the votes.
    """

    type: Literal["contradictory_labels"] = "contradictory_labels"
    severity = "warning"
    action = "keep"

    def find(self, comparisons: pl.LazyFrame) -> pl.DataFrame:
        votes = comparisons.filter(pl.col("votes").list.len() > 1).select("pair_id", "votes").explode("votes")
        votes = votes.select("pair_id", pl.col("votes").struct.unnest()).filter(pl.col("choice") != "tie")
        for_chosen = (pl.col("choice") == "chosen").sum()
        tally = votes.group_by("pair_id", "annotator", "dimension").agg(for_chosen=for_chosen, votes=pl.len())
        tally = tally.filter(pl.col("for_chosen").is_between(1, pl.col("votes") - 1))
        detail = pl.format(
            "annotator `{}` gave {} votes for the chosen side and {} for the rejected one on `{}`",
            "annotator",
            "for_chosen",
            pl.col("votes") - pl.col("for_chosen"),
            "dimension",
        )
        rows = tally.sort("pair_id", "annotator", "dimension").select("pair_id", detail=detail)
        return rows.group_by("pair_id", maintain_order=True).agg(pl.col("detail").str.join("; ")).collect()
