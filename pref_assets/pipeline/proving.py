"""From a valid proving ground to what Dagster runs: one asset a method, and the verdict over all of them."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.schema import PROVEN, TRIALS
from pref_assets.pipeline.assets.common import named_inputs, table_result, taken
from pref_assets.pipeline.claims import ITSELF, Claim, Frames, check, height, verdict
from pref_assets.pipeline.jobs import stages
from pref_assets.pipeline.metadata import Metadata, picture, preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_key, asset_spec, describe, job_name
from pref_assets.proving.ground import ProvingSpec, trials
from pref_assets.proving.report import markdown, plot, ranked
from pref_assets.proving.results import comparisons, proven, refusals
from pref_assets.resources.folders import write_atomically
from pref_assets.resources.tracking import Tracking

RESULTS = "proven"
DPI, SMALL_DPI, SMALL_ROWS = 140, 60, 20


def proving_definitions(spec: ProvingSpec) -> dg.Definitions:
    """Assets, checks and the job of a proving ground; resources come from the code location."""
    tried = [_trials(spec, name) for name in spec.subsets]
    about = (
        f"{len(spec.subsets)} methods on {len(spec.worlds)} planted worlds ({', '.join(spec.worlds)}) with "
        f"{', '.join(f'{share:.0%}' for share in spec.flips)} flipped labels, {len(spec.seeds)} seeds each."
    )
    checks = [check(asset_key(spec.name, "trials", name), [_every_trial_is_told(spec)]) for name in spec.subsets]
    job = dg.define_asset_job(
        job_name(spec.name, "everything"),
        selection=stages(spec.name, "trials", "reports"),
        description="Try every method whose settings or code changed, and sum up.",
        tags={"pipeline": spec.name},
    )
    return dg.Definitions(
        assets=[*tried, verdict_asset(spec.name, ("reports", RESULTS), about, list(spec.subsets))],
        asset_checks=checks,
        jobs=[job],
    )


def _trials(spec: ProvingSpec, name: str) -> dg.AssetsDefinition:
    alone, settings = spec.of_method(name), spec.subsets[name]

    @dg.asset(
        **asset_spec(
            spec.name,
            "trials",
            name,
            description=describe(
                f"What selector `{settings.type}` keeps of planted worlds, and what a reward head learns from it.",
                inputs=f"worlds {', '.join(f'`{each}`' for each in spec.worlds)}, planted here",
                settings=settings,
                table=TRIALS,
            ),
            settings=alone,
            table=TRIALS,
            tags={"selector": settings.type},
        ),
        io_manager_key=TABLE_IO,
    )
    def tried() -> dg.MaterializeResult[pl.DataFrame]:
        rows = trials(alone, name)
        return table_result(rows, TRIALS, trial_notes(rows))

    return tried


def trial_notes(rows: pl.DataFrame) -> Metadata:
    """What a person wants to know of trials: gain over random by budget, and what was refused."""
    whole = ranked(proven(rows)) if rows["value"].count() else pl.DataFrame()
    gains = {f"vs_random_{row['budget'].strip('%')}": row["vs_random"] for row in whole.to_dicts()}
    refused = refusals(rows)
    notes = series({**(gains if rows["method"].n_unique() == 1 else {}), "refused": refused["refused"].sum()})
    shown = ["method", "budget", "vs_random", "vs_random_lo", "vs_random_hi", "p", "accuracy"]
    return {**notes, **({"gains": preview(whole, shown)} if len(whole) else {}), "refusals": preview(refused)}


def verdict_asset(pipeline: str, place: tuple[str, str], about: str, trials: list[str]) -> dg.AssetsDefinition:
    """The asset that sums up these tables of trials; ``place`` is its stage and name."""
    stage, name = place

    @dg.asset(
        **asset_spec(
            pipeline,
            stage,
            name,
            description=describe(
                "Which methods beat random pairs of the same number, with intervals over seeds and p values adjusted "
                "for the number of comparisons. " + about,
                inputs="the trials of every method",
                table=PROVEN,
            ),
            table=PROVEN,
        ),
        ins=named_inputs(pipeline, "trials", trials),
        io_manager_key=TABLE_IO,
    )
    def results(
        context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], tracking: Tracking, **inputs: Any
    ) -> dg.MaterializeResult[pl.DataFrame]:
        rows = pl.concat(taken(inputs, "trials").values())
        found = proven(rows)
        with tracking.run(context, {"about": about}) as run:
            run.metrics(0, tracked(found))
        return table_result(
            found,
            PROVEN,
            {**verdict_notes(home.root / "reports" / pipeline / name, found, rows, about), **run.metadata()},
        )

    return results


def tracked(found: pl.DataFrame) -> dict[str, float]:
    """Gain over random of every method and budget, as metrics of one MLflow run."""
    rows = ranked(found).select("method", "budget", "vs_random").rows()
    return {f"vs_random/{method}/{budget.strip('%').replace(' ', '_')}": value for method, budget, value in rows}


def verdict_notes(file: Path, found: pl.DataFrame, rows: pl.DataFrame, about: str) -> Metadata:
    """The verdict as files, and as much of it as fits the asset's metadata."""
    text, png = markdown(found, refusals(rows), about), plot(found, DPI)
    write_atomically(file.with_suffix(".md"), text)
    found.write_csv(file.with_suffix(".csv"))
    file.with_suffix(".png").write_bytes(png)
    table = ranked(found)
    better = table.filter((pl.col("p") < 0.05) & (pl.col("vs_random") > 0)).height
    worse = table.filter((pl.col("p") < 0.05) & (pl.col("vs_random") < 0)).height
    shown = ["method", "budget", "vs_random", "vs_random_lo", "vs_random_hi", "p"]
    return {
        **series({"comparisons": comparisons(found), "better_than_random": better, "worse_than_random": worse}),
        "best": preview(table, shown),
        "worst": preview(table.reverse(), shown),
        "plot": picture(plot(found, SMALL_DPI, SMALL_ROWS), "gain over random", colours=8),
        "table": dg.MetadataValue.path(str(file.with_suffix(".md"))),
        "picture": dg.MetadataValue.path(str(file.with_suffix(".png"))),
    }


def _every_trial_is_told(spec: ProvingSpec) -> Claim:
    wanted = len(spec.worlds) * len(spec.flips) * len(spec.seeds)

    def judge(frames: Frames) -> dg.AssetCheckResult:
        rows = frames[ITSELF].filter(metric="accuracy")
        cells = rows.group_by("budget").agg(pl.len().alias("trials"))
        bad = cells.filter(pl.col("trials") != wanted)
        silent = rows.filter(pl.col("value").is_null() & pl.col("problem").is_null()).select("budget", trials=pl.lit(0))
        if not height(rows):
            return dg.AssetCheckResult(passed=False, description="there is no trial at all")
        return verdict(pl.concat([bad, silent.cast({"trials": pl.UInt32})]), height(cells))

    text = "Every world, noise level and seed has a result or a reason why there is none."
    return Claim("every_trial_is_told", text, judge)
