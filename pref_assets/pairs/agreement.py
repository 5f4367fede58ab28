"""How far annotators agree: Krippendorff's alpha of each source and dimension, and each annotator against the rest."""

import polars as pl

from pref_assets.pairs.schema import AGREEMENT, ANNOTATORS
from pref_assets.pairs.votes import SIDES, VotePolicyConfig

ALL = "all"
_CHOICES = ("a", "b", "tie")
_UNIT = ("pair", "dimension")


def agreement(comparisons: pl.LazyFrame, policy: VotePolicyConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Frames of ``ANNOTATORS`` and ``AGREEMENT``.

    Votes are read as for side a, the completion with the smaller id, or side b: of votes for the chosen side hardly
    any would be left to disagree by chance, and alpha would come out too low. A unit of agreement is a pair on one
    dimension. Where rows of several sources hold a pair, its votes count for each of them.

    Args:
        comparisons: ``COMPARISONS``, settled and not; every vote is on them.
        policy: the pipeline's vote policy, for the weights.
    """
    votes, sources = _votes(comparisons)
    shared = votes.filter(pl.len().over(_UNIT) > 1)
    return _annotators(votes, shared, _weights(comparisons, votes, policy)), _agreement(shared, sources)


def alpha() -> pl.Expr:
    """Krippendorff's alpha for nominal values, over units with counts ``a``, ``b`` and ``tie``, each at least two
    together; null where fewer than two values occur.

    Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): one minus observed over expected disagreement,
    where a unit of m values adds the pairs of different values among them divided by m - 1.
    """
    m = pl.sum_horizontal(_CHOICES)
    squares = pl.sum_horizontal(pl.col(choice) * pl.col(choice) for choice in _CHOICES)
    observed = ((m * m - squares) / (m - 1)).sum()
    total = m.sum()
    values = pl.sum_horizontal(pl.col(choice).sum() * pl.col(choice).sum() for choice in _CHOICES)
    expected = (total * total - values) / (total - 1)
    return pl.when(expected > 0).then(1 - observed / expected)


def _sided(comparisons: pl.LazyFrame) -> pl.LazyFrame:
    """One row a vote: completion_a, completion_b, pair (a number), annotator, dimension, choice."""
    for_a = (pl.col("choice") == "chosen") != pl.col("swapped")
    side = pl.when(for_a).then(pl.lit("a")).otherwise(pl.lit("b"))
    choice = pl.when(pl.col("choice") == "tie").then(pl.lit("tie")).otherwise(side)
    sides = pl.min_horizontal("chosen_id", "rejected_id"), pl.max_horizontal("chosen_id", "rejected_id")
    vote = {name: pl.col("votes").struct.field(name) for name in ("annotator", "dimension", "choice")}
    return (
        comparisons.with_row_index("pair")
        .select(
            pl.col("pair", "votes"),
            *(side.alias(name) for side, name in zip(sides, SIDES, strict=True)),
            swapped=pl.col("chosen_id") > pl.col("rejected_id"),
        )
        .explode("votes")
        .select(*SIDES, "pair", "swapped", **vote)
        .with_columns(choice=choice)
        .drop("swapped")
    )


def _votes(comparisons: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pair, annotator, dimension and choice of every vote; pair and source of every pair."""
    named = pl.col("annotator", "dimension").cast(pl.Categorical)
    votes = _sided(comparisons).select("pair", named, pl.col("choice").cast(pl.Enum(_CHOICES)))
    rows = comparisons.with_row_index("pair").select("pair", "provenance").explode("provenance")
    sources = rows.select("pair", pl.col("provenance").struct.field("source").cast(pl.Categorical)).unique()
    return votes.collect(engine="streaming"), sources.collect(engine="streaming")


def _agreement(shared: pl.DataFrame, sources: pl.DataFrame) -> pl.DataFrame:
    counts = [(pl.col("choice") == choice).sum().cast(pl.Int64).alias(choice) for choice in _CHOICES]
    units = shared.group_by(_UNIT).agg(*counts)
    measures = [
        pl.len().alias("pairs"),
        pl.sum_horizontal(_CHOICES).sum().alias("votes"),
        alpha().alias("alpha"),
        (pl.max_horizontal(_CHOICES) == pl.sum_horizontal(_CHOICES)).mean().alias("unanimous"),
    ]
    people = pl.col("annotator").n_unique().alias("annotators")
    found = []
    for named in (sources, sources.select("pair").unique().with_columns(source=pl.lit(ALL))):
        by = "source", "dimension"
        measured = units.join(named, on="pair").group_by(by).agg(*measures)
        found.append(measured.join(shared.join(named, on="pair").group_by(by).agg(people), on=by))
    each, together = (frame.with_columns(pl.col("source", "dimension").cast(pl.String)) for frame in found)
    each = each.filter(pl.col("source") != ALL)
    return AGREEMENT.conform(pl.concat([each, together]).sort("source", "dimension"))


def _annotators(votes: pl.DataFrame, shared: pl.DataFrame, weights: pl.DataFrame) -> pl.DataFrame:
    by = "annotator", "dimension"
    given = votes.group_by(by).agg(votes=pl.len(), ties=(pl.col("choice") == "tie").sum())
    own = (*_UNIT, "annotator")
    met = shared.with_columns(
        others=pl.len().over(_UNIT).cast(pl.Int64) - pl.len().over(own),
        same=pl.len().over(*_UNIT, "choice").cast(pl.Int64) - pl.len().over(*own, "choice"),
    )
    met = (
        met.filter(pl.col("others") > 0)
        .group_by(by)
        .agg(judged_with_others=pl.len(), agreed=pl.col("same").sum() / pl.col("others").sum())
    )
    frame = given.join(met, on=by, how="left").with_columns(pl.col("judged_with_others").fill_null(0))
    frame = frame.with_columns(pl.col(by).cast(pl.String)).join(weights, on=by, how="left")
    return ANNOTATORS.conform(frame.sort(by))


def _weights(comparisons: pl.LazyFrame, votes: pl.DataFrame, policy: VotePolicyConfig) -> pl.DataFrame:
    """Weight of every annotator and dimension; 0 where their votes do not count."""
    fitted = policy.fit(part.collect(engine="streaming") for part in (_sided(comparisons),))
    names = votes.select(pl.col("annotator", "dimension").cast(pl.String)).unique()
    weight = pl.when("counts").then("weight").otherwise(0.0)
    return policy.weighed(names, fitted).select("annotator", "dimension", weight=weight)
