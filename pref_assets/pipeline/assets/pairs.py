"""Pairs: the votes of all batches merged into prompts, completions and oriented comparisons."""

from collections.abc import Iterator, Mapping

import dagster as dg
import polars as pl

from pref_assets.pairs.merge import merge
from pref_assets.pairs.schema import COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, Table
from pref_assets.pairs.texts import with_texts
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.metadata import Metadata, counts, preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec

PAIR_TABLES: dict[str, Table] = {
    "prompts": PROMPTS,
    "completions": COMPLETIONS,
    "pairs": PAIRS,
    "pair_drops": PAIR_DROPS,
}
_WHAT = {
    "prompts": "Every prompt once, with its split.",
    "completions": "Every completion once, with all its ratings.",
    "pairs": "Every comparison once, oriented by its votes.",
    "pair_drops": "Comparisons that were dropped, each with the rule that dropped it.",
}
_MERGED = ("prompts", "completions", "votes")


def build(spec: PipelineSpec) -> Assets:
    specs = {
        name: dg.AssetSpec(
            **asset_spec(
                spec.name,
                "pairs",
                name,
                description=describe(
                    _WHAT[name],
                    inputs=f"the records of all batches of {', '.join(f'`{source}`' for source in spec.sources)}",
                    settings=spec.pairs,
                    table=table,
                ),
                settings=spec.pairs,
                table=table,
                automation=FOLLOW,
            )
        )
        for name, table in PAIR_TABLES.items()
    }
    ins = {
        f"{source}__{table}": dg.AssetIn(key=asset_key(spec.name, "records", f"{source}_{table}"))
        for source in spec.sources
        for table in _MERGED
    }

    @dg.multi_asset(
        name=f"{spec.name}__pairs",
        ins=ins,
        deps=[asset_key(spec.name, "records", f"{source}_quarantine") for source in spec.sources],
        outs={name: dg.AssetOut.from_spec(each, io_manager_key=TABLE_IO) for name, each in specs.items()},
    )
    def pairs(**records: pl.DataFrame) -> Iterator[dg.MaterializeResult[pl.DataFrame]]:
        prompts, completions, votes = (_all_sources(spec, records, table) for table in _MERGED)
        merged = merge(prompts, completions, votes, spec.pairs)
        frames = {
            "prompts": merged.prompts,
            "completions": merged.completions,
            "pairs": merged.pairs,
            "pair_drops": merged.drops,
        }
        metadata: dict[str, Metadata] = {
            "prompts": {
                "splits": counts(merged.prompts, "split"),
                "preview": preview(merged.prompts, ["messages", "split"]),
            },
            "completions": {"preview": preview(merged.completions, ["messages", "model", "ratings"])},
            "pairs": pair_metadata(merged.pairs, merged.prompts, merged.completions, votes.height),
            "pair_drops": {
                "codes": counts(merged.drops, "code"),
                "preview": preview(merged.drops, ["code", "reason", "provenance"]),
            },
        }
        for name, frame in frames.items():
            yield table_result(frame, PAIR_TABLES[name], metadata[name], key=specs[name].key)

    return [pairs]


def pair_metadata(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame, votes: int) -> Metadata:
    """Counts and a preview with texts."""
    contradicted = pairs.filter(pl.col("p_chosen") < 1).height
    texts = with_texts(pairs.head(5), prompts, completions)
    return {
        **series({"votes": votes, "pairs_with_contradicting_votes": contradicted}),
        "splits": counts(pairs, "split"),
        "preview": preview(texts, ["prompt", "chosen", "rejected", "p_chosen", "split", "pair_id"]),
    }


def _all_sources(spec: PipelineSpec, records: Mapping[str, pl.DataFrame], table: str) -> pl.DataFrame:
    return pl.concat([records[f"{source}__{table}"] for source in spec.sources])
