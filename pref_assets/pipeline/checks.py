"""Checks of the data: what must hold before anything trains. A failed blocking check stops what is downstream."""

import dagster as dg
import polars as pl

from pref_assets.clustering import ClustererConfig
from pref_assets.pipeline.claims import ITSELF, Checks, Claim, Frames, check, height, verdict
from pref_assets.pipeline.naming import asset_key
from pref_assets.pipeline.scoring_checks import measuring_changes_nothing
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.scoring import MeasuredScorer


def data_checks(spec: PipelineSpec) -> Checks:
    """Checks of records, pairs, features and scores."""
    found = [
        check(asset_key(spec.name, "records", f"{source}_quarantine"), [_few_bad_rows(spec, source, "records")])
        for source in spec.sources
    ]
    found += [
        check(asset_key(spec.name, "pairs", "prompts"), [_ids_are_unique("prompt_id")]),
        check(asset_key(spec.name, "pairs", "completions"), [_ids_are_unique("completion_id")]),
        check(
            asset_key(spec.name, "pairs", "pairs"),
            [
                *(_few_bad_rows(spec, source, "pairs") for source in spec.sources),
                _ids_are_unique("pair_id"),
                _prompts_do_not_leak(spec),
                _votes_are_resolved(),
                _sides_exist(spec),
            ],
        ),
    ]
    found += [check(asset_key(spec.name, "embeddings", name), [_embedded(spec)]) for name in spec.embeddings]
    found += [
        check(asset_key(spec.name, "clusters", name), [_clustered(spec, settings)])
        for name, settings in spec.clusters.items()
    ]
    found += [check(asset_key(spec.name, "scores", name), [_scored(spec)]) for name in spec.scores]
    found += [
        measuring_changes_nothing(spec, name, settings)
        for name, settings in spec.scores.items()
        if isinstance(settings, MeasuredScorer) and "batch_tokens" in type(settings).model_fields
    ]
    return found


def bad_batches(raw: pl.LazyFrame, quarantine: pl.LazyFrame, limit: float) -> pl.LazyFrame:
    """Batches with a larger share of refused rows than ``limit``: frame(batch, uri, rows, bad, share)."""
    read = raw.group_by("batch").agg(pl.col("uri").first(), rows=pl.len())
    refused = quarantine.group_by("batch").agg(bad=pl.struct("uri", "row").n_unique())
    share = pl.col("bad") / pl.col("rows")
    return read.join(refused, on="batch").with_columns(share=share).filter(share > limit).sort("batch")


def _few_bad_rows(spec: PipelineSpec, source: str, stage: str) -> Claim:
    limit = spec.sources[source].max_bad_share
    what = f"At most {limit:.0%} of the rows of any batch of `{source}` are in quarantine."
    raw, refused = f"{source}_raw", f"{source}_quarantine"
    reads = {raw: asset_key(spec.name, "raw", source)}
    if stage == "records":
        refused = ITSELF
    else:
        reads[refused] = asset_key(spec.name, "records", refused)

    def judge(frames: Frames) -> dg.AssetCheckResult:
        bad = bad_batches(frames[raw], frames[refused], limit)
        return verdict(bad, frames[raw].select(pl.col("batch").n_unique()).collect().item())

    return Claim(
        "few_rows_of_a_batch_are_bad" if stage == "records" else f"few_rows_of_{source}_are_bad",
        f"{what} Mend the file, or remove it, and run again; or raise `sources.{source}.max_bad_share`.",
        judge,
        reads,
    )


def _ids_are_unique(column: str) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        ids = frames[ITSELF].select(column)
        bad = ids.filter(pl.col(column).is_duplicated() | pl.col(column).is_null())
        return verdict(bad, height(ids))

    return Claim(f"{column}s_are_unique", f"Every `{column}` is there, and only once.", judge)


def _prompts_do_not_leak(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        found = frames[ITSELF].filter(pl.col("prompt_id").is_not_null()).select("pair_id", "prompt_id", "split")
        of_prompts = frames["prompts"].select("prompt_id", "group_id", of_prompt="split")
        found = found.join(of_prompts, on="prompt_id", how="left")
        several = pl.col("split").n_unique().over("group_id") > 1
        bad = found.filter(several | pl.col("split").ne_missing(pl.col("of_prompt")))
        return verdict(bad, height(frames[ITSELF]))

    return Claim(
        "prompts_do_not_leak_across_splits",
        "All pairs of a prompt, and of the prompts that nearly repeat it, are in one split, the one that the prompts "
        "table says.",
        judge,
        {"prompts": asset_key(spec.name, "pairs", "prompts")},
    )


def _votes_are_resolved() -> Claim:
    columns = ["pair_id", "chosen_id", "rejected_id", "p_chosen", "votes"]

    def judge(frames: Frames) -> dg.AssetCheckResult:
        resolved = (
            (pl.col("votes").list.len() > 0)
            & pl.col("p_chosen").is_between(0.5, 1.0)
            & (pl.col("chosen_id") != pl.col("rejected_id"))
        )
        bad = frames[ITSELF].select(columns).filter(~resolved.fill_null(False))
        return verdict(bad, height(frames[ITSELF]))

    return Claim(
        "votes_are_resolved",
        "Every pair has votes, two different sides, and is oriented towards the side they prefer.",
        judge,
    )


def _sides_exist(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        found = frames[ITSELF].select("pair_id", "prompt_id", "chosen_id", "rejected_id")
        for side in ("chosen", "rejected"):
            of = frames["completions"].select(
                pl.col("completion_id").alias(f"{side}_id"), pl.col("prompt_id").alias(f"prompt_of_{side}")
            )
            found = found.join(of, on=f"{side}_id", how="left")
        absent = pl.any_horizontal(pl.col("prompt_of_chosen", "prompt_of_rejected").is_null())
        other = pl.any_horizontal(pl.col("prompt_of_chosen", "prompt_of_rejected") != pl.col("prompt_id"))
        return verdict(found.filter(absent | other.fill_null(False)), height(frames[ITSELF]))

    return Claim(
        "both_sides_have_texts",
        "Both completions of every pair are in the completions table, and answer the pair's prompt.",
        judge,
        {"completions": asset_key(spec.name, "pairs", "completions")},
    )


def _embedded(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        pairs, vectors = frames["pairs"], frames[ITSELF]
        ids = pl.concat([pairs.select(id="chosen_id"), pairs.select(id="rejected_id")]).unique()
        mixed = vectors.filter(pl.col("key").n_unique() > 1).select("id")
        without = ids.join(vectors.select("id"), on="id", how="anti")
        return verdict(pl.concat([without, mixed]), height(ids))

    return Claim(
        "every_completion_has_a_vector",
        "Every completion of a pair is embedded, by one model with one setting.",
        judge,
        {"pairs": asset_key(spec.name, "pairs", "pairs")},
    )


def _clustered(spec: PipelineSpec, settings: ClustererConfig) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        sides = [pl.col("pair_id")] if settings.unit == "pair" else [pl.col("chosen_id"), pl.col("rejected_id")]
        ids = pl.concat([frames["pairs"].select(id=side) for side in sides]).unique()
        clusters = frames[ITSELF].select("id")
        twice = clusters.filter(pl.col("id").is_duplicated())
        return verdict(pl.concat([ids.join(clusters, on="id", how="anti"), twice]), height(ids))

    return Claim(
        "everything_has_one_cluster",
        f"Every compared {settings.unit} is in exactly one cluster.",
        judge,
        {"pairs": asset_key(spec.name, "pairs", "pairs")},
        blocking=False,
    )


def _scored(spec: PipelineSpec) -> Claim:
    def judge(frames: Frames) -> dg.AssetCheckResult:
        ids = frames["pairs"].select("pair_id")
        found = ids.join(frames[ITSELF].with_columns(known=True), on="pair_id", how="left")
        found = found.select("pair_id", "score", "p_correct", "known")
        sound = pl.col("score").is_finite() & pl.col("p_correct").is_between(0, 1)
        good = sound.fill_null(True) & pl.col("known").fill_null(False)
        twice = pl.col("pair_id").is_duplicated()
        return verdict(found.filter(~good.fill_null(False) | twice), height(ids))

    return Claim(
        "every_pair_is_scored_once",
        "Every pair has one row of scores: finite numbers, null where one is not defined; probabilities in [0, 1].",
        judge,
        {"pairs": asset_key(spec.name, "pairs", "pairs")},
    )
