"""What a pipeline's data are: the data card, and what the preferred answers have in common beside being better."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.inspection.bias import BiasSheet, Compared, judged, losses, preferences
from pref_assets.inspection.plots import overview
from pref_assets.lineage import about, card, croissant
from pref_assets.lineage.facts import collect
from pref_assets.pairs.schema import BIAS
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.assets.pairs import has_images
from pref_assets.pipeline.batches import files_read
from pref_assets.pipeline.metadata import bounded, picture, preview, series
from pref_assets.pipeline.naming import SCANS, TABLE_IO, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.withdrawn import withdrawals_key
from pref_assets.resources.folders import write_atomically
from pref_assets.settings import digest

CARD, SHEET = "data_card", "bias"
README, CROISSANT = "README.md", "croissant.json"
_TOLD = (
    *("prompts", "completions", "comparisons", "prompt_duplicates"),
    *("annotators", "agreement", "flags", "pair_duplicates", "pairs", "pair_drops"),
)
"""Tables of the pairs stage that the card tells of."""
_COMPARED = ("comparisons", "pairs", "prompts", "completions")
_COUNTED = ("pair_drops", "agreement")


def build(spec: PipelineSpec) -> Assets:
    return [_card(spec), _bias(spec)]


def _card(spec: PipelineSpec) -> dg.AssetsDefinition:
    said = about.describe(spec.name, spec.description, spec.sources, spec.pairs)
    told = (*_TOLD, "contamination") if spec.pairs.decontamination.benches else _TOLD
    told = (*told, "images") if has_images(spec) else told

    @dg.asset(
        **asset_spec(
            spec.name,
            "reports",
            CARD,
            description=describe(
                "What the data are, where they come from and what was done to them: Markdown for people and Croissant "
                "JSON-LD for machines. `pref-assets card` writes both, with what uses the data, to a folder.",
                inputs="the tables of the pairs stage and the quarantine of every source",
            ),
            settings=said,
            automation=FOLLOW,
        ),
        deps=[
            *(asset_key(spec.name, "pairs", name) for name in told),
            *(asset_key(spec.name, "records", f"{source}_quarantine") for source in spec.sources),
            withdrawals_key(spec.name),
        ],
    )
    def data_card(home: dg.ResourceParam[Home]) -> dg.MaterializeResult[Any]:
        facts = collect(home, said, files_read(home, spec.name, spec.sources))
        folder = about.card_folder(home, spec.name)
        texts = {
            README: card.markdown(facts),
            CROISSANT: croissant.written(croissant.croissant(facts, home)),
            about.about_file(home, spec.name).name: about.written(said),
        }
        for name, text in texts.items():
            write_atomically(folder / name, text)
        counts = {name.replace(" ", "_"): count for name, count in card.stages(facts)}
        notes = {
            **series(counts),
            "card": dg.MetadataValue.md(texts[README]),
            "folder": dg.MetadataValue.path(str(folder)),
        }
        return dg.MaterializeResult(data_version=dg.DataVersion(digest(texts)), metadata=bounded(notes))

    return data_card


def _bias(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings, names = BiasSheet(), (*_COMPARED, *_COUNTED)
    ins = {name: dg.AssetIn(asset_key(spec.name, "pairs", name), input_manager_key=SCANS) for name in names}
    for source in spec.sources:
        for stage, name in (("raw", source), ("records", f"{source}_completions"), ("records", f"{source}_quarantine")):
            ins[f"{stage}__{name}"] = dg.AssetIn(asset_key(spec.name, stage, name), input_manager_key=SCANS)

    @dg.asset(
        **asset_spec(
            spec.name,
            "reports",
            SHEET,
            description=describe(
                "What the preferred answers have in common beside being better, before curation and after it: length, "
                "form, model, source, position, agreement; and what was taken out.",
                inputs="comparisons and pairs, their texts, votes, models and rows; drops and quarantine",
                settings=settings,
                table=BIAS,
            ),
            settings=settings,
            table=BIAS,
            automation=FOLLOW,
        ),
        ins=ins,
        io_manager_key=TABLE_IO,
    )
    def bias(**inputs: pl.LazyFrame) -> dg.MaterializeResult[pl.DataFrame]:
        records = pl.concat(inputs[f"records__{source}_completions"] for source in spec.sources)
        tables = Compared(records=records, **{name: inputs[name] for name in _COMPARED})
        rows = pl.concat([preferences(tables, settings), _outside(spec, inputs)]).sort(BIAS.key)
        small = overview(rows)
        longer = rows.filter(data="pairs", metric="longer_preferred").select("group", "value").rows()
        notes = {
            **series({f"longer_preferred_{unit}": value for unit, value in longer}),
            "preview": preview(rows, ["metric", "group", "value", "lo", "hi", "n"]),
            **({"overview": picture(small, "bias sheet")} if small else {}),
        }
        return table_result(rows, BIAS, notes)

    return bias


def _outside(spec: PipelineSpec, inputs: dict[str, pl.LazyFrame]) -> pl.DataFrame:
    """Agreement, drops and quarantine as rows of ``BIAS``."""
    read = {name: inputs[f"raw__{name}"].select(pl.len()).collect().item() for name in spec.sources}
    refused = pl.concat(inputs[f"records__{name}_quarantine"].select("source", "code") for name in spec.sources)
    gone = inputs["pair_drops"].group_by("code").len().collect()
    compared = inputs["comparisons"].select(pl.len()).collect().item()
    lost = losses(compared, gone, read, refused.group_by("source", "code").len().collect())
    return pl.concat([judged(inputs["agreement"].collect()), lost])
