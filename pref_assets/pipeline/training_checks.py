"""Checks around training: what may enter it, and what must be true of what came out."""

import json
import math
from pathlib import Path

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.schema import content_hash
from pref_assets.pipeline.checks import Checks, verdict
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import bounded, series
from pref_assets.pipeline.naming import GPU_POOL, asset_key
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.resources.tables import TABLES
from pref_assets.selection import Budget, SelectorConfig
from pref_assets.tables import TableStore
from pref_assets.training.checkpoint import METRICS, pair_ids, read_manifest
from pref_assets.training.job import Job

RESCORED = 32
"""Completions scored again to see whether batching matters."""
REWARD_TOLERANCE = 1e-3
"""Largest difference of a float32 reward that rounding in another order may make."""


def training_checks(spec: PipelineSpec) -> Checks:
    """Checks of subsets, reference log-probabilities, checkpoints and evaluations."""
    found: Checks = []
    for name, settings in spec.subsets.items():
        found += [_every_pair_is_decided(spec, name), _held_out_stays_out(spec, name)]
        budget = getattr(settings, "budget", None)
        if isinstance(budget, Budget):
            found.append(_budget_is_exact(spec, name, settings, budget))
    found += [_logps_are_finite(spec, name) for name in spec.reference_logps]
    for name in spec.checkpoints:
        found += [_loss_is_finite(spec, name), _manifest_matches(spec, name), _held_out_did_not_train(spec, name)]
        if spec.checkpoints[name].type == "reward_model":
            found.append(_batching_changes_nothing(spec, name))
    found += [_values_in_intervals(spec, name) for name in spec.evaluations]
    return found


def _every_pair_is_decided(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "subsets", name),
        name="every_pair_has_one_decision",
        description="Every pair has exactly one decision, with a reason; kept pairs have a positive, finite weight.",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def every_pair_has_one_decision(decisions: pl.DataFrame, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        joined = pairs.select("pair_id").join(decisions, on="pair_id", how="full", coalesce=True)
        known = pairs["pair_id"].implode()
        weight = pl.col("weight").is_finite() & (pl.col("weight") > 0)
        good = (
            pl.col("selected").is_not_null()
            & (pl.col("reason").str.len_chars() > 0)
            & (~pl.col("selected") | weight)
            & pl.col("pair_id").is_in(known)
            & ~pl.col("pair_id").is_duplicated()
        )
        bad = joined.filter(~good.fill_null(False))
        return verdict(bad, pairs.height, ["pair_id", "selected", "reason", "weight"])

    return every_pair_has_one_decision


def _held_out_stays_out(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "subsets", name),
        name="held_out_pairs_are_not_selected",
        description="Only pairs of the `train` split are selected.",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def held_out_pairs_are_not_selected(decisions: pl.DataFrame, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        kept = decisions.filter("selected").join(pairs.select("pair_id", "split"), on="pair_id", how="left")
        bad = kept.filter(pl.col("split").ne_missing("train"))
        return verdict(bad, kept.height, ["pair_id", "split", "reason"])

    return held_out_pairs_are_not_selected


def _budget_is_exact(
    spec: PipelineSpec, name: str, settings: SelectorConfig, budget: Budget
) -> dg.AssetChecksDefinition:
    may_stop_short = getattr(settings, "fill", True) is False
    claim = "at most" if may_stop_short else "exactly"

    @dg.asset_check(
        asset=asset_key(spec.name, "subsets", name),
        name="budget_is_exact",
        description=f"The subset holds {claim} {budget.text()} of the train pairs.",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def budget_is_exact(decisions: pl.DataFrame, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        wanted = budget.resolve(pairs.filter(pl.col("split") == "train").height)
        kept = int(decisions["selected"].sum())
        passed = kept <= wanted if may_stop_short else kept == wanted
        return dg.AssetCheckResult(passed=passed, metadata=bounded(series({"selected": kept, "budget": wanted})))

    return budget_is_exact


def _logps_are_finite(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "reference_logps", name),
        name="log_probabilities_are_finite",
        description="Every log-probability is finite and at most zero, over at least one token.",
        blocking=True,
    )
    def log_probabilities_are_finite(logps: pl.DataFrame) -> dg.AssetCheckResult:
        good = pl.col("logp").is_finite() & (pl.col("logp") <= 0) & (pl.col("n_tokens") > 0)
        return verdict(logps.filter(~good.fill_null(False)), logps.height)

    return log_probabilities_are_finite


def _loss_is_finite(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "checkpoints", name),
        name="training_loss_is_finite",
        description="The loss of every step is a finite number.",
        blocking=True,
    )
    def training_loss_is_finite(folder: Folder) -> dg.AssetCheckResult:
        lines = (Path(folder.path) / METRICS).read_text().splitlines()
        losses = [float(json.loads(line).get("loss", math.nan)) for line in lines]
        bad = [step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)]
        metadata = series({"steps": len(losses), "bad": len(bad), "last_loss": losses[-1] if losses else None})
        return dg.AssetCheckResult(passed=bool(losses) and not bad, metadata=bounded(metadata))

    return training_loss_is_finite


def _manifest_matches(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "checkpoints", name),
        name="manifest_matches_table_versions",
        description="The table versions that the manifest pins exist, with the content hashes it says, and their "
        "selected pairs are the pairs it lists.",
        blocking=True,
    )
    def manifest_matches_table_versions(folder: Folder, home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
        problems = manifest_problems(Path(folder.path), TableStore(home.tables))
        text = "\n".join(f"- {problem}" for problem in problems) or "none"
        return dg.AssetCheckResult(passed=not problems, metadata=bounded({"problems": dg.MetadataValue.md(text)}))

    return manifest_matches_table_versions


def manifest_problems(folder: Path, tables: TableStore) -> list[str]:
    """What in a checkpoint's manifest is not so, in sentences."""
    manifest = read_manifest(folder)
    problems = []
    for name, pinned in {"subset": manifest.subset, **manifest.tables}.items():
        try:
            frame = tables.read(pinned.key, version=pinned.delta_version)
        except FileNotFoundError as error:
            problems.append(f"{name}: {error}")
            continue
        table = TABLES[name]
        found = content_hash(table.conform(frame), table.key)
        if found != pinned.data_version:
            where = "/".join(pinned.key)
            problems.append(f"{where} version {pinned.delta_version} has content {found}, not {pinned.data_version}")
        elif name == "subset":
            problems += _pair_problems(folder, frame)
    return problems


def _pair_problems(folder: Path, decisions: pl.DataFrame) -> list[str]:
    try:
        listed = set(pair_ids(folder))
    except ValueError as error:
        return [str(error)]
    selected = set(decisions.filter("selected")["pair_id"])
    if listed == selected:
        return []
    return [f"{len(listed - selected)} listed pairs are not selected, {len(selected - listed)} selected are not listed"]


def _held_out_did_not_train(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "checkpoints", name),
        name="held_out_prompts_did_not_train",
        description="No pair of the checkpoint, and no other pair of its prompts, is held out.",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def held_out_prompts_did_not_train(folder: Folder, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        trained = pl.DataFrame({"pair_id": pair_ids(folder.path)}, schema={"pair_id": pl.String})
        held_out = pairs.filter(pl.col("split") != "train")
        of_trained = trained.join(pairs, on="pair_id").select("prompt_id").drop_nulls().unique()
        bad = pl.concat(
            [
                held_out.join(trained, on="pair_id", how="semi"),
                held_out.join(of_trained, on="prompt_id", how="semi"),
            ]
        ).unique("pair_id")
        return verdict(bad, trained.height, ["pair_id", "prompt_id", "split"])

    return held_out_prompts_did_not_train


def _batching_changes_nothing(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "checkpoints", name),
        name="rewards_do_not_depend_on_batching",
        description=f"{RESCORED} completions of all lengths get the same reward in a padded batch as alone, to "
        f"{REWARD_TOLERANCE:g}.",
        blocking=True,
        additional_ins={
            each: dg.AssetIn(key=asset_key(spec.name, "pairs", each)) for each in ("prompts", "completions")
        },
        pool=GPU_POOL,
    )
    def rewards_do_not_depend_on_batching(
        context: dg.AssetCheckExecutionContext,
        folder: Folder,
        prompts: pl.DataFrame,
        completions: pl.DataFrame,
        compute: Compute,
        home: dg.ResourceParam[Home],
    ) -> dg.AssetCheckResult:
        texts = {"texts": write_input(home, spread_over_lengths(prompts, completions, RESCORED), "id")}
        job = Job(task="batch_invariance", home=str(home.root), inputs=texts, params={"folder": folder.path})
        done = compute.run(context, job)
        difference = float(done["largest_difference"])
        numbers = series({each: done[each] for each in ("texts", "largest_difference", "spread")})
        return dg.AssetCheckResult(passed=difference <= REWARD_TOLERANCE, metadata=bounded(numbers))

    return rewards_do_not_depend_on_batching


def spread_over_lengths(prompts: pl.DataFrame, completions: pl.DataFrame, n: int) -> pl.DataFrame:
    """At most ``n`` texts of prompt and completion, from the shortest to the longest in even steps: frame(id, text)."""
    turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n\n")
    texts = completions.select("prompt_id", id="completion_id", answer=turns)
    texts = texts.join(prompts.select("prompt_id", prompt=turns), on="prompt_id")
    texts = texts.select("id", text=pl.format("{}\n\n{}", "prompt", "answer"))
    ordered = texts.sort(pl.col("text").str.len_chars(), "id")
    step = max(1, (ordered.height - 1) // max(1, n - 1))
    return ordered.gather_every(step).head(n)


def _values_in_intervals(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "evaluations", name),
        name="values_lie_in_their_intervals",
        description="Every value is finite, was measured on something, and lies in its interval.",
    )
    def values_lie_in_their_intervals(rows: pl.DataFrame) -> dg.AssetCheckResult:
        inside = (pl.col("lo") <= pl.col("value")) & (pl.col("value") <= pl.col("hi"))
        good = pl.col("value").is_finite() & (pl.col("n") > 0) & (inside | pl.col("lo").is_null())
        return verdict(rows.filter(~good.fill_null(False)), rows.height)

    return values_lie_in_their_intervals
