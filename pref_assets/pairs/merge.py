"""From the records of all batches to prompts, completions and comparisons, each stored once."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from pydantic import Field

from pref_assets.pairs.buckets import Range, prompt_ranges
from pref_assets.pairs.compare import comparisons, votes_of
from pref_assets.pairs.pairing import PROVENANCE_COLUMNS, Pairing
from pref_assets.pairs.schema import COMPARISONS, COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, Table
from pref_assets.pairs.splits import Splits
from pref_assets.pairs.unite import united_completions, united_prompts
from pref_assets.pairs.votes import SIDES, Majority, VotePolicyConfig
from pref_assets.settings import Settings

ROWS = 300_000
"""Record rows of a bucket, which bound memory: about a gigabyte where they hold 120 words each."""
_RATED = ("prompt_id", "completion_id", "ratings", *PROVENANCE_COLUMNS)


class PairsSettings(Settings):
    """The ``pairs`` block: how records become pairs."""

    pairing: Pairing = Field(default_factory=Pairing)
    """Which ratings make votes."""
    votes: VotePolicyConfig = Field(default_factory=Majority)
    """Which votes count, and when they settle a pair."""
    splits: Splits = Field(default_factory=Splits)
    """Which prompts are held out."""


@dataclass(frozen=True)
class Merged:
    """Frames of ``PROMPTS``, ``COMPLETIONS`` and ``COMPARISONS``, each in its table's order."""

    prompts: pl.DataFrame
    completions: pl.DataFrame
    comparisons: pl.DataFrame

    @property
    def pairs(self) -> pl.DataFrame:
        """Comparisons that the votes settle, as ``PAIRS``."""
        return PAIRS.conform(self.comparisons.filter(pl.col("code").is_null()).select(list(PAIRS.columns)))

    @property
    def drops(self) -> pl.DataFrame:
        """The others, as ``PAIR_DROPS``."""
        rows = self.comparisons.filter(pl.col("code").is_not_null()).with_columns(action=pl.lit("drop"))
        return PAIR_DROPS.conform(rows.select(list(PAIR_DROPS.columns)).sort("pair_id"))


def merge(
    prompts: pl.DataFrame,
    completions: pl.DataFrame,
    votes: pl.DataFrame,
    settings: PairsSettings,
    groups: pl.DataFrame | None = None,
) -> Merged:
    """``merge_buckets`` of frames in memory, put together."""
    parts = list(merge_buckets(prompts.lazy(), completions.lazy(), votes.lazy(), settings, groups))
    return Merged(
        pl.concat(part.prompts for part in parts),
        pl.concat(part.completions for part in parts),
        pl.concat(part.comparisons for part in parts),
    )


def merge_buckets(
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    votes: pl.LazyFrame,
    settings: PairsSettings,
    groups: pl.DataFrame | None = None,
    *,
    rows: int = ROWS,
) -> Iterator[Merged]:
    """Merges the records of all batches in buckets of prompt ids, in order; comparisons across prompts come last.

    Buckets put together do not depend on the order of rows or batches, nor on the size of a bucket. Where the records
    are stored in their order, a bucket reads its own range of prompt ids and nothing else; only the ids that
    comparisons across prompts need are held in memory throughout.

    Args:
        prompts, completions, votes: ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS``, ``RECORD_VOTES`` of all batches.
        groups: prompt_id and group_id of the prompts that belong to the group of another prompt, which then decides
            their split; that prompt is itself in no other group.
        rows: record rows of a bucket, about.

    Raises:
        ValueError: a vote names a completion, or a completion or group a prompt, that is not there; a prompt has too
            many completions for the pairing rule; or the vote policy cannot be fitted.
    """
    ranges = prompt_ranges([prompts, completions], rows)
    across = _Across(completions, votes)
    grouped = _grouped(prompts, ranges, settings.splits, groups)
    fitted = settings.votes.fit(_cast(completions, votes, ranges, settings))
    for each in ranges:
        said = united_prompts(_read(each.of(prompts)))
        said = _split(said, settings.splits, grouped)
        records = _read(each.of(completions))
        _check_prompts(records, said)
        answered = records.select("completion_id", "prompt_id").unique("completion_id")
        answers = answered.join(said.select("prompt_id", "split"), on="prompt_id")
        across.see(answers)
        cast = votes_of(_read(each.of(votes)), records.select(_RATED), settings.pairing)
        compared = comparisons(cast, answers, settings.votes, fitted)
        yield _bucket(said, united_completions(records), compared)
    if not across.votes.is_empty():
        cast = votes_of(
            across.votes, pl.DataFrame(schema=completions.select(_RATED).collect_schema()), settings.pairing
        )
        compared = comparisons(cast, across.answers(), settings.votes, fitted)
        yield _bucket(PROMPTS.empty(), COMPLETIONS.empty(), compared)


class _Across:
    """Votes on completions of two prompts, and what is known of these completions."""

    def __init__(self, completions: pl.LazyFrame, votes: pl.LazyFrame) -> None:
        self.votes = _read(votes.filter(pl.col("prompt_id").is_null()))
        self._sides = pl.concat([self.votes.select(completion_id=side) for side in SIDES]).unique()
        self._seen: list[pl.DataFrame] = []

    def see(self, answers: pl.DataFrame) -> None:
        """Keeps completion_id, prompt_id and split of those that the votes name."""
        if not self._sides.is_empty():
            self._seen.append(answers.join(self._sides, on="completion_id", how="semi"))

    def answers(self) -> pl.DataFrame:
        return pl.concat(self._seen)


def _read(rows: pl.LazyFrame) -> pl.DataFrame:
    return rows.collect(engine="streaming")


def _cast(
    completions: pl.LazyFrame, votes: pl.LazyFrame, ranges: list[Range], settings: PairsSettings
) -> Iterator[pl.DataFrame]:
    """All votes, without texts, for the vote policy to be fitted to."""
    for each in ranges:
        rated = _read(each.of(completions.select(_RATED)))
        yield votes_of(_read(each.of(votes)), rated, settings.pairing).cast
    across = _read(votes.filter(pl.col("prompt_id").is_null()))
    yield votes_of(across, pl.DataFrame(schema=completions.select(_RATED).collect_schema()), settings.pairing).cast


def _grouped(prompts: pl.LazyFrame, ranges: list[Range], splits: Splits, groups: pl.DataFrame | None) -> pl.DataFrame:
    """prompt_id, group_id and split of the prompts that belong to the group of another."""
    if groups is None or groups.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(("prompt_id", "group_id", "split"), pl.String))
    firsts = groups.select(prompt_id="group_id").unique().lazy()
    found = []
    for each in ranges:
        texts = each.of(prompts).select("prompt_id", "messages", "images").join(firsts, on="prompt_id", how="semi")
        found.append(splits.assign(_read(texts).unique("prompt_id")).select(group_id="prompt_id", split="split"))
    grouped = groups.select("prompt_id", "group_id").join(pl.concat(found), on="group_id", how="left")
    lost = grouped.filter(pl.col("split").is_null())
    if lost.height:
        raise ValueError(f"{lost.height} prompts are in groups of prompts that are not there, e.g. {lost.row(0)[1]}")
    return grouped


def _split(prompts: pl.DataFrame, splits: Splits, grouped: pl.DataFrame) -> pl.DataFrame:
    """The prompts with split and group_id."""
    own = splits.assign(prompts).join(grouped, on="prompt_id", how="left", suffix="_of_group")
    return own.with_columns(split=pl.coalesce("split_of_group", "split"), group_id=pl.coalesce("group_id", "prompt_id"))


def _check_prompts(completions: pl.DataFrame, prompts: pl.DataFrame) -> None:
    lost = completions.join(prompts, on="prompt_id", how="anti")
    if lost.height:
        raise ValueError(f"{lost.height} completions answer prompts that are not there, e.g. {lost.row(0)[0]}")


def _bucket(prompts: pl.DataFrame, completions: pl.DataFrame, compared: pl.DataFrame) -> Merged:
    return Merged(_table(prompts, PROMPTS), _table(completions, COMPLETIONS), _table(compared, COMPARISONS))


def _table(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    return table.conform(frame.select(list(table.columns))).sort(table.order or table.key, nulls_last=True)
