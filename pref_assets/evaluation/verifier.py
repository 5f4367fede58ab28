"""Constraint satisfaction: policies answer held-out prompts, and a program checks every answer exactly.

The counts are those of IFEval (Zhou et al. 2023, arXiv 2311.07911): a share of constraints, and a share of prompts
with every constraint met. Each policy is compared with its own base on the same prompts, so the gain is paired.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.evaluation import baselines
from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError, sample
from pref_assets.evaluation.intervals import bootstrap_mean, group_numbers, share
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pairs.splits import TEST
from pref_assets.pairs.texts import text_of
from pref_assets.settings import digest
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName

GENERATIONS = "generations"
"""Kind of the store: id (prompt), model, prompt, text; a table of answers that a person can read."""

MET = pl.Schema({"prompt_id": pl.String, "constraint": pl.Int64, "family": pl.String, "met": pl.Float64})
"""A row for each constraint of each prompt: ``met`` is 1 or 0, or a share where several answers are averaged."""


class Verifier(Evaluation):
    """Share of constraints that a policy's answers meet, before (its base) and after.

    - ``constraints_met``: share of all constraints, also by family; interval clustered by prompt;
    - ``prompts_met``: share of prompts with every constraint met;
    - ``constraints_gain``, ``prompts_gain``: after minus before on the same prompts, bootstrap interval over prompts.

    Baselines: the untrained base; and answering with a recorded completion of the prompt: the longest, the shortest,
    or a random one.
    """

    type: Literal["verifier"] = "verifier"
    checkpoint_kind: ClassVar[Kind] = "policy"
    task: ClassVar[TaskName] = "evaluate_policy"

    prompts: int = Field(default=64, ge=1)
    """Held-out prompts with constraints to answer, drawn by `seed`; all when there are fewer."""
    sampling: Sampling = Sampling(temperature=0.0)
    """How answers are drawn; greedy unless said otherwise."""

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``prompts``: the sampled prompts, frame(id, messages)."""
        return {"prompts": self.test_prompts(inputs).select(pl.col("prompt_id").alias("id"), "messages")}

    def test_prompts(self, inputs: Inputs) -> pl.DataFrame:
        """Sampled held-out prompts that state constraints, with ``constraints`` as a list of JSON-like objects.

        Raises:
            NothingHeldOutError: there is none.
        """
        from pref_assets.synthesis.verifiable.verifier import constraints_of

        test = inputs.prompts.filter(pl.col("split") == TEST)
        stated = [bool(constraints_of(metadata)) for metadata in test["metadata"]]
        if not any(stated):
            raise NothingHeldOutError(
                f"no prompt to verify on: {test.height} prompts are in the split {TEST!r}, and none names constraints "
                "in its metadata; `verifier` needs prompts as `pref_assets.synthesis.verifiable` writes them"
            )
        return sample(test.filter(pl.Series(stated)), "prompt_id", self.prompts, self.seed)

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        prompts = self.test_prompts(inputs)
        rows = recorded_rows(prompts, inputs.completions)
        bases: dict[str, pl.DataFrame] = {}
        for checkpoint in inputs.checkpoints:
            base = baselines.untrained(str(checkpoint.base))
            if base not in bases:
                bases[base] = self._verdicts(base_model(checkpoint), prompts, home)
                rows += _satisfaction(Margins(base, None, bases[base], True))
            after = self._verdicts(checkpoint.version, prompts, home)
            scored = Margins(checkpoint.name, checkpoint.version, after)
            rows += _satisfaction(scored) + _gain(scored, bases[base], self.seed, self.resamples)
        return EVALUATIONS.frame(rows)

    def _verdicts(self, model: str, prompts: pl.DataFrame, home: Home) -> pl.DataFrame:
        from pref_assets.features.store import Store

        stored = Store(home.store).read(
            GENERATIONS, generations_key(model, self.sampling), prompts["prompt_id"].to_list()
        )
        return verdicts(prompts, stored.select(pl.col("id").alias("prompt_id"), "text"))


def base_model(checkpoint: CheckpointRef) -> str:
    """What identifies the answers of a checkpoint's base: the base model's identity, or the version of the checkpoint
    that is the reference."""
    from pref_assets.models.reference import identity

    return checkpoint.reference_version or identity(str((checkpoint.reference or {})["model"]))


def generations_key(model: str, sampling: Sampling) -> str:
    """Store key of a model's answers: the checkpoint version or the base's identity, and what changes an answer."""
    return digest({"model": model, **sampling.model_dump(exclude={"batch_size"})})


def verdicts(prompts: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Checks answers: a ``MET`` row for each constraint of each prompt, averaged over the answers of the prompt.

    Args:
        prompts: prompt_id and metadata (JSON that names constraints).
        answers: (prompt_id, text), one or more for a prompt; prompts without any are left out.
    """
    from pref_assets.synthesis.verifiable.verifier import constraints_of, verify

    texts = dict(answers.group_by("prompt_id").agg("text").iter_rows())
    rows = [
        (prompt, number, constraint["family"], float(np.mean([verify(constraint, text) for text in texts[prompt]])))
        for prompt, metadata in prompts.select("prompt_id", "metadata").iter_rows()
        if prompt in texts
        for number, constraint in enumerate(constraints_of(metadata))
    ]
    return pl.DataFrame(rows, schema=MET, orient="row").sort("prompt_id", "constraint")


def recorded_rows(prompts: pl.DataFrame, completions: pl.DataFrame) -> list[dict[str, Any]]:
    """What answering with a recorded completion of the prompt would give: longest, shortest, random (its mean)."""
    recorded = completions.join(prompts.select("prompt_id"), on="prompt_id", how="semi").select(
        "prompt_id", "completion_id", text=text_of("messages")
    )
    by_length = recorded.sort(pl.col("text").str.len_chars(), "completion_id")
    rules = {
        baselines.LONGER: by_length.group_by("prompt_id").last(),
        baselines.SHORTER: by_length.group_by("prompt_id").first(),
        baselines.RANDOM: recorded,
    }
    rows = []
    for name, answers in rules.items():
        met = verdicts(prompts, answers)
        # A random completion meets all constraints of a prompt as often as its completions do, not as their means say.
        rows += _satisfaction(Margins(name, None, met, True), whole=name != baselines.RANDOM)
    return rows


def _satisfaction(of: Margins, whole: bool = True) -> list[dict[str, Any]]:
    """``constraints_met`` on every slice and, with ``whole``, ``prompts_met`` of a ``MET`` frame."""
    met = of.frame
    if met.is_empty():
        return []
    parts: list[tuple[str, pl.DataFrame]] = [("all", met)]
    parts += [
        (f"family:{family}", part) for (family,), part in met.sort("family").group_by("family", maintain_order=True)
    ]
    rows = [row(of, "constraints_met", name, share(_met(part), _groups(part))) for name, part in parts]
    if whole:
        prompts = _by_prompt(met)
        rows.append(row(of, "prompts_met", "all", share(_met(prompts), _groups(prompts))))
    return rows


def _gain(after: Margins, before: pl.DataFrame, seed: int, resamples: int) -> list[dict[str, Any]]:
    rows = []
    for metric, left, right in (
        ("constraints_gain", after.frame, before),
        ("prompts_gain", _by_prompt(after.frame), _by_prompt(before)),
    ):
        keys = [name for name in ("prompt_id", "constraint") if name in left.columns]
        paired = left.join(right.select(*keys, pl.col("met").alias("before")), on=keys).sort(keys)
        change = paired.with_columns(met=pl.col("met") - pl.col("before"))
        rows.append(row(after, metric, "all", bootstrap_mean(_met(change), _groups(change), seed, resamples)))
    return rows


def _by_prompt(met: pl.DataFrame) -> pl.DataFrame:
    return met.group_by("prompt_id").agg((pl.col("met") == 1).all().cast(pl.Float64)).sort("prompt_id")


def _met(frame: pl.DataFrame) -> Any:
    return frame["met"].to_numpy()


def _groups(frame: pl.DataFrame) -> Any:
    return group_numbers(frame["prompt_id"].to_list())
