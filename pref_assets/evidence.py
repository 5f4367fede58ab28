"""What trials said of every method, for its entry in the docs: read from the results that are kept beside them."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pref_assets.pairs.schema import PROVEN
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.proving.ground import ProvingSpec
from pref_assets.proving.report import SIGNIFICANT, ranked
from pref_assets.settings import Settings

DEFS = Path(__file__).parent / "defs"
MEASURED: dict[str, type[ProvingSpec] | type[PipelineSpec]] = {
    "proving_ground": ProvingSpec,
    "language": PipelineSpec,
    "hh_rlhf": PipelineSpec,
}
"""Pipelines whose results are kept as ``<docs>/measured/<name>.csv``, and what their files describe."""
STAGES = ("clusters", "reward_models", "scores", "subsets")
HEADER = (
    "| tried as | on | budget | vs random | p | vs all | wrong labels kept |\n"
    "| --- | --- | --- | ---: | ---: | ---: | ---: |"
)


def evidence(docs: Path) -> dict[tuple[str, str], list[str]]:
    """Lines of a table (columns as in ``HEADER``) for each (stage, type) that some entry on trial is, or uses."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, model in MEASURED.items():
        results = _results(docs / "measured" / f"{name}.csv")
        if results is None:
            continue
        attributes = yaml.safe_load((DEFS / name / "defs.yaml").read_text())["attributes"]
        spec = model.model_validate(attributes)
        used = {method: set(_used(spec, "subsets", settings)) for method, settings in spec.subsets.items()}
        for row in ranked(results).to_dicts():
            for key in used.get(row["method"], ()):
                found[key].append(_line(name, row))
    return dict(found)


def _results(file: Path) -> pl.DataFrame | None:
    if not file.exists():
        return None
    return PROVEN.conform(pl.read_csv(file, schema=PROVEN.schema))


def _used(spec: Any, stage: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """Stage and type of an entry, of settings inside it, and of every entry it refers to."""
    yield stage, str(getattr(settings, "type", ""))
    for inner in getattr(settings, "steps", ()):
        yield from _used(spec, stage, inner)
    for ref in settings.references():
        if ref.stage in STAGES:
            yield from _used(spec, ref.stage, getattr(spec, ref.stage)[ref.name])


def _line(world: str, row: dict[str, Any]) -> str:
    ends = (row["vs_random_lo"], row["vs_random_hi"])
    shown = f"{row['vs_random']:+.3f}" + ("" if None in ends else f" [{ends[0]:+.3f}, {ends[1]:+.3f}]")
    if row["p"] is not None and row["p"] < SIGNIFICANT:
        shown = f"**{shown}**"
    p, wrong = ("" if row[name] is None else f"{row[name]:.3f}" for name in ("p", "wrong_labels"))
    return f"| `{row['method']}` | {world} | {row['budget']} | {shown} | {p} | {row['vs_all']:+.3f} | {wrong} |"
