"""The yes-or-no questions that a bias sheet asks of every pair."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from pref_assets.inspection.shares import EVENTS
from pref_assets.inspection.traits import SIDES

_ROW = ("source", "batch", "uri", "row")
_CHOSEN, _REJECTED = pl.col("words_chosen"), pl.col("words_rejected")
_LONGER = _CHOSEN > _REJECTED
_DIFFER = _CHOSEN != _REJECTED


@dataclass(frozen=True)
class Beside:
    """What is known of pairs beside their texts, read for a range of prompts at a time: ``COMPARISONS``, ``PAIRS``,
    ``COMPLETIONS``, ``RECORD_COMPLETIONS``."""

    comparisons: pl.LazyFrame
    pairs: pl.LazyFrame
    completions: pl.LazyFrame
    records: pl.LazyFrame

    def known(self, looks: pl.DataFrame) -> pl.DataFrame:
        """The pairs with ``prompt`` (the pair itself where the sides answer two), ``kept``, p_chosen, votes,
        provenance, and ``model`` and ``source`` of each side, null where they are not known or several."""
        found = _near(self.comparisons, looks).select("pair_id", "p_chosen", "votes", "provenance")
        kept = _near(self.pairs, looks).select("pair_id", kept=pl.lit(value=True))
        looks = looks.join(found.collect(), on="pair_id", how="left").join(kept.collect(), on="pair_id", how="left")
        sources = pl.col("provenance").list.eval(pl.element().struct.field("source")).list.unique()
        source = pl.when(sources.list.len() == 1).then(sources.list.first())
        wanted = pl.concat([looks[f"{side}_id"].alias("id") for side in SIDES])
        answers = _near(self.completions, looks).filter(pl.col("completion_id").is_in(wanted.implode()))
        who = answers.select("completion_id", "model", source=source).collect()
        for side in SIDES:
            names = {name: f"{name}_{side}" for name in ("model", "source")}
            looks = looks.join(who.rename({"completion_id": f"{side}_id", **names}), on=f"{side}_id", how="left")
        return looks.with_columns(pl.col("kept").fill_null(value=False), prompt=pl.coalesce("prompt_id", "pair_id"))

    def places(self, looks: pl.DataFrame) -> pl.DataFrame:
        """For every row that compares the two sides of a pair: prompt, kept, source, and the position of each side."""
        rows = looks.select("pair_id", "prompt", "kept", *(f"{side}_id" for side in SIDES), "provenance")
        rows = rows.explode("provenance").unnest("provenance")
        wanted = pl.concat([looks[f"{side}_id"].alias("id") for side in SIDES])
        here = _near(self.records, looks).filter(pl.col("completion_id").is_in(wanted.implode()))
        first = here.select(*_ROW, "completion_id", "position").collect()
        first = first.group_by(*_ROW, "completion_id").agg(pl.col("position").min())
        for side in SIDES:
            named = first.rename({"completion_id": f"{side}_id", "position": f"position_{side}"})
            rows = rows.join(named, on=[*_ROW, f"{side}_id"])
        return rows


def events(looks: pl.DataFrame, beside: Beside, traits: Sequence[str], gaps: Sequence[float]) -> pl.DataFrame:
    """``EVENTS`` of a chunk of pairs.

    Args:
        looks: what ``Beside.known`` returns for the looks of ``Traits``.
        beside: where the positions of answers are.
        traits: names of traits.
        gaps: bounds of the buckets of length ratios.
    """
    return pl.concat(list(_events(looks, beside, traits, gaps)))


def _events(
    looks: pl.DataFrame, beside: Beside, traits: Sequence[str], gaps: Sequence[float]
) -> Iterator[pl.DataFrame]:
    for unit in ("words", "characters"):
        chosen, rejected = pl.col(f"{unit}_chosen"), pl.col(f"{unit}_rejected")
        yield _asked(looks.filter(chosen != rejected), "longer_preferred", pl.lit(unit), chosen > rejected)
    differ = looks.filter(_DIFFER)
    yield _asked(differ, "longer_preferred_by_gap", _bucket(gaps), _LONGER)
    yield _asked(differ, "longer_preferred_by_agreement", _agreement(), _LONGER)
    sources = pl.col("provenance").list.eval(pl.element().struct.field("source")).list.unique()
    yield _asked(differ.with_columns(source=sources).explode("source"), "longer_preferred_by_source", "source", _LONGER)
    yield _by_dimension(differ)
    for trait in traits:
        has, has_not = pl.col(f"{trait}_chosen"), pl.col(f"{trait}_rejected")
        yield _asked(looks.filter(has != has_not), "trait_preferred", pl.lit(trait), has)
    for name in ("model", "source"):
        against = looks.filter(pl.col(f"{name}_chosen") != pl.col(f"{name}_rejected"))
        for side in SIDES:
            yield _asked(against, f"{name}_preferred", f"{name}_{side}", pl.lit(side == "chosen"))
    places = beside.places(looks)
    first = pl.col("position_chosen") < pl.col("position_rejected")
    yield _asked(places, "first_preferred", "source", first)


def _asked(frame: pl.DataFrame, metric: str, group: str | pl.Expr, won: pl.Expr) -> pl.DataFrame:
    of = pl.col(group) if isinstance(group, str) else group
    found = frame.select("prompt", "kept", metric=pl.lit(metric), group=of, won=won)
    return found.filter(pl.col("group").is_not_null()).match_to_schema(EVENTS)


def _bucket(gaps: Sequence[float]) -> pl.Expr:
    """Name of the bucket of how many times as long the longer answer is, in words."""
    longer, shorter = pl.max_horizontal(_CHOSEN, _REJECTED), pl.min_horizontal(_CHOSEN, _REJECTED)
    ratio = longer / pl.max_horizontal(shorter, pl.lit(1))
    bounds = [1.0, *gaps]
    named = pl.lit(f"{bounds[-1]:.1f}× and more")
    for low, high in reversed(list(pairwise(bounds))):
        named = pl.when(ratio < high).then(pl.lit(f"{low:.1f}–{high:.1f}×")).otherwise(named)
    return named


def _agreement() -> pl.Expr:
    one = pl.col("votes").list.len() <= 1
    return (
        pl.when(one)
        .then(pl.lit("one vote"))
        .when(pl.col("p_chosen") == 1)
        .then(pl.lit("all votes for it"))
        .otherwise(pl.lit("some votes against it"))
    )


def _by_dimension(differ: pl.DataFrame) -> pl.DataFrame:
    votes = differ.select("prompt", "kept", "votes", longer=_LONGER).explode("votes")
    votes = votes.unnest("votes").filter(pl.col("choice") != "tie")
    return _asked(
        votes, "longer_preferred_by_dimension", "dimension", (pl.col("choice") == "chosen") == pl.col("longer")
    )


def _near(table: pl.LazyFrame, looks: pl.DataFrame) -> pl.LazyFrame:
    """Rows of the prompts of these pairs; all where the sides of the pairs answer two."""
    first, last = looks["prompt_id"].min(), looks["prompt_id"].max()
    if first is None:
        return table
    return table.filter(pl.col("prompt_id").is_between(pl.lit(first), pl.lit(last)))
