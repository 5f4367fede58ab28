"""Checks around training: what may enter it, and what must be true of what came out."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl

from pref_assets.evaluation import MMRLHFBench
from pref_assets.evaluation.benches.mm_rlhf import SEEN
from pref_assets.home import Home
from pref_assets.pairs.schema import ONLINE_SAMPLES
from pref_assets.pipeline.claims import ITSELF, Checks, Claim, Frames, check, height, verdict
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import bounded, series
from pref_assets.pipeline.naming import GPU_POOL, SCANS, asset_key
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.resources.tables import TABLES
from pref_assets.selection import Budget, SelectorConfig
from pref_assets.tables import TableStore
from pref_assets.training import PolicyCheckpoint
from pref_assets.training.checkpoint import METRICS, pair_ids, read_manifest
from pref_assets.training.job import Job
from pref_assets.training.online.updates import pair_ids_of

RESCORED = 32
"""Completions scored again to see whether batching matters."""
REWARD_TOLERANCE = 1e-3
"""Largest difference of a float32 reward that rounding in another order may make."""


def training_checks(spec: PipelineSpec) -> Checks:
    """Checks of subsets, reference log-probabilities, checkpoints and evaluations."""
    found: Checks = []
    for name, settings in spec.subsets.items():
        claims = [_every_pair_is_decided(spec), _held_out_stays_out(spec)]
        budget = getattr(settings, "budget", None)
        if isinstance(budget, Budget):
            claims.append(
                _budget_is_exact(spec, settings, budget)
                if budget.tokens is None
                else _tokens_are_in_budget(spec, settings, budget.tokens)
            )
        found.append(check(asset_key(spec.name, "subsets", name), claims))
    found += [check(asset_key(spec.name, "reference_logps", n), [_logps_are_finite()]) for n in spec.reference_logps]
    claims = [_logps_are_finite("reference_logp"), _sampled_prompts_may_train(spec)]
    found += [check(asset_key(spec.name, "samples", name), claims) for name in spec.samples]
    for name in spec.checkpoints:
        found.append(_sound_checkpoint(spec, name))
        if spec.checkpoints[name].type == "reward_model":
            found.append(_batching_changes_nothing(spec, name))
    for name, evaluation in spec.evaluations.items():
        unseen = [_bench_is_unseen()] if isinstance(evaluation, MMRLHFBench) else []
        found.append(check(asset_key(spec.name, "evaluations", name), [_values_in_intervals(), *unseen]))
    return found


def _pairs(spec: PipelineSpec) -> dict[str, dg.AssetKey]:
    return {"pairs": asset_key(spec.name, "pairs", "pairs")}


def _every_pair_is_decided(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        pairs = frames["pairs"].select("pair_id", known=True)
        joined = pairs.join(frames[ITSELF], on="pair_id", how="full", coalesce=True)
        weight = pl.col("weight").is_finite() & (pl.col("weight") > 0)
        good = (
            pl.col("selected").is_not_null()
            & (pl.col("reason").str.len_chars() > 0)
            & (~pl.col("selected") | weight)
            & pl.col("p_chosen").is_between(0, 1).fill_null(True)
            & pl.col("margin").is_finite().fill_null(True)
            & pl.col("known").fill_null(False)
            & ~pl.col("pair_id").is_duplicated()
        )
        bad = joined.filter(~good.fill_null(False)).select(
            "pair_id", "selected", "reason", "weight", "p_chosen", "margin"
        )
        return verdict(bad, height(pairs))

    return Claim(
        "every_pair_has_one_decision",
        "Every pair has exactly one decision, with a reason; kept pairs have a positive, finite weight, labels are "
        "probabilities and margins finite.",
        judge,
        _pairs(spec),
    )


def _held_out_stays_out(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        of_pairs = frames["pairs"].select("pair_id", "split")
        kept = frames[ITSELF].filter("selected").join(of_pairs, on="pair_id", how="left")
        bad = kept.filter(pl.col("split").ne_missing("train")).select("pair_id", "split", "reason")
        return verdict(bad, height(kept))

    return Claim(
        "held_out_pairs_are_not_selected", "Only pairs of the `train` split are selected.", judge, _pairs(spec)
    )


def _budget_is_exact(spec: PipelineSpec, settings: SelectorConfig, budget: Budget) -> Claim:
    may_stop_short = getattr(settings, "fill", True) is False
    unit = getattr(settings, "unit", "pairs")
    counted = pl.col("prompt_id" if unit == "prompts" else "pair_id").n_unique()

    def judge(frames: Frames) -> dg.AssetCheckResult:
        train = frames["pairs"].filter(pl.col("split") == "train")
        wanted = budget.resolve(train.select(counted).collect().item())
        selected = train.join(frames[ITSELF].filter("selected").select("pair_id"), on="pair_id", how="semi")
        kept = selected.select(counted).collect().item()
        passed = kept <= wanted if may_stop_short else kept == wanted
        return dg.AssetCheckResult(passed=passed, metadata=bounded(series({"selected": kept, "budget": wanted})))

    claim = "at most" if may_stop_short else "exactly"
    text = f"The subset holds {claim} {budget.text()} of the train {unit}."
    return Claim("budget_is_exact", text, judge, _pairs(spec))


def _tokens_are_in_budget(spec: PipelineSpec, settings: SelectorConfig, tokens: int) -> Claim:
    counted_by = str(getattr(settings, "counted_by", None))

    def judge(frames: Frames) -> dg.AssetCheckResult:
        counts = frames["counted"].select("id", "n_tokens")
        pairs = frames["pairs"].filter(pl.col("split") == "train")
        for side in ("chosen", "rejected"):
            named = counts.rename({"id": f"{side}_id", "n_tokens": f"{side}_tokens"})
            pairs = pairs.join(named, on=f"{side}_id", how="left")
        cost = (pl.col("chosen_tokens") + pl.col("rejected_tokens")).alias("cost")
        costs = pairs.select("pair_id", cost).join(frames[ITSELF].select("pair_id", "selected"), on="pair_id")
        found = costs.group_by("selected").agg(pl.col("cost").sum().alias("sum"), pl.col("cost").min().alias("min"))
        by_selected = {row["selected"]: row for row in found.collect().to_dicts()}
        used = by_selected.get(True, {"sum": 0})["sum"]
        smallest = by_selected.get(False, {"min": None})["min"]
        numbers = series({"tokens": used, "budget": tokens, "smallest_left_out": smallest})
        return dg.AssetCheckResult(passed=used <= tokens, metadata=bounded(numbers))

    text = f"The subset holds at most {tokens:,} tokens."
    reads = {**_pairs(spec), "counted": asset_key(spec.name, "embeddings", counted_by)}
    return Claim("budget_is_exact", text, judge, reads)


def _sampled_prompts_may_train(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        split = frames["prompts"].select("prompt_id", "split")
        asked = frames[ITSELF].select("prompt_id").unique().join(split, on="prompt_id", how="left")
        return verdict(asked.filter((pl.col("split") != "train").fill_null(value=True)), height(frames[ITSELF]))

    text = "Every prompt that was answered is in the split `train`."
    reads = {"prompts": asset_key(spec.name, "pairs", "prompts")}
    return Claim("held_out_prompts_are_not_answered", text, judge, reads)


def _logps_are_finite(column: str = "logp") -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        good = pl.col(column).is_finite() & (pl.col(column) <= 0) & (pl.col("n_tokens") > 0)
        return verdict(frames[ITSELF].filter(~good.fill_null(False)), height(frames[ITSELF]))

    text = "Every log-probability is finite and at most zero, over at least one token."
    return Claim("log_probabilities_are_finite", text, judge)


def _sound_checkpoint(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    asset = asset_key(spec.name, "checkpoints", name)
    claims = {
        "training_loss_is_finite": "The loss of every step is a finite number.",
        "manifest_matches_table_versions": "The table versions that the manifest pins exist, with the content hashes "
        "it says, and their selected pairs are the pairs it lists.",
        "held_out_prompts_did_not_train": "No pair of the checkpoint, and no other pair of its prompts, is held out.",
    }

    @dg.multi_asset_check(
        name="__".join([*asset.path, "claims"]),
        specs=[
            dg.AssetCheckSpec(
                each, asset=asset, description=text, blocking=True, additional_deps=[*_pairs(spec).values()]
            )
            for each, text in claims.items()
        ],
        ins={"folder": dg.AssetIn(key=asset), "pairs": dg.AssetIn(key=_pairs(spec)["pairs"], input_manager_key=SCANS)},
        can_subset=True,
    )
    def claims_hold(
        context: dg.AssetCheckExecutionContext, folder: Folder, pairs: pl.LazyFrame, home: dg.ResourceParam[Home]
    ) -> Iterator[dg.AssetCheckResult]:
        judges = {
            "training_loss_is_finite": lambda: _loss_is_finite(folder),
            "manifest_matches_table_versions": lambda: _manifest_matches(folder, TableStore(home.tables)),
            "held_out_prompts_did_not_train": lambda: _held_out_did_not_train(folder, pairs),
        }
        for key in sorted(context.selected_asset_check_keys):
            yield judges[key.name]()._replace(asset_key=asset, check_name=key.name)

    return claims_hold


def _loss_is_finite(folder: Folder) -> dg.AssetCheckResult:
    lines = (Path(folder.path) / METRICS).read_text().splitlines()
    losses = [float(json.loads(line).get("loss", math.nan)) for line in lines]
    bad = [step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)]
    metadata = series({"steps": len(losses), "bad": len(bad), "last_loss": losses[-1] if losses else None})
    return dg.AssetCheckResult(passed=bool(losses) and not bad, metadata=bounded(metadata))


def _manifest_matches(folder: Folder, tables: TableStore) -> dg.AssetCheckResult:
    problems = manifest_problems(Path(folder.path), tables)
    text = "\n".join(f"- {problem}" for problem in problems) or "none"
    return dg.AssetCheckResult(passed=not problems, metadata=bounded({"problems": dg.MetadataValue.md(text)}))


def _held_out_did_not_train(folder: Folder, pairs: pl.LazyFrame) -> dg.AssetCheckResult:
    trained = pl.LazyFrame({"pair_id": pair_ids(folder.path)}, schema={"pair_id": pl.String})
    placed = pairs.select("pair_id", "prompt_id", "split")
    held_out = placed.filter(pl.col("split") != "train")
    of_trained = trained.join(placed, on="pair_id").select("prompt_id").drop_nulls().unique()
    bad = pl.concat(
        [held_out.join(trained, on="pair_id", how="semi"), held_out.join(of_trained, on="prompt_id", how="semi")]
    ).unique("pair_id")
    return verdict(bad, height(trained))


def manifest_problems(folder: Path, tables: TableStore) -> list[str]:
    """What in a checkpoint's manifest is not so, in sentences."""
    manifest = read_manifest(folder)
    problems = []
    for name, pinned in {"subset": manifest.subset, **manifest.tables}.items():
        try:
            found = tables.rehashed(pinned.key, TABLES[name], pinned.delta_version)
        except FileNotFoundError as error:
            problems.append(f"{name}: {error}")
            continue
        if found != pinned.data_version:
            where = "/".join(pinned.key)
            problems.append(f"{where} version {pinned.delta_version} has content {found}, not {pinned.data_version}")
        elif name == "subset" and ONLINE_SAMPLES.name not in manifest.tables:
            decisions = tables.scan(pinned.key, version=pinned.delta_version).filter("selected")
            if (stage := manifest.config.get("stage")) is not None:
                decisions = decisions.filter(stage=stage)
            problems += _pair_problems(folder, decisions.select("pair_id").collect()["pair_id"])
        elif name == ONLINE_SAMPLES.name:
            update = PolicyCheckpoint.model_validate(manifest.config).update
            samples = tables.scan(pinned.key, version=pinned.delta_version).collect()
            problems += _pair_problems(folder, pair_ids_of(update, samples) if update else ())
    return problems


def _pair_problems(folder: Path, chosen: Iterable[str]) -> list[str]:
    try:
        listed = set(pair_ids(folder))
    except ValueError as error:
        return [str(error)]
    selected = set(chosen)
    if listed == selected:
        return []
    return [f"{len(listed - selected)} listed pairs are not selected, {len(selected - listed)} selected are not listed"]


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


def _bench_is_unseen() -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        rows = frames[ITSELF].filter(pl.col("metric").is_in(SEEN))
        return verdict(rows.filter(pl.col("value") > 0), height(rows))

    text = "No measured checkpoint trained on a prompt or an image that it is measured on."
    return Claim("bench_is_unseen", text, judge, blocking=False)


def _values_in_intervals() -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        inside = (pl.col("lo") <= pl.col("value")) & (pl.col("value") <= pl.col("hi"))
        good = pl.col("value").is_finite() & (pl.col("n") > 0) & (inside | pl.col("lo").is_null())
        return verdict(frames[ITSELF].filter(~good.fill_null(False)), height(frames[ITSELF]))

    text = "Every value is finite, was measured on something, and lies in its interval."
    return Claim("values_lie_in_their_intervals", text, judge, blocking=False)
