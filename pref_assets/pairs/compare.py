"""From votes to comparisons: every two completions that someone compared, oriented by what the votes say."""

from dataclasses import dataclass

import polars as pl

from pref_assets.pairs.ids import pair_id
from pref_assets.pairs.pairing import PROVENANCE_COLUMNS, Pairing
from pref_assets.pairs.unite import provenance
from pref_assets.pairs.votes import SIDES, VotePolicyConfig

_VOTE = ("annotator", "dimension", "choice", "strength", "rationale")


@dataclass(frozen=True)
class Votes:
    """Attributes:
    cast: one row a vote: completion_a, completion_b, annotator, dimension, choice, strength, rationale.
    places: completion_a, completion_b, and source, uri, row and batch of every row that a vote came from.
    """

    cast: pl.DataFrame
    places: pl.DataFrame


def votes_of(votes: pl.DataFrame, completions: pl.DataFrame, pairing: Pairing) -> Votes:
    """The sources' own votes and those that ratings imply; a vote read twice from the same row counts once.

    Args:
        votes, completions: ``RECORD_VOTES`` and ``RECORD_COMPLETIONS``; messages are not needed.
    """
    once = votes.sort("batch", "strength", "rationale", nulls_last=True).unique(
        [*SIDES, "annotator", "dimension", "choice", "source", "uri", "row"], keep="first"
    )
    rated = pairing.votes(completions)
    places = rated.select(*SIDES, "provenance").explode("provenance").unnest("provenance")
    return Votes(
        cast=pl.concat([once.select(*SIDES, *_VOTE), rated.select(*SIDES, *_VOTE)]),
        places=pl.concat([each.select(*SIDES, *PROVENANCE_COLUMNS) for each in (votes, places)]),
    )


def comparisons(
    votes: Votes, answers: pl.DataFrame, policy: VotePolicyConfig, fitted: pl.DataFrame | None
) -> pl.DataFrame:
    """Rows of ``COMPARISONS`` without order; ``code`` says why the votes do not settle a pair.

    Args:
        votes: all votes on every two completions among them.
        answers: completion_id, prompt_id and split of each completion that votes name.
        fitted: what the policy learnt from the votes on all pairs.

    Raises:
        ValueError: a vote names a completion that is not there.
    """
    ordered = votes.cast.sort(*SIDES, *_VOTE, nulls_last=True)
    pairs = _placed(_oriented(policy.tally(ordered, fitted)), answers)
    pairs = pairs.with_columns(_verdict(policy))
    cast = policy.weighed(ordered, fitted).select(*SIDES, *_VOTE, "counts")
    cast = cast.join(pairs.select(*SIDES, "a_wins"), on=SIDES, how="left", maintain_order="left")
    return pairs.join(_collected(cast), on=SIDES).join(provenance(votes.places, *SIDES), on=SIDES)


def _oriented(tally: pl.DataFrame) -> pl.DataFrame:
    """Adds pair_id, ``a_wins``, chosen_id, rejected_id and p_chosen (null when no vote counts)."""
    total = pl.col("weight_a") + pl.col("weight_b")
    a_wins = pl.col("weight_a") >= pl.col("weight_b")
    share = pl.when(total > 0).then(pl.max_horizontal("weight_a", "weight_b") / total).otherwise(0.5)
    chosen, rejected = (pl.when(side).then(SIDES[0]).otherwise(SIDES[1]) for side in (a_wins, ~a_wins))
    ids = [pair_id(a, b) for a, b in tally.select(SIDES).iter_rows()]
    return tally.with_columns(
        pl.Series("pair_id", ids, dtype=pl.String),
        a_wins=a_wins,
        chosen_id=chosen,
        rejected_id=rejected,
        p_chosen=pl.when(pl.col("counted") > 0).then(share),
    )


def _placed(pairs: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Adds prompt_id (null when the sides answer different prompts), split, and ``split_b`` of the other side."""
    frame = pairs.join(answers, left_on=SIDES[0], right_on="completion_id", how="left")
    frame = frame.join(answers, left_on=SIDES[1], right_on="completion_id", how="left", suffix="_b")
    for side, split in zip(SIDES, ("split", "split_b"), strict=True):
        lost = frame.filter(pl.col(split).is_null())
        if lost.height:
            raise ValueError(f"votes on {lost.height} pairs name completions that are not there, e.g. {lost[side][0]}")
    same = pl.col("prompt_id") == pl.col("prompt_id_b")
    return frame.with_columns(prompt_id=pl.when(same).then(pl.col("prompt_id")))


def _collected(cast: pl.DataFrame) -> pl.DataFrame:
    """Votes and mean strength of each pair.

    Args:
        cast: votes with ``counts``, and ``a_wins`` of their pair.
    """
    choice = (
        pl.when(pl.col("choice") == "tie")
        .then(pl.lit("tie"))
        .when((pl.col("choice") == "a") == pl.col("a_wins"))
        .then(pl.lit("chosen"))
        .otherwise(pl.lit("rejected"))
    )
    backed = (pl.col("choice") == "chosen") & pl.col("counts")
    return (
        cast.with_columns(choice=choice)
        .sort(*SIDES, *_VOTE, nulls_last=True)
        .group_by(SIDES, maintain_order=True)
        .agg(strength=pl.col("strength").filter(backed).mean(), votes=pl.struct(_VOTE))
    )


def _verdict(policy: VotePolicyConfig) -> list[pl.Expr]:
    """Columns ``code`` and ``reason`` of the vote policy; null for a settled pair."""
    share = pl.col("p_chosen").round(4).cast(pl.String)
    lost = (pl.col("counted") - pl.col("for_a") - pl.col("ties")).cast(pl.String)
    for_a, ties = (pl.col(name).cast(pl.String) for name in ("for_a", "ties"))
    tie = pl.col("p_chosen") == 0.5
    rules = [
        (pl.col("counted") == 0, "no_vote", pl.lit(f"no {policy.says()}, which alone count, are on this pair")),
        (
            pl.col("split") != pl.col("split_b"),
            "two_splits",
            pl.format("the prompts of its sides are in {} and {}", "split", "split_b"),
        ),
    ]
    if policy.ties == "drop":
        text = pl.format("{} votes for one side, {} for the other, {} for a tie", for_a, lost, ties)
        rules.append((tie, "tie", text))
    below = f"the votes give the chosen side a {policy.measure} of {{}}, below {policy.min_share}"
    rules.append((~tie & (pl.col("p_chosen") < policy.min_share), "unresolved", pl.format(below, share)))
    code, reason = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for fits, name, text in reversed(rules):
        code = pl.when(fits).then(pl.lit(name)).otherwise(code)
        reason = pl.when(fits).then(text).otherwise(reason)
    return [code.alias("code"), reason.alias("reason")]
