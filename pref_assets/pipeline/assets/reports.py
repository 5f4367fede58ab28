"""The leaderboard: every checkpoint, score and baseline side by side, with the random control of the same size."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.evaluation.leaderboard import LEADERBOARD, leaderboard, markdown
from pref_assets.evaluation.plot import plot
from pref_assets.home import Home
from pref_assets.pipeline.assets.common import Assets, named_inputs, table_result, taken
from pref_assets.pipeline.metadata import picture, series
from pref_assets.pipeline.naming import TABLE_IO, TRAINING, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.folders import Folder, write_atomically
from pref_assets.training.checkpoint import read_manifest

NAME = "leaderboard"


def build(spec: PipelineSpec) -> Assets:
    return [_leaderboard(spec)] if spec.evaluations else []


def measured(spec: PipelineSpec) -> list[str]:
    """Checkpoints that at least one evaluation measures, in the order of the file."""
    found = {name for evaluation in spec.evaluations.values() for name in spec.checkpoints_of(evaluation)}
    return [name for name in spec.checkpoints if name in found]


def _leaderboard(spec: PipelineSpec) -> dg.AssetsDefinition:
    selectors = {name: settings.type for name, settings in spec.subsets.items()}
    names = ", ".join(f"`{name}`" for name in spec.evaluations)

    @dg.asset(
        **asset_spec(
            spec.name,
            "reports",
            NAME,
            description=describe(
                "Checkpoints, scores and baselines side by side. The control of a checkpoint is one trained alike on "
                "as many random pairs.",
                inputs=f"evaluations {names}",
                table=LEADERBOARD,
            ),
            table=LEADERBOARD,
            owner=TRAINING,
        ),
        ins={
            **named_inputs(spec.name, "evaluations", list(spec.evaluations)),
            **named_inputs(spec.name, "checkpoints", measured(spec)),
        },
        io_manager_key=TABLE_IO,
    )
    def board(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[pl.DataFrame]:
        folders: dict[str, Folder] = taken(inputs, "checkpoints")
        manifests = [read_manifest(folder.path) for folder in folders.values()]
        rows = leaderboard(taken(inputs, "evaluations"), manifests, selectors)
        text = markdown(rows)
        file = report_file(home, spec.name)
        write_atomically(file, text)
        return table_result(
            rows,
            LEADERBOARD,
            {
                **series({"checkpoints": len(manifests), "with_random_control": _controlled(rows)}),
                "leaderboard": dg.MetadataValue.md(text),
                "plot": picture(plot(rows), "leaderboard"),
                "file": dg.MetadataValue.path(str(file)),
            },
        )

    return board


def report_file(home: Home, pipeline: str) -> Path:
    """The leaderboard as Markdown."""
    return home.root / "reports" / pipeline / f"{NAME}.md"


def _controlled(rows: pl.DataFrame) -> int:
    return rows.filter(pl.col("control").is_not_null())["name"].n_unique()
