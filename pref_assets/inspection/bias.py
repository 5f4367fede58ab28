"""The bias sheet: what the preferred answers have in common beside being better, before curation and after it."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from pydantic import Field

from pref_assets.evaluation.intervals import wilson
from pref_assets.inspection.events import Beside, events
from pref_assets.inspection.shares import EVENTS, shares, sums
from pref_assets.inspection.traits import Traits
from pref_assets.pairs.agreement import ALL
from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.schema import BIAS
from pref_assets.settings import Settings

METRICS = {
    "longer_preferred": "Share of pairs whose chosen answer is the longer one; pairs of equal length are left out.",
    "length_gap": "Length of the chosen answer minus that of the rejected one.",
    "longer_preferred_by_gap": "The same by how many times the words of the shorter answer the longer one has.",
    "longer_preferred_by_source": "The same, in words, by source of the rows that compare them.",
    "longer_preferred_by_dimension": "Share of votes for the answer with more words, by what was judged; no ties.",
    "longer_preferred_by_agreement": "Share of pairs whose chosen answer has more words, by how far the votes agree.",
    "trait_preferred": "Where one answer has the trait and the other has not: how often the one with it is chosen.",
    "model_preferred": "How often an answer of this model is chosen over an answer of another one.",
    "source_preferred": "How often an answer that only this source has is chosen over one of another source.",
    "first_preferred": "How often the answer that stands first in its row is chosen, by source. Formats that name the "
    "chosen answer put it first or second always, so that 1 or 0 says nothing of the annotators.",
    "alpha": "Krippendorff's alpha of the votes, by source and dimension; 1 is agreement, 0 is chance.",
    "unanimous": "Share of pairs with several votes on which all votes agree, by source and dimension.",
    "dropped": "Share of all comparisons that curation took out, by reason.",
    "quarantined": "Share of the rows of a source that could not be read, by source and reason.",
}
"""What is measured, in the order of the sheet."""
MEAN, MEDIAN = "mean", "median"
LENGTHS = ("words", "characters")


class BiasSheet(Settings):
    """Shares with 95 % Wilson intervals (Wilson 1927) at the effective number of prompts, of every comparison that the
    votes settle and of the pairs that curation kept.

    Ties are left out, since neither of their sides is preferred.
    """

    traits: Traits = Traits()
    """Traits of form that are looked at."""
    gaps: tuple[float, ...] = Field(default=(1.1, 1.5, 2.0, 4.0), min_length=1)
    """Bounds between buckets of the longer answer's words over the shorter's, ascending."""
    max_pairs: int = Field(default=100_000, ge=1)
    """Above this many comparisons, those of the prompts with the smallest ids are measured, about so many: ids are
    hashes, so this is a random sample of prompts, which new batches change little. The intervals are of the sample."""
    chunk: int = Field(default=25_000, ge=1)
    """Pairs whose texts are in memory at a time."""


@dataclass(frozen=True)
class Compared:
    """What the sheet reads: ``COMPARISONS``, ``PAIRS``, ``PROMPTS``, ``COMPLETIONS`` and, of all sources together,
    ``RECORD_COMPLETIONS``."""

    comparisons: pl.LazyFrame
    pairs: pl.LazyFrame
    prompts: pl.LazyFrame
    completions: pl.LazyFrame
    records: pl.LazyFrame


def preferences(tables: Compared, settings: BiasSheet) -> pl.DataFrame:
    """``BIAS`` of everything that is measured on pairs, sorted by its key, the same whatever the order of rows.

    One pass over the texts, ``settings.chunk`` pairs at a time; of each pair nothing but its length gaps is kept.
    """
    settled = _sampled(tables.comparisons.filter(pl.col("p_chosen") > 0.5), settings.max_pairs)
    beside = Beside(settled, tables.pairs, tables.completions, tables.records)
    parts: list[pl.DataFrame] = [sums(pl.DataFrame(schema=EVENTS))]
    gaps: list[pl.DataFrame] = [pl.DataFrame(schema={"kept": pl.Boolean, **dict.fromkeys(LENGTHS, pl.Int32)})]

    def looked_at() -> Iterator[tuple[pl.DataFrame, str | None]]:
        for chunk in pair_chunks(settled, tables.prompts, tables.completions, rows=settings.chunk):
            looks = beside.known(settings.traits.look(chunk))
            gap = (pl.col(f"{unit}_chosen") - pl.col(f"{unit}_rejected") for unit in LENGTHS)
            gaps.append(looks.select("kept", **dict(zip(LENGTHS, gap, strict=True))))
            yield events(looks, beside, settings.traits.names(), settings.gaps), chunk["prompt_id"][-1]

    parts += [sums(part) for part in _whole_prompts(looked_at())]
    return BIAS.conform(pl.concat([shares(parts), _gaps(pl.concat(gaps))], how="vertical_relaxed").sort(BIAS.key))


def _sampled(comparisons: pl.LazyFrame, most: int) -> pl.LazyFrame:
    """All comparisons, or those of the prompts with the smallest ids that hold ``most`` of them.

    The prompt at the bound comes whole. Of comparisons across prompts the pair's own id counts.
    """
    key = pl.coalesce("prompt_id", "pair_id")
    ids = comparisons.select(key.alias("id")).collect(engine="streaming")["id"]
    return comparisons if len(ids) <= most else comparisons.filter(key <= ids.sort()[most - 1])


def losses(comparisons: int, drops: pl.DataFrame, rows_read: dict[str, int], quarantined: pl.DataFrame) -> pl.DataFrame:
    """``BIAS`` of what was taken out, and why.

    Args:
        comparisons: how many there were.
        drops: columns code and len.
        rows_read: rows of each source.
        quarantined: columns source, code and len.
    """
    found = [("dropped", code, count, comparisons) for code, count in drops.select("code", "len").iter_rows()]
    for source, code, count in quarantined.select("source", "code", "len").iter_rows():
        found.append(("quarantined", f"{source}: {code}", count, rows_read[source]))
    return _frame([(metric, group, count / n, *wilson(count, n), n) for metric, group, count, n in found])


def judged(agreement: pl.DataFrame) -> pl.DataFrame:
    """``BIAS`` of how far the annotators agree; with one source alone, all sources together say nothing more.

    Args:
        agreement: rows of ``AGREEMENT``.
    """
    rows: list[tuple[str, str, float, float | None, float | None, int]] = []
    one = agreement["source"].n_unique() <= 2
    for row in agreement.filter(pl.lit(not one) | (pl.col("source") != ALL)).iter_rows(named=True):
        group, n = f"{row['source']} / {row['dimension']}", row["pairs"]
        if row["alpha"] is not None:
            rows.append(("alpha", group, row["alpha"], None, None, n))
        rows.append(("unanimous", group, row["unanimous"], *wilson(row["unanimous"] * n, n), n))
    return _frame(rows)


def _frame(rows: list[tuple[str, str, float, float | None, float | None, int]]) -> pl.DataFrame:
    names = ("metric", "group", "value", "lo", "hi", "n")
    return BIAS.frame({"data": "comparisons", **dict(zip(names, row, strict=True))} for row in rows)


def _gaps(gaps: pl.DataFrame) -> pl.DataFrame:
    found = []
    for data, part in (("comparisons", gaps), ("pairs", gaps.filter("kept"))):
        for unit in LENGTHS if part.height else ():
            values = part[unit].cast(pl.Float64)
            for name, value in ((MEAN, values.mean()), (MEDIAN, values.median())):
                found.append({"metric": "length_gap", "group": f"{unit}, {name}", "value": value, "n": part.height})
                found[-1]["data"] = data
    return BIAS.frame([{"lo": None, "hi": None, **row} for row in found])


def _whole_prompts(parts: Iterator[tuple[pl.DataFrame, str | None]]) -> Iterator[pl.DataFrame]:
    """The events of each part, with those of its last prompt moved to the next part, which may have more of them."""
    rest = pl.DataFrame(schema=EVENTS)
    for found, last in parts:
        found = pl.concat([rest, found])
        done = pl.col("prompt") != last if last is not None else pl.lit(value=True)
        rest = found.filter(~done)
        yield found.filter(done)
    yield rest
