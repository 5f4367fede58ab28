"""Samples: what the current policy answers, what that earns, and what the reference thinks of it."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features import Store
from pref_assets.home import Home
from pref_assets.models.reference import identity
from pref_assets.pairs.schema import COMPLETIONS, ONLINE_SAMPLES, PAIRS, PROMPTS
from pref_assets.pipeline.assets.common import Assets, named_inputs, pairs_inputs, table_result, taken
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import Metadata, preview, series
from pref_assets.pipeline.naming import GPU_POOL, TABLE_IO, TRAINING, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.scoring.reward.groups import group_std
from pref_assets.scoring.reward.rollouts import ConstraintRewards
from pref_assets.training.job import Job
from pref_assets.training.online.rewards import CheckpointRewards, constraint_rewards
from pref_assets.training.online.sampling import DRAWN, OnlineSamples, distinct_answers
from pref_assets.training.reference import reference_rows

_TABLES = {"pairs": PAIRS, "prompts": PROMPTS, "completions": COMPLETIONS}


def build(spec: PipelineSpec) -> Assets:
    return [_samples(spec, name, settings) for name, settings in spec.samples.items()]


def _samples(spec: PipelineSpec, name: str, settings: OnlineSamples) -> dg.AssetsDefinition:
    reference = spec.reference_logps[settings.base]
    policy = settings.start or reference.checkpoint
    judge = settings.reward.checkpoint if isinstance(settings.reward, CheckpointRewards) else None
    earlier = list(dict.fromkeys(each for each in (policy, reference.checkpoint, judge) if each))
    read = [f"prompts of subset `{settings.subset}`", f"reference `{settings.base}`"]
    read += [f"checkpoint `{each}`" for each in earlier]

    @dg.asset(
        **asset_spec(
            spec.name,
            "samples",
            name,
            description=describe(
                f"Answers of {f'checkpoint `{policy}`' if policy else f'`{reference.model}`'} and what they earn.",
                inputs=", ".join(read),
                settings=settings,
                table=ONLINE_SAMPLES,
            ),
            settings=settings,
            table=ONLINE_SAMPLES,
            owner=TRAINING,
        ),
        ins={
            **pairs_inputs(spec.name, "pairs", "prompts"),
            "subset": dg.AssetIn(key=asset_key(spec.name, "subsets", settings.subset)),
            **named_inputs(spec.name, "checkpoints", earlier),
        },
        io_manager_key=TABLE_IO,
        pool=GPU_POOL,
    )
    def samples(
        context: dg.AssetExecutionContext,
        pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        subset: pl.DataFrame,
        compute: Compute,
        home: dg.ResourceParam[Home],
        **inputs: Any,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        folders: dict[str, Folder] = taken(inputs, "checkpoints")
        asked = settings.asked(subset, pairs, prompts)
        round_ = _Round(context, compute, home, settings)
        answers, drawn = round_.drawn(asked, reference, folders.get(policy or ""))
        items = answers.select("prompt", "messages", id="completion_id").sort("id")
        rewards = round_.rewards(items, answers.join(asked.select("prompt_id", "metadata"), on="prompt_id"), folders)
        origin = folders.get(reference.checkpoint or "")
        referred = round_.reference(items, reference, origin)
        found = answers.join(rewards, on="completion_id").join(referred, on="completion_id")
        found = found.select(ONLINE_SAMPLES.columns.keys()).sort("prompt_id", "completion_id")
        return table_result(found, ONLINE_SAMPLES, {**_told(found, settings.answers, drawn), **_shown(found)})

    return samples


class _Round:
    """The jobs of a round, one after the other: no two models are in memory together."""

    def __init__(
        self, context: dg.AssetExecutionContext, compute: Compute, home: Home, settings: OnlineSamples
    ) -> None:
        self._context, self._compute, self._home, self._settings = context, compute, home, settings
        self._store = Store(home.store)

    def drawn(self, asked: pl.DataFrame, reference: Any, policy: Folder | None) -> tuple[pl.DataFrame, int]:
        """Distinct answers, as ``distinct_answers``, and how many prompts were answered now."""
        settings, ids = self._settings, asked["prompt_id"].to_list()
        key = settings.key(policy.version if policy else identity(reference.model), reference)
        done = {"computed": 0}
        if self._store.missing(DRAWN, key, ids):
            params = {"key": key, "reference": reference.model_dump(mode="json"), "folder": policy and policy.path}
            inputs = {"prompts": write_input(self._home, asked.select("messages", id="prompt_id"), "id")}
            done = self._run("sample_answers", settings.model_dump(mode="json"), inputs, params)
        return distinct_answers(asked, self._store.read(DRAWN, key, ids)), int(done["computed"])

    def rewards(self, items: pl.DataFrame, answers: pl.DataFrame, folders: Mapping[str, Folder]) -> pl.DataFrame:
        """Frame (completion_id, reward)."""
        settings = self._settings.reward
        if isinstance(settings, ConstraintRewards):
            found = pl.Series("reward", constraint_rewards(settings, answers), dtype=pl.Float64)
            return answers.select("completion_id", found)
        folder = folders[settings.checkpoint] if isinstance(settings, CheckpointRewards) else None
        version = folder.version if folder else None
        if settings.missing(items, self._store, version):
            params = {"folder": folder.path, "version": version} if folder else {}
            inputs = {"items": write_input(self._home, items, "id")}
            self._run("reward_answers", settings.model_dump(mode="json"), inputs, params)
        found = pl.Series("reward", settings.of(items, self._store, version), dtype=pl.Float64)
        return items.select(found, completion_id="id")

    def reference(self, items: pl.DataFrame, reference: Any, origin: Folder | None) -> pl.DataFrame:
        """The reference's columns of ``ONLINE_SAMPLES``, by completion_id."""
        version, ids = (origin.version if origin else None), items["id"].to_list()
        if self._store.missing(reference.kind, reference.key(version), ids):
            texts = items.select("prompt", "messages", completion_id="id")
            inputs = {"completions": write_input(self._home, texts, "completion_id")}
            params = {"folder": origin.path, "version": origin.version} if origin else {}
            self._run("reference_logps", reference.model_dump(mode="json"), inputs, params)
        return reference_rows(self._store, reference, ids, version).rename(
            {"logp": "reference_logp", "token_logps": "reference_tokens", "key": "reference_key"}
        )

    def _run(self, task: Any, config: dict[str, Any], inputs: dict[str, str], params: dict[str, Any]) -> dict[str, Any]:
        job = Job(task=task, home=str(self._home.root), config=config, inputs=inputs, params=params)
        return self._compute.run(self._context, job)


def _told(found: pl.DataFrame, answers: int, computed: int) -> Metadata:
    """What a person wants to know of a round: rewards, how they differ, and how far the policy went."""
    drawn = found.filter(pl.col("reward").is_not_null())
    total = max(1, int(drawn["count"].sum()))
    spread = [
        group_std([reward for reward, count in zip(rewards, counts, strict=True) for _ in range(count)])
        for rewards, counts in drawn.group_by("prompt_id", maintain_order=True)
        .agg("reward", "count")
        .select("reward", "count")
        .iter_rows()
    ]
    numbers = {
        "prompts": found["prompt_id"].n_unique(),
        "prompts_answered_now": computed,
        "answers_to_each": answers,
        "distinct_share": found.height / max(1, int(found["count"].sum())),
        "mean_reward": float((drawn["reward"] * drawn["count"]).sum()) / total,
        "mean_best_reward": drawn.group_by("prompt_id").agg(pl.col("reward").max())["reward"].mean(),
        "prompts_with_spread": sum(each > 0 for each in spread),
        "finished_share": float((found["finished"] * found["count"]).sum()) / max(1, int(found["count"].sum())),
        "without_reward": found.height - drawn.height,
    }
    return series({name: value for name, value in numbers.items() if value is not None})


def _shown(found: pl.DataFrame) -> Metadata:
    text = pl.col("messages").list.first().struct.field("content")
    best = found.sort("reward", "completion_id", descending=[True, False], nulls_last=True).head(5)
    return {"highest rewards": preview(best.select("reward", "count", "sampled_tokens", text=text))}
