"""From comparisons to pairs: every finding about a comparison is a fact, and the policy says what becomes of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit import AuditSettings, lasting, taken_out
from pref_assets.pairs.decontamination import Decontamination
from pref_assets.pairs.duplicates import NearDuplicates, NearImages
from pref_assets.pairs.merge import PairsSettings
from pref_assets.pairs.schema import CONTAMINATION, PAIR_DROPS, PAIR_DUPLICATES, PAIRS, PROMPT_DUPLICATES

CONTAMINATED = "contaminated"
NEAR_DUPLICATE = "near_duplicate"
ACROSS_SPLITS = "near_duplicate_across_splits"
_VERDICT = pl.Schema({"pair_id": pl.String, "action": pl.String, "code": pl.String, "reason": pl.String})


class Merging(PairsSettings):
    """How records become comparisons."""

    duplicates: NearDuplicates | None = NearDuplicates()
    """How near duplicates are found; null looks for none, and splits are dealt by equal words alone."""
    images: NearImages | None = NearImages()
    """How images that nearly repeat others are found; prompts that show the same are in the same split. Null looks for
    none, and splits are dealt by equal words about equal images. Only sources of images are looked at."""


class PairsBlock(Merging):
    """The ``pairs`` block: how records become comparisons, and which comparisons become pairs."""

    audit: AuditSettings = Field(default_factory=AuditSettings)
    """Which faults are looked for, and what becomes of a comparison that has one."""
    decontamination: Decontamination = Field(default_factory=Decontamination)
    """Benches whose texts must not be trained on."""

    def merging(self) -> Merging:
        """The part that makes comparisons, so that another audit policy leaves them as they are."""
        return Merging(**{name: getattr(self, name) for name in Merging.model_fields})


@dataclass(frozen=True)
class Findings:
    """What is known of comparisons, as frames of ``FLAGS``, ``CONTAMINATION``, ``PAIR_DUPLICATES`` and
    ``PROMPT_DUPLICATES``."""

    flags: pl.DataFrame
    contamination: pl.DataFrame = field(default_factory=CONTAMINATION.empty)
    pair_duplicates: pl.DataFrame = field(default_factory=PAIR_DUPLICATES.empty)
    prompt_duplicates: pl.DataFrame = field(default_factory=PROMPT_DUPLICATES.empty)


def survivors(comparisons: pl.LazyFrame, findings: Findings, settings: PairsBlock) -> pl.LazyFrame:
    """Comparisons with sound texts: only they can stand in for a later copy. Votes play no part, so that new votes on
    one pair never bring back or take out another."""
    flagged = _flagged(lasting(findings.flags, settings.audit), settings)
    out = pl.concat([flagged, _contaminated(findings.contamination)])
    return comparisons.join(out.select("pair_id").lazy(), on="pair_id", how="anti", maintain_order="left")


def verdicts(
    comparisons: pl.LazyFrame, prompts: pl.LazyFrame, findings: Findings, settings: PairsBlock
) -> pl.DataFrame:
    """Comparisons that do not become pairs: pair_id, action (``drop`` or ``quarantine``), code, reason.

    Where several rules take a comparison out, the first in this order says why: its votes, an audit rule, a bench, a
    near duplicate, a prompt that repeats a prompt of another split.
    """
    found = [
        _unsettled(comparisons),
        _flagged(findings.flags, settings),
        _contaminated(findings.contamination),
        _repeated(findings.pair_duplicates),
        _across_splits(comparisons, prompts, findings.prompt_duplicates),
    ]
    return pl.concat(found).unique("pair_id", keep="first", maintain_order=True)


def kept(comparisons: pl.LazyFrame, out: pl.DataFrame, rows: int = 100_000) -> Iterator[pl.DataFrame]:
    """``PAIRS``, a chunk at a time: the comparisons that no verdict takes out."""
    rest = comparisons.join(out.select("pair_id").lazy(), on="pair_id", how="anti", maintain_order="left")
    for chunk in rest.select(list(PAIRS.columns)).collect_batches(chunk_size=rows, maintain_order=True):
        yield PAIRS.conform(chunk)


def dropped(comparisons: pl.LazyFrame, out: pl.DataFrame) -> pl.DataFrame:
    """``PAIR_DROPS``: the others, each with its verdict."""
    about = comparisons.select("pair_id", "chosen_id", "rejected_id", "provenance")
    return PAIR_DROPS.conform(about.join(out.lazy(), on="pair_id", how="inner").collect().sort("pair_id"))


def _unsettled(comparisons: pl.LazyFrame) -> pl.DataFrame:
    said = comparisons.select("pair_id", "code", "reason").filter(pl.col("code").is_not_null()).collect()
    return _verdict(said.with_columns(action=pl.lit("drop")))


def _flagged(flags: pl.DataFrame, settings: PairsBlock) -> pl.DataFrame:
    return _verdict(taken_out(flags, settings.audit))


def _contaminated(contamination: pl.DataFrame) -> pl.DataFrame:
    first = contamination.sort("similarity", "bench", "bench_row", "part", "kind", descending=[True] + [False] * 4)
    first = first.unique("pair_id", keep="first", maintain_order=True)
    reason = pl.format(
        "its {} holds row {} of {} ({}, {})",
        "part",
        "bench_row",
        "bench",
        pl.col("kind").str.replace("_", " "),
        pl.col("similarity").round(3),
    )
    return _verdict(first.with_columns(action=pl.lit("drop"), code=pl.lit(CONTAMINATED), reason=reason))


def _repeated(duplicates: pl.DataFrame) -> pl.DataFrame:
    closest = duplicates.sort("pair_id", "similarity", "of", descending=[False, True, False])
    closest = closest.unique("pair_id", keep="first", maintain_order=True)
    reason = pl.format("repeats pair {} of batch {} (similarity {})", "of", "of_batch", pl.col("similarity").round(3))
    return _verdict(closest.with_columns(action=pl.lit("drop"), code=pl.lit(NEAR_DUPLICATE), reason=reason))


def _across_splits(comparisons: pl.LazyFrame, prompts: pl.LazyFrame, duplicates: pl.DataFrame) -> pl.DataFrame:
    """Pairs of prompts that nearly repeat prompts of two splits: in either, they would leak into the other."""
    splits = prompts.select("prompt_id", "split").collect()
    found = duplicates.join(splits, on="prompt_id")
    found = found.join(splits.rename({"prompt_id": "of", "split": "of_split"}), on="of")
    found = found.filter(pl.col("split") != pl.col("of_split")).sort(
        "prompt_id", "similarity", "of", descending=[False, True, False]
    )
    found = found.unique("prompt_id", keep="first", maintain_order=True)
    pairs = comparisons.select("pair_id", "prompt_id").filter(pl.col("prompt_id").is_in(found["prompt_id"].implode()))
    named = pairs.collect().join(found, on="prompt_id").sort("pair_id")
    reason = pl.format(
        "its prompt is in {} but nearly repeats prompt {} of {} (similarity {})",
        "split",
        "of",
        "of_split",
        pl.col("similarity").round(3),
    )
    return _verdict(named.with_columns(action=pl.lit("drop"), code=pl.lit(ACROSS_SPLITS), reason=reason))


def _verdict(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(dtype) for name, dtype in _VERDICT.items())
