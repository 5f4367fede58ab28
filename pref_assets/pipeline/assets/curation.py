"""Curation: what is wrong with comparisons, what repeats and what leaks; then the pairs that are left."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pairs.agreement import agreement
from pref_assets.pairs.audit import flags
from pref_assets.pairs.curation import Findings, dropped, kept, survivors, verdicts
from pref_assets.pairs.decontamination import contamination
from pref_assets.pairs.duplicates import pair_duplicates
from pref_assets.pairs.schema import (
    AGREEMENT,
    ANNOTATORS,
    CONTAMINATION,
    FLAGS,
    PAIR_DROPS,
    PAIR_DUPLICATES,
    PAIRS,
    Table,
)
from pref_assets.pipeline.arrival import arrival
from pref_assets.pipeline.assets.common import Assets, pairs_inputs, seen, table_result
from pref_assets.pipeline.assets.pairs import first_texts, has_images, pairs_asset
from pref_assets.pipeline.metadata import counts, flag_counts, preview, series
from pref_assets.pipeline.naming import SCANS, TABLE_IO, asset_key
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.tables import TableStore

_TEXTS = ("comparisons", "prompts", "completions")
_DIMENSIONS = 10
"""Dimensions whose agreement is plotted."""


def build(spec: PipelineSpec) -> Assets:
    benches = [_contamination(spec)] if spec.pairs.decontamination.benches else []
    return [_agreement(spec), _flags(spec), *benches, _pair_duplicates(spec), _pairs(spec)]


def _scans(spec: PipelineSpec, *names: str) -> dict[str, dg.AssetIn]:
    """Inputs read as far as they are used."""
    return {name: dg.AssetIn(key=asset_key(spec.name, "pairs", name), input_manager_key=SCANS) for name in names}


def _findings(spec: PipelineSpec, *names: str) -> dict[str, dg.AssetIn]:
    """Inputs read whole: what was found so far, by the benches too where any are named."""
    found = (*names, "contamination") if spec.pairs.decontamination.benches else names
    return {name: dg.AssetIn(key=asset_key(spec.name, "pairs", name)) for name in found}


def _outs(spec: PipelineSpec, tables: Mapping[str, tuple[str, Table]], inputs: str) -> dict[str, dg.AssetSpec]:
    return {
        name: dg.AssetSpec(**pairs_asset(spec, name, what, inputs, spec.pairs.merging(), table))
        for name, (what, table) in tables.items()
    }


def _agreement(spec: PipelineSpec) -> dg.AssetsDefinition:
    specs = _outs(
        spec,
        {
            "annotators": ("Who judged, how much, and how well they agree with the others.", ANNOTATORS),
            "agreement": ("How far the annotators of each source and dimension agree.", AGREEMENT),
        },
        "the votes on all comparisons",
    )

    @dg.multi_asset(
        name=f"{spec.name}__agreement",
        ins=_scans(spec, "comparisons"),
        outs={name: dg.AssetOut.from_spec(each, io_manager_key=TABLE_IO) for name, each in specs.items()},
    )
    def agreed(comparisons: pl.LazyFrame) -> Iterator[dg.MaterializeResult[pl.DataFrame]]:
        people, measured = agreement(comparisons, spec.pairs.votes)
        numbers = series({"annotators": people["annotator"].n_unique()})
        yield table_result(people, ANNOTATORS, {**numbers, "preview": preview(people)}, key=specs["annotators"].key)
        whole = measured.filter(pl.col("source") == "all").head(_DIMENSIONS)
        numbers = series(
            {f"alpha_{dimension}": alpha for dimension, alpha in whole.select("dimension", "alpha").rows()}
        )
        yield table_result(measured, AGREEMENT, {**numbers, "preview": preview(measured)}, key=specs["agreement"].key)

    return agreed


def _flags(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings = spec.pairs.audit
    what = "What the audit rules found, pair by pair. A rule flags; the policy says what becomes of the pair."

    images = pairs_inputs(spec.name, "images") if has_images(spec) else {}

    @dg.asset(
        **pairs_asset(spec, "flags", what, "comparisons and their texts", settings, FLAGS),
        ins={**_scans(spec, *_TEXTS), **images},
        io_manager_key=TABLE_IO,
    )
    def found(
        comparisons: pl.LazyFrame,
        prompts: pl.LazyFrame,
        completions: pl.LazyFrame,
        home: dg.ResourceParam[Home],
        **seen: pl.DataFrame,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        order = arrival(home, spec.name, spec.sources)
        frame = flags(comparisons, prompts, completions, settings, Store(home.store), order, seen.get("images"))
        examples = frame.unique("code", keep="first", maintain_order=True)
        return table_result(
            frame,
            FLAGS,
            {
                "codes": flag_counts(
                    frame, {r.type: (r.severity, settings.action(r.type)) for r in settings.all_rules()}
                ),
                **series({"pairs_flagged": frame["pair_id"].n_unique()}),
                "examples": preview(examples, ["code", "severity", "detail", "pair_id"]),
            },
        )

    return found


def _contamination(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings = spec.pairs.decontamination
    benches = ", ".join(f"`{each}`" for each in settings.benches) or "(none named)"

    @dg.asset(
        **pairs_asset(
            spec, "contamination", f"Texts of benches inside the data: {benches}.", "texts", settings, CONTAMINATION
        ),
        ins=_scans(spec, *_TEXTS),
        io_manager_key=TABLE_IO,
    )
    def leaked(
        comparisons: pl.LazyFrame, prompts: pl.LazyFrame, completions: pl.LazyFrame, home: dg.ResourceParam[Home]
    ) -> dg.MaterializeResult[pl.DataFrame]:
        frame = contamination(comparisons, prompts, completions, settings, Store(home.store))
        numbers = series({"pairs_contaminated": frame["pair_id"].n_unique()})
        return table_result(
            frame, CONTAMINATION, {**numbers, "benches": counts(frame, "bench"), "preview": preview(frame)}
        )

    return leaked


def _pair_duplicates(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings = spec.pairs.duplicates
    what = "Pairs that nearly repeat an earlier one, with the evidence; only the later one is ever dropped."

    @dg.asset(
        **pairs_asset(spec, "pair_duplicates", what, "comparisons that are otherwise sound", settings, PAIR_DUPLICATES),
        ins={**_scans(spec, *_TEXTS), **_findings(spec, "flags")},
        io_manager_key=TABLE_IO,
    )
    def repeated(
        comparisons: pl.LazyFrame,
        prompts: pl.LazyFrame,
        completions: pl.LazyFrame,
        home: dg.ResourceParam[Home],
        **found: pl.DataFrame,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        frame = PAIR_DUPLICATES.empty()
        if settings is not None:
            sound = survivors(comparisons, Findings(**found), spec.pairs)
            order = arrival(home, spec.name, spec.sources)
            tables = (_records(home, spec, "prompts"), _records(home, spec, "completions"))
            frame = pair_duplicates(sound, prompts, completions, order, settings, Store(home.store), tables)
        numbers = series({"pairs_repeated": frame["pair_id"].n_unique()})
        return table_result(frame, PAIR_DUPLICATES, {**numbers, "preview": preview(frame)})

    return repeated


def _records(home: Home, spec: PipelineSpec, table: str) -> pl.LazyFrame:
    """Records of all sources: the texts of a new batch are found there without looking through all texts."""
    tables = TableStore(home.tables)
    return pl.concat(tables.scan([spec.name, "records", f"{source}_{table}"]) for source in spec.sources)


def _pairs(spec: PipelineSpec) -> dg.AssetsDefinition:
    specs = {
        name: dg.AssetSpec(
            **pairs_asset(spec, name, what, "comparisons and what was found about them", spec.pairs.audit, table)
        )
        for name, (what, table) in {
            "pairs": ("Every sound comparison once, oriented by its votes.", PAIRS),
            "pair_drops": ("Comparisons that were taken out, each with the rule that did it.", PAIR_DROPS),
        }.items()
    }

    @dg.multi_asset(
        name=f"{spec.name}__pairs",
        ins={**_scans(spec, *_TEXTS), **_findings(spec, "flags", "pair_duplicates", "prompt_duplicates")},
        outs={name: dg.AssetOut.from_spec(each, io_manager_key=TABLE_IO) for name, each in specs.items()},
    )
    def pairs(
        comparisons: pl.LazyFrame,
        prompts: pl.LazyFrame,
        completions: pl.LazyFrame,
        home: dg.ResourceParam[Home],
        **found: pl.DataFrame,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        out = verdicts(comparisons, prompts, Findings(**found), spec.pairs)
        rest = TableStore(home.tables).stage(PAIRS, kept(comparisons, out))
        first = first_texts(rest.scan(), prompts, completions)
        asked = prompts.filter(pl.col("prompt_id").is_in(first["prompt_id"].implode())).collect()
        contradicted = rest.scan().select((pl.col("p_chosen") < 1).sum()).collect().item()
        yield table_result(
            rest,
            PAIRS,
            {
                **series({"pairs_with_contradicting_votes": contradicted}),
                "splits": counts(rest.scan(), "split"),
                "preview": preview(first.drop("prompt_id")),
                **seen(first, asked, home),
            },
            key=specs["pairs"].key,
        )
        drops = dropped(comparisons, out)
        notes = {"codes": counts(drops, "code"), "preview": preview(drops, ["code", "action", "reason", "provenance"])}
        yield table_result(drops, PAIR_DROPS, notes, key=specs["pair_drops"].key)

    return pairs
