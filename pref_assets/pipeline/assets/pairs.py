"""Pairs: the records of all batches merged into prompts, completions and comparisons, each stored once."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.lineage.withdrawal import Tombstones, read_tombstones, withdrawn
from pref_assets.pairs.duplicates import exact_duplicates, image_duplicates, prompt_duplicates
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.merge import Merged, merge_buckets
from pref_assets.pairs.schema import (
    COMPARISONS,
    COMPLETIONS,
    IMAGES,
    PROMPT_DUPLICATES,
    PROMPTS,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
    Table,
)
from pref_assets.pairs.texts import with_texts
from pref_assets.pipeline.arrival import arrival
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.metadata import Metadata, counts, preview, series
from pref_assets.pipeline.naming import SCANS, TABLE_IO, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.withdrawn import withdrawals_key
from pref_assets.settings import Settings
from pref_assets.staging import Staged
from pref_assets.tables import TableStore

MERGED_TABLES: dict[str, Table] = {
    "prompts": PROMPTS,
    "completions": COMPLETIONS,
    "comparisons": COMPARISONS,
    "prompt_duplicates": PROMPT_DUPLICATES,
}
_WHAT = {
    "prompts": "Every prompt once, with its split.",
    "completions": "Every completion once, with all its ratings.",
    "comparisons": "Every two completions that someone compared, with the votes on them and what the votes say.",
    "prompt_duplicates": "Prompts that nearly repeat an earlier one; such prompts share a split.",
}
_IMAGES = "Every image that prompts show, with what it looks like and the earlier one that it nearly repeats."
_MERGED: dict[str, Table] = {"prompts": RECORD_PROMPTS, "completions": RECORD_COMPLETIONS, "votes": RECORD_VOTES}


def build(spec: PipelineSpec) -> Assets:
    return [_merged(spec)]


def pairs_asset(
    spec: PipelineSpec, name: str, what: str, inputs: str, settings: Settings | None, table: Table
) -> dict[str, Any]:
    """The arguments of an asset of the pairs stage, which follows new records by itself."""
    return asset_spec(
        spec.name,
        "pairs",
        name,
        description=describe(what, inputs=inputs, settings=settings, table=table),
        settings=settings,
        table=table,
        automation=FOLLOW,
    )


def has_images(spec: PipelineSpec) -> bool:
    """Whether the pairs stage has a table of images."""
    return spec.pairs.images is not None and spec.shows_images()


def _merged(spec: PipelineSpec) -> dg.AssetsDefinition:
    inputs = f"the records of all batches of {', '.join(f'`{source}`' for source in spec.sources)}"
    settings = spec.pairs.merging()
    seen = spec.pairs.images if has_images(spec) else None
    tables = MERGED_TABLES if seen is None else {**MERGED_TABLES, "images": IMAGES}
    what = {**_WHAT, "images": _IMAGES}
    specs = {
        name: dg.AssetSpec(**pairs_asset(spec, name, what[name], inputs, settings, table))
        for name, table in tables.items()
    }

    @dg.multi_asset(
        name=f"{spec.name}__merged",
        ins={
            f"{source}__{table}": dg.AssetIn(
                key=asset_key(spec.name, "records", f"{source}_{table}"), input_manager_key=SCANS
            )
            for source in spec.sources
            for table in _MERGED
        },
        deps=[
            *(asset_key(spec.name, "records", f"{source}_quarantine") for source in spec.sources),
            withdrawals_key(spec.name),
        ],
        outs={name: dg.AssetOut.from_spec(each, io_manager_key=TABLE_IO) for name, each in specs.items()},
    )
    def merged(home: dg.ResourceParam[Home], **records: pl.LazyFrame) -> Iterator[dg.MaterializeResult[Staged]]:
        stones = read_tombstones(home, spec.name)
        prompts, completions, votes = (_all_sources(spec, records, table) for table in _MERGED)
        prompts, completions, votes = withdrawn(prompts, completions, votes, stones)
        order = arrival(home, spec.name, spec.sources)
        evidence, groups = PROMPT_DUPLICATES.empty(), None
        if spec.pairs.duplicates is not None:
            evidence, groups = prompt_duplicates(prompts, order, spec.pairs.duplicates, Store(home.store))
        extra = {}
        if seen is not None:
            images, by_image = image_duplicates(prompts, order, seen, MediaStore(home.media), Store(home.store))
            extra = {"images": images}
            # Prompts that nearly repeat one another show the same images, so that groups by image hold them already.
            groups = (
                by_image if groups is None else pl.concat([groups.join(by_image, on="prompt_id", how="anti"), by_image])
            )
        buckets = merge_buckets(prompts, completions, votes, spec.pairs, groups)
        staged = TableStore(home.tables).stage_together(
            tables, _frames(buckets, {"prompt_duplicates": evidence, **extra}, stones)
        )
        metadata = _metadata(staged, order)
        for name, rows in staged.items():
            yield table_result(rows, tables[name], metadata[name], key=specs[name].key)

    return merged


def _frames(
    buckets: Iterator[Merged], found: Mapping[str, pl.DataFrame], stones: Tombstones
) -> Iterator[Mapping[str, pl.DataFrame]]:
    yield found
    for bucket in buckets:
        compared = bucket.comparisons.filter(~stones.named_pairs())
        yield {"prompts": bucket.prompts, "completions": bucket.completions, "comparisons": compared}


def _metadata(staged: Mapping[str, Staged], order: pl.DataFrame) -> dict[str, Metadata]:
    prompts, compared = staged["prompts"].scan(), staged["comparisons"].scan()
    settled = pl.col("code").is_null()
    numbers = compared.select(
        votes=pl.col("votes").list.len().sum(),
        contradicted=(pl.col("p_chosen") < 1).sum(),
        settled=settled.sum(),
        repeated=(pl.col("provenance").list.len() > 1).sum(),
    ).collect()
    images = {"images": _image_metadata(staged["images"])} if "images" in staged else {}
    return {
        **images,
        "prompts": {
            "splits": counts(prompts, "split"),
            **series({"groups": prompts.select(pl.col("group_id").n_unique()).collect().item()}),
            "preview": preview(staged["prompts"].head(5), ["messages", "split"]),
        },
        "completions": {"preview": preview(staged["completions"].head(5), ["messages", "model", "ratings"])},
        "comparisons": {
            **series(numbers.row(0, named=True)),
            "codes": counts(compared, "code"),
            "rows_by_batch": preview(exact_duplicates(compared, "pair_id", order)),
            "preview": preview(pair_preview(compared, prompts, staged["completions"].scan())),
        },
        "prompt_duplicates": {"preview": preview(staged["prompt_duplicates"].head(5))},
    }


def _image_metadata(staged: Staged) -> Metadata:
    rows = staged.scan()
    numbers = rows.select(
        repeated=pl.col("near").count(), shown_again=(pl.col("prompts") > 1).sum(), bytes=pl.col("bytes").sum()
    )
    return {
        **series(numbers.collect().row(0, named=True)),
        "formats": counts(rows, "format"),
        "preview": preview(staged.head(5), ["uri", "width", "height", "format", "prompts", "near", "distance"]),
    }


def pair_preview(pairs: pl.LazyFrame, prompts: pl.LazyFrame, completions: pl.LazyFrame, n: int = 5) -> pl.DataFrame:
    """The first pairs with their texts."""
    return first_texts(pairs, prompts, completions, n).drop("prompt_id")


def first_texts(pairs: pl.LazyFrame, prompts: pl.LazyFrame, completions: pl.LazyFrame, n: int = 5) -> pl.DataFrame:
    """The same with the prompts' ids."""
    first = pairs.head(n).collect()
    sides = pl.concat([first["chosen_id"], first["rejected_id"].rename("chosen_id")])
    asked = prompts.filter(pl.col("prompt_id").is_in(first["prompt_id"].implode())).collect()
    said = completions.filter(
        pl.col("prompt_id").is_in(first["prompt_id"].implode()) | pl.col("completion_id").is_in(sides.implode())
    )
    texts = with_texts(first, asked, said.collect())
    return texts.select("prompt", "chosen", "rejected", "p_chosen", "split", "pair_id", "prompt_id")


def _all_sources(spec: PipelineSpec, records: Mapping[str, pl.LazyFrame], table: str) -> pl.LazyFrame:
    return pl.concat([records[f"{source}__{table}"] for source in spec.sources])
