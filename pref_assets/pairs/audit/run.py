"""Runs rules over all pairs: texts in one bounded pass, and of those only what no earlier run has looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pref_assets.features.store import MissingRowsError, Store
from pref_assets.pairs.audit.base import AuditRule, ImageRule, TextRule, VoteRule
from pref_assets.pairs.audit.swapped import SIGNATURES, SwappedCopies
from pref_assets.pairs.audit.texts import with_texts
from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.duplicates.images import stands_for
from pref_assets.pairs.schema import FLAGS
from pref_assets.settings import digest

_TURNED = "~"
_FLAG = pl.Struct({"code": pl.String, "detail": pl.String})


def run_rules(
    rules: Sequence[AuditRule],
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    store: Store | None,
    arrival: pl.DataFrame | None,
    rows: int,
    images: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """``FLAGS`` of every rule, sorted by its key; see `audit.flags`."""
    pairs = comparisons.select("pair_id", id=_oriented()).collect(engine="streaming")
    passes = _passes(rules)
    results = _results(passes, pairs, comparisons, prompts, completions, store, rows)
    found = []
    for rule in rules:
        if isinstance(rule, VoteRule):
            found.append(_coded(rule, rule.find(comparisons)))
    shown = None if images is None else _shown(comparisons, prompts, images, arrival)
    for rule in rules:
        if isinstance(rule, ImageRule) and shown is not None:
            found.append(_coded(rule, rule.find(shown)))
    for each, result in zip(passes, results, strict=True):
        if isinstance(each, _Signatures):
            clashes = _in_scene(_decided(each.rule.clashes(result), comparisons), comparisons, prompts)
            clashes = each.rule.clashes(clashes)
            ranks = _ranks(clashes["pair_id"], comparisons, arrival)
            found.append(_coded(each.rule, each.rule.find(clashes, ranks)))
        else:
            flagged = result.explode("found").select("pair_id", pl.col("found").struct.unnest())
            found.append(flagged.select("pair_id", "code", "detail"))
    severity = pl.DataFrame(
        {"code": [r.type for r in rules], "severity": [r.severity for r in rules]},
        schema_overrides={"code": pl.String, "severity": pl.String},
    )
    flags = pl.concat([pl.DataFrame(schema={"pair_id": pl.String, "code": pl.String, "detail": pl.String}), *found])
    return FLAGS.conform(flags.join(severity, on="code").select(list(FLAGS.columns)).sort(FLAGS.key))


def _oriented() -> pl.Expr:
    """Store id of a pair: what a rule says of `chosen` and `rejected` holds for one orientation only."""
    turned = pl.col("chosen_id") > pl.col("rejected_id")
    return pl.concat_str(pl.col("pair_id"), pl.when(turned).then(pl.lit(_TURNED)).otherwise(pl.lit("")))


def _coded(rule: AuditRule, found: pl.DataFrame) -> pl.DataFrame:
    return found.select("pair_id", pl.lit(rule.type).alias("code"), "detail")


def _in_scene(signatures: pl.DataFrame, comparisons: pl.LazyFrame, prompts: pl.LazyFrame) -> pl.DataFrame:
    """The signatures with the prompt's images and criterion in the prompt's hash: the same words about another image
    are another question."""
    wanted = signatures.select("pair_id").lazy()
    asked = comparisons.select("pair_id", "prompt_id").join(wanted, on="pair_id", how="semi")
    scene = pl.concat_str(pl.col("images").list.join("\n"), pl.col("context").fill_null(""), separator="\n")
    scenes = prompts.select("prompt_id", scene=scene.hash().reinterpret(signed=True))
    found = asked.join(scenes, on="prompt_id").select("pair_id", "scene").collect(engine="streaming")
    joined = signatures.join(found, on="pair_id", maintain_order="left")
    return joined.with_columns(prompt=pl.col("prompt").xor(pl.col("scene"))).drop("scene")


def _shown(
    comparisons: pl.LazyFrame, prompts: pl.LazyFrame, images: pl.DataFrame, arrival: pl.DataFrame | None
) -> pl.DataFrame:
    """Every image of every pair, as `ImageRule.find` is given them."""
    with_images = prompts.filter(pl.col("images").list.len() > 0).select("prompt_id", uri="images").explode("uri")
    frame = comparisons.select("pair_id", "prompt_id", "split").join(with_images, on="prompt_id").collect()
    first = pl.DataFrame(list(stands_for(images).items()), schema={"uri": pl.String, "first": pl.String}, orient="row")
    about = images.select("uri", "near", "distance").join(first, on="uri")
    ranks = _ranks(frame["pair_id"].unique(), comparisons, arrival)
    return frame.drop("prompt_id").join(about, on="uri").join(ranks, on="pair_id")


@dataclass(frozen=True)
class _Findings:
    """What several rules flag, stored as column ``found``: a list of code and detail, empty for most pairs."""

    rules: tuple[TextRule, ...]
    kind = "audit"
    kept = pl.Schema([("pair_id", pl.String), ("found", pl.List(_FLAG))])

    @property
    def key(self) -> str:
        return digest([[rule.type, *rule.version()] for rule in self.rules])

    def compute(self, texts: pl.DataFrame) -> pl.DataFrame:
        """pair_id and found, one row for each of the texts."""
        found = pl.concat([_coded(rule, rule.find(texts)) for rule in self.rules])
        found = found.sort("pair_id", "code").group_by("pair_id").agg(found=pl.struct("code", "detail").cast(_FLAG))
        rows = texts.select("pair_id").join(found, on="pair_id", how="left", maintain_order="left")
        return rows.with_columns(pl.col("found").fill_null(pl.lit([], dtype=pl.List(_FLAG))))

    def keep(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that flags are made of, in the columns ``kept``."""
        return rows.filter(pl.col("found").list.len() > 0).select(self.kept.names())


@dataclass(frozen=True)
class _Signatures:
    """Hashes by which copies of a pair are found: columns ``SIGNATURES``."""

    rule: SwappedCopies
    kind = "audit_signatures"
    kept = SIGNATURES

    @property
    def key(self) -> str:
        return digest([self.rule.type, *self.rule.version(), pl.__version__])

    def compute(self, texts: pl.DataFrame) -> pl.DataFrame:
        """pair_id and the hashes, one row for each of the texts."""
        return self.rule.sign(texts)

    def keep(self, rows: pl.DataFrame) -> pl.DataFrame:
        """All rows, in the columns ``kept``."""
        return rows.select(self.kept.names())


def _passes(rules: Sequence[AuditRule]) -> list[_Findings | _Signatures]:
    """Quick rules together, each costly one apart, each kept under a key of its own."""
    text_rules = [rule for rule in rules if isinstance(rule, TextRule)]
    quick = tuple(rule for rule in text_rules if not rule.costly)
    passes: list[_Findings | _Signatures] = [_Findings(quick)] if quick else []
    passes += [_Findings((rule,)) for rule in text_rules if rule.costly]
    return passes + [_Signatures(rule) for rule in rules if isinstance(rule, SwappedCopies)]


def _results(
    passes: Sequence[_Findings | _Signatures],
    pairs: pl.DataFrame,
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    store: Store | None,
    rows: int,
) -> list[pl.DataFrame]:
    """Of each pass the rows that matter, for every pair: those in the store, and the others computed and stored."""
    results = [[each.kept.to_frame()] for each in passes]
    missing = []
    for each, result in zip(passes, results, strict=True):
        known = None if store is None else _stored(each, pairs, store)
        missing.append(pairs if known is None else pairs.join(known, on="id", how="anti"))
        if known is not None:
            result.append(each.keep(known.with_columns(pair_id=pl.col("id").str.strip_suffix(_TURNED))))
    wanted = pl.concat([pairs["pair_id"].head(0), *(frame["pair_id"] for frame in missing)]).unique()
    only = None if len(wanted) == pairs.height else wanted
    for chunk in pair_chunks(comparisons, prompts, completions, rows=rows, only=only) if len(wanted) else ():
        texts = with_texts(chunk)
        for each, absent, result in zip(passes, missing, results, strict=True):
            mine = texts if absent.height == pairs.height else texts.join(absent, on="pair_id", how="semi")
            if mine.is_empty():
                continue
            computed = each.compute(mine).join(mine.select("pair_id", id=_oriented()), on="pair_id")
            if store is not None:
                store.append(each.kind, each.key, computed.drop("pair_id"))
            result.append(each.keep(computed))
    return [pl.concat(result) for result in results]


def _stored(each: _Findings | _Signatures, pairs: pl.DataFrame, store: Store) -> pl.DataFrame | None:
    """The stored rows of these pairs; null when nothing was ever stored under the key."""
    try:
        rows = store.read(each.kind, each.key)
    except MissingRowsError:
        return None
    return rows.join(pairs, on="id", how="semi") if rows.height else None


def _decided(pairs: pl.DataFrame, comparisons: pl.LazyFrame) -> pl.DataFrame:
    """Those of the pairs whose votes prefer a side: which side of a tie is called chosen says nothing."""
    decided = comparisons.filter(pl.col("p_chosen").is_between(0.5, 1, closed="right")).select("pair_id")
    return pairs.lazy().join(decided, on="pair_id", how="semi", maintain_order="left").collect()


def _ranks(pairs: pl.Series, comparisons: pl.LazyFrame, arrival: pl.DataFrame | None) -> pl.DataFrame:
    """pair_id and ``rank`` of these pairs: their place in the order in which rows arrived; 0 for all where it is not
    known.

    A pair arrives with the first of its rows: by the batch's sequence, then file and row, then id.
    """
    if arrival is None:
        return pairs.to_frame().with_columns(rank=pl.lit(0, pl.UInt32))
    rows = (
        comparisons.select("pair_id", "provenance")
        .join(pairs.to_frame().lazy(), on="pair_id", how="semi")
        .explode("provenance")
        .select("pair_id", *(pl.col("provenance").struct.field(name) for name in ("source", "batch", "uri", "row")))
        .join(arrival.lazy(), on=["source", "batch"], how="left")
        .collect()
    )
    unknown = rows.filter(pl.col("sequence").is_null())
    if unknown.height:
        source, batch = unknown.select("source", "batch").row(0)
        raise ValueError(f"arrival does not say when batch {batch!r} of source {source!r} came")
    rows = rows.sort("sequence", "uri", "row", "pair_id").unique("pair_id", keep="first", maintain_order=True)
    return rows.select("pair_id", rank=pl.int_range(pl.len(), dtype=pl.UInt32))
