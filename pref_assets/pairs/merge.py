"""From the records of all batches to prompts, completions and pairs, each stored once."""

from dataclasses import dataclass

import polars as pl
from pydantic import Field

from pref_assets.pairs.drops import DropConfig
from pref_assets.pairs.ids import pair_id
from pref_assets.pairs.pairing import PROVENANCE_COLUMNS, Pairing
from pref_assets.pairs.schema import COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, PROVENANCE, RATINGS
from pref_assets.pairs.splits import Splits
from pref_assets.pairs.votes import Majority, VotePolicyConfig
from pref_assets.settings import Settings

_SIDES = ("completion_a", "completion_b")
_VOTE = ("annotator", "dimension", "choice", "strength", "rationale")


class PairsSettings(Settings):
    """The ``pairs`` block: how records become pairs."""

    pairing: Pairing = Field(default_factory=Pairing)
    """Which ratings make votes."""
    votes: VotePolicyConfig = Field(default_factory=Majority)
    """Which votes count, and when they settle a pair."""
    splits: Splits = Field(default_factory=Splits)
    """Which prompts are held out."""
    drops: tuple[DropConfig, ...] = ()
    """Further rules that drop pairs, in order."""


@dataclass(frozen=True)
class Merged:
    """Frames of ``PROMPTS``, ``COMPLETIONS``, ``PAIRS`` and ``PAIR_DROPS``, each sorted by its id."""

    prompts: pl.DataFrame
    completions: pl.DataFrame
    pairs: pl.DataFrame
    drops: pl.DataFrame


def merge(prompts: pl.DataFrame, completions: pl.DataFrame, votes: pl.DataFrame, settings: PairsSettings) -> Merged:
    """Merges the records of all batches. The result does not depend on the order of rows or batches.

    Args:
        prompts, completions, votes: ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS``, ``RECORD_VOTES``.

    Raises:
        ValueError: a vote names a completion, or a completion a prompt, that is not there; or a prompt has too many
            completions for the pairing rule.
    """
    merged_prompts = settings.splits.assign(_merge_prompts(prompts)).sort("prompt_id")
    merged_prompts = merged_prompts.with_columns(group_id="prompt_id")
    merged_completions = _merge_completions(completions).sort("completion_id")
    cast = pl.concat([_explicit(votes), settings.pairing.votes(completions)], how="vertical")
    _check_joins(merged_prompts, merged_completions, cast)
    compared = _compare(cast, settings)
    compared = _placed(compared, merged_prompts, merged_completions)
    kept, drops = _apply_drops(compared, merged_prompts, merged_completions, settings)
    return Merged(
        prompts=PROMPTS.conform(merged_prompts),
        completions=COMPLETIONS.conform(merged_completions),
        pairs=PAIRS.conform(kept.select(list(PAIRS.columns)).sort("pair_id")),
        drops=drops,
    )


def _ordered(records: pl.DataFrame, *last: str) -> pl.DataFrame:
    return records.sort(*PROVENANCE_COLUMNS, *last, nulls_last=True)


def _provenance(records: pl.DataFrame, key: str) -> pl.DataFrame:
    """Every row of each key, sorted, as column ``provenance``."""
    rows = records.select(key, *PROVENANCE_COLUMNS).unique()
    return (
        _ordered(rows)
        .group_by(key, maintain_order=True)
        .agg(pl.struct(PROVENANCE_COLUMNS).cast(PROVENANCE.inner).alias("provenance"))
    )


def _merge_prompts(records: pl.DataFrame) -> pl.DataFrame:
    """One row a prompt; of several metadata, the first in the order of files and rows."""
    once = records.unique("prompt_id", keep="any").select("prompt_id", "messages", "images", "context")
    said = records.filter(pl.col("metadata").is_not_null())
    said = _ordered(said.select("prompt_id", "metadata", *PROVENANCE_COLUMNS), "metadata")
    said = said.unique("prompt_id", keep="first", maintain_order=True).select("prompt_id", "metadata")
    frame = once.join(said, on="prompt_id", how="left")
    return frame.join(_provenance(records, "prompt_id"), on="prompt_id", how="left")


def _merge_completions(records: pl.DataFrame) -> pl.DataFrame:
    """One row a completion, with every distinct rating; of several models, the first in the order of rows."""
    once = records.unique("completion_id", keep="any").select("completion_id", "prompt_id", "messages")
    named = records.filter(pl.col("model").is_not_null())
    named = _ordered(named.select("completion_id", "model", *PROVENANCE_COLUMNS), "model")
    named = named.unique("completion_id", keep="first", maintain_order=True).select("completion_id", "model")
    fields = ["dimension", "annotator", "value", "rationale"]
    ratings = (
        records.filter(pl.col("ratings").list.len() > 0)
        .select("completion_id", "ratings")
        .explode("ratings")
        .unnest("ratings")
        .unique()
        .sort("completion_id", *fields, nulls_last=True)
        .group_by("completion_id", maintain_order=True)
        .agg(pl.struct("dimension", "value", "annotator", "rationale").alias("ratings"))
    )
    frame = once.join(named, on="completion_id", how="left").join(ratings, on="completion_id", how="left")
    frame = frame.with_columns(pl.col("ratings").cast(RATINGS).fill_null(pl.lit([], dtype=RATINGS)))
    return frame.join(_provenance(records, "completion_id"), on="completion_id", how="left")


def _explicit(votes: pl.DataFrame) -> pl.DataFrame:
    """The sources' own votes; a vote read twice from the same row counts once."""
    key = [*_SIDES, "annotator", "dimension", "choice", "source", "uri", "row"]
    rows = votes.sort([*key, "batch", "strength", "rationale"], nulls_last=True)
    return (
        rows.group_by(key, maintain_order=True)
        .agg(pl.col("strength", "rationale").first(), pl.struct(PROVENANCE_COLUMNS).unique().alias("provenance"))
        .select(*_SIDES, *_VOTE, "provenance")
    )


def _check_joins(prompts: pl.DataFrame, completions: pl.DataFrame, votes: pl.DataFrame) -> None:
    lost = completions.join(prompts, on="prompt_id", how="anti")
    if lost.height:
        raise ValueError(f"{lost.height} completions answer prompts that are not there, e.g. {lost.row(0)[0]}")
    for side in _SIDES:
        lost = votes.join(completions, left_on=side, right_on="completion_id", how="anti")
        if lost.height:
            raise ValueError(f"{lost.height} votes name completions that are not there, e.g. {lost[side][0]}")


def _compare(votes: pl.DataFrame, settings: PairsSettings) -> pl.DataFrame:
    """One row a pair, oriented by the counted votes, with ``counted``: how many there are."""
    counts = settings.votes.counted()
    ordered = votes.with_columns(counts=counts).sort([*_SIDES, *_VOTE], nulls_last=True)
    tally = ordered.group_by(_SIDES, maintain_order=True).agg(
        counted=pl.col("counts").sum(),
        for_a=((pl.col("choice") == "a") & pl.col("counts")).sum(),
        ties=((pl.col("choice") == "tie") & pl.col("counts")).sum(),
    )
    tally = tally.with_columns(weight_a=pl.col("for_a") + 0.5 * pl.col("ties"))
    tally = tally.with_columns(weight_b=pl.col("counted") - pl.col("weight_a"))
    tally = tally.with_columns(a_wins=pl.col("weight_a") >= pl.col("weight_b"))
    chosen, rejected = (
        pl.when(side).then(pl.col("completion_a")).otherwise(pl.col("completion_b"))
        for side in (pl.col("a_wins"), ~pl.col("a_wins"))
    )
    pairs = tally.with_columns(
        pair_id=_pair_ids(tally),
        chosen_id=chosen,
        rejected_id=rejected,
        p_chosen=pl.max_horizontal("weight_a", "weight_b") / pl.col("counted"),
    )
    oriented = ordered.join(
        pairs.select(*_SIDES, "pair_id", "a_wins"), on=_SIDES, how="left", maintain_order="left"
    ).with_columns(
        choice=pl.when(pl.col("choice") == "tie")
        .then(pl.lit("tie"))
        .when((pl.col("choice") == "a") == pl.col("a_wins"))
        .then(pl.lit("chosen"))
        .otherwise(pl.lit("rejected"))
    )
    backed = (pl.col("choice") == "chosen") & pl.col("counts")
    collected = oriented.group_by("pair_id", maintain_order=True).agg(
        strength=pl.col("strength").filter(backed).mean(),
        votes=pl.struct(_VOTE).sort_by(_VOTE, nulls_last=True),
    )
    rows = votes.join(pairs.select(*_SIDES, "pair_id"), on=_SIDES, how="left")
    rows = rows.select("pair_id", "provenance").explode("provenance").unnest("provenance")
    return pairs.join(collected, on="pair_id").join(_provenance(rows, "pair_id"), on="pair_id")


def _pair_ids(pairs: pl.DataFrame) -> pl.Series:
    ids = [pair_id(a, b) for a, b in pairs.select(_SIDES).iter_rows()]
    return pl.Series("pair_id", ids, dtype=pl.String)


def _placed(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Adds prompt_id (null when the sides answer different prompts), split, and ``split_b`` of the other side."""
    split = prompts.select("prompt_id", "split")
    answers = completions.select("completion_id", "prompt_id").join(split, on="prompt_id")
    frame = pairs.join(answers, left_on="completion_a", right_on="completion_id")
    frame = frame.join(answers, left_on="completion_b", right_on="completion_id", suffix="_b")
    same = pl.col("prompt_id") == pl.col("prompt_id_b")
    return frame.with_columns(prompt_id=pl.when(same).then(pl.col("prompt_id")))


def _apply_drops(
    pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame, settings: PairsSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Kept pairs and ``PAIR_DROPS``; the first rule that fits a pair names the reason."""
    judged = pairs.with_columns(_verdict(settings))
    dropped = [judged.filter(pl.col("code").is_not_null())]
    kept = judged.filter(pl.col("code").is_null())
    for rule in settings.drops:
        found = rule.find(kept, prompts, completions)
        dropped.append(kept.drop("code", "reason").join(found, on="pair_id"))
        kept = kept.join(found, on="pair_id", how="anti")
    columns = list(PAIR_DROPS.columns)
    dropped = [frame.with_columns(action=pl.lit("drop")) for frame in dropped]
    return kept, PAIR_DROPS.conform(pl.concat([frame.select(columns) for frame in dropped]).sort("pair_id"))


def _verdict(settings: PairsSettings) -> list[pl.Expr]:
    """Columns ``code`` and ``reason`` of the vote policy; null for a settled pair."""
    policy = settings.votes
    share = pl.col("p_chosen").round(4).cast(pl.String)
    lost = (pl.col("counted") - pl.col("for_a") - pl.col("ties")).cast(pl.String)
    rules = [
        (pl.col("counted") == 0, "no_vote", pl.lit(f"no {policy.says()}, which alone count, are on this pair")),
        (
            pl.col("split") != pl.col("split_b"),
            "two_splits",
            pl.format("the prompts of its sides are in {} and {}", "split", "split_b"),
        ),
    ]
    tie = pl.col("p_chosen") == 0.5
    if policy.ties == "drop":
        text = pl.format(
            "{} votes for one side, {} for the other, {} for a tie", pl.col("for_a").cast(pl.String), lost, "ties"
        )
        rules.append((tie, "tie", text))
    below = ~tie & (pl.col("p_chosen") < policy.min_share)
    rules.append(
        (
            below,
            "unresolved",
            pl.format("the chosen side has a share of {} of the votes, below {}", share, pl.lit(policy.min_share)),
        )
    )
    code, reason = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for fits, name, text in reversed(rules):
        code = pl.when(fits).then(pl.lit(name)).otherwise(code)
        reason = pl.when(fits).then(text).otherwise(reason)
    return [code.alias("code"), reason.alias("reason")]
