"""What everything in the graph is called: keys, groups, owners, kinds, partitions, jobs."""

from typing import Any

import dagster as dg

from pref_assets.pairs.schema import Table
from pref_assets.pipeline.metadata import column_schema
from pref_assets.resources.tables import TABLE_METADATA
from pref_assets.settings import Settings, digest

CURATION = "team:curation"
TRAINING = "team:training"
GPU_POOL = "gpu"

GROUPS = {
    "raw": "1_raw",
    "records": "2_pairs",
    "pairs": "2_pairs",
    "critiques": "3_features",
    "embeddings": "3_features",
    "clusters": "4_clusters",
    "reward_models": "5_scores",
    "scores": "5_scores",
    "subsets": "6_subsets",
    "reference_logps": "7_checkpoints",
    "samples": "7_checkpoints",
    "checkpoints": "7_checkpoints",
    "evaluations": "8_evaluations",
    "trials": "8_evaluations",
    "reports": "9_reports",
}
"""Group of every stage. The number makes groups sort in the order in which data flows."""

KINDS = {
    "raw": {"polars", "deltalake"},
    "records": {"polars", "deltalake"},
    "pairs": {"polars", "deltalake"},
    "critiques": {"polars", "deltalake"},
    "embeddings": {"huggingface", "pytorch"},
    "clusters": {"scikitlearn", "deltalake"},
    "reward_models": {"numpy", "scikitlearn"},
    "scores": {"polars", "deltalake"},
    "subsets": {"polars", "deltalake"},
    "reference_logps": {"huggingface", "pytorch"},
    "samples": {"huggingface", "pytorch", "deltalake"},
    "checkpoints": {"pytorch", "huggingface", "mlflow"},
    "evaluations": {"pytorch", "mlflow", "deltalake"},
    "trials": {"numpy", "polars", "deltalake"},
    "reports": {"polars", "deltalake"},
}

CODE = {
    "raw": "1",
    "records": "1",
    "pairs": "1",
    "critiques": "1",
    "embeddings": "2",
    "clusters": "1",
    "reward_models": "1",
    "scores": "2",
    "subsets": "2",
    "reference_logps": "1",
    "samples": "1",
    "checkpoints": "1",
    "evaluations": "2",
    "trials": "1",
    "reports": "1",
}
"""Version of each stage's code: raise it in the commit that changes what the stage computes from the same settings."""

_SHOWN = 200
"""Characters of a setting in a description."""
LOCATION_METADATA = "location"
"""Definition metadata of a raw asset: where its source is."""
MAX_BAD_SHARE_METADATA = "max_bad_share"
"""The same: the share of bad rows above which a batch is refused."""
OUTSIDE_RUNS = ("written", "by_command")
"""Tag of assets that commands write, not runs; that they were never written keeps nothing waiting."""
TABLE_IO = "tables"
FOLDER_IO = "folders"
SCANS = "scans"
"""Input manager of inputs that are read only as far as they are used."""


def asset_key(pipeline: str, stage: str, name: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, stage, name])


def group(pipeline: str, stage: str) -> str:
    return f"{pipeline}_{GROUPS[stage]}"


def code_version(stage: str, settings: Settings | None) -> str:
    """Changes exactly when the settings of the entry or the code of its stage do."""
    return digest([stage, CODE[stage], settings.digest() if settings else None])


def describe(what: str, *, inputs: str, settings: Settings | None = None, table: Table | None = None) -> str:
    """Markdown description of an asset: what it is, then its inputs, method and columns."""
    parts = [what, f"**Inputs:** {inputs}"]
    if settings is not None:
        method = (type(settings).__doc__ or type(settings).__name__).strip().split("\n\n")[0].replace("\n", " ")
        parts.append(f"**Method:** {' '.join(method.split())}")
        told = settings.descriptions()
        values = settings.model_dump(mode="json")
        rows = [f"- `{name}` = `{_shown(values[name])}`: {told.get(name, '')}" for name in values]
        parts.append("\n".join(rows))
    if table is not None:
        columns = [f"- `{name}`: {column.description}" for name, column in table.columns.items()]
        parts.append("\n".join(["**Columns:**", *columns]))
    return "\n\n".join(parts)


def _shown(value: Any) -> str:
    """A setting short enough to read: of several methods their types."""
    if isinstance(value, list) and value and all(isinstance(each, dict) and "type" in each for each in value):
        return ", ".join(each["type"] for each in value)
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def asset_spec(
    pipeline: str,
    stage: str,
    name: str,
    *,
    description: str,
    settings: Settings | None = None,
    table: Table | None = None,
    owner: str = CURATION,
    automation: dg.AutomationCondition | None = None,
    tags: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments that every asset of the project has, for ``dg.AssetSpec``."""
    found = dict(metadata or {})
    if table is not None:
        found |= {"dagster/column_schema": column_schema(table), TABLE_METADATA: table.name}
    return {
        "key": asset_key(pipeline, stage, name),
        "group_name": group(pipeline, stage),
        "description": description,
        "owners": [owner],
        "kinds": KINDS[stage],
        "tags": {"pipeline": pipeline, "stage": stage, **(tags or {})},
        "metadata": found,
        "code_version": code_version(stage, settings),
        "automation_condition": automation,
    }


def source_partitions(pipeline: str, source: str) -> dg.DynamicPartitionsDefinition:
    """Batches of a source; a partition is a registered file."""
    return dg.DynamicPartitionsDefinition(name=f"{pipeline}__{source}")


def job_name(pipeline: str, verb: str) -> str:
    return f"{pipeline}_{verb}"
