"""Answers of policies to held-out prompts: what win rates, KL, diversity and best-of-n look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.evaluation import baselines
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError, sample
from pref_assets.evaluation.seen import seen_prompts
from pref_assets.evaluation.verifier import GENERATIONS, base_model, generations_key
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.image_controls import ImageControl
from pref_assets.pairs.schema import completion_id
from pref_assets.pairs.splits import TEST
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName


@dataclass(frozen=True)
class Answerer:
    """Who answers.

    Attributes:
        name: a checkpoint, or ``untrained <base>``.
        model: what identifies its answers in the store: the checkpoint's version, or the base's identity.
        version: of a checkpoint that is measured; null for a base.
        folder: of a checkpoint; null for a base model.
        reference: model reference of a base model; null for a checkpoint.
    """

    name: str
    model: str
    version: str | None = None
    folder: Path | None = None
    reference: str | None = None

    def load(self) -> tuple[Any, Any]:
        """Model and its reader, ready to generate or score."""
        from pref_assets.models.loading import load_causal_lm, load_reader
        from pref_assets.training.policy import load_policy

        if self.folder is not None:
            return load_policy(self.folder)
        assert self.reference is not None
        return load_causal_lm(self.reference), load_reader(self.reference)


def policy(checkpoint: CheckpointRef) -> Answerer:
    """A checkpoint as one who answers."""
    return Answerer(checkpoint.name, checkpoint.version, checkpoint.version, checkpoint.folder)


def base(checkpoint: CheckpointRef) -> Answerer:
    """The reference of a policy: the model it was trained from, or an earlier checkpoint."""
    earlier, name = checkpoint.reference_folder, baselines.untrained(str(checkpoint.base))
    model = None if earlier else str((checkpoint.reference or {})["model"])
    return Answerer(name, base_model(checkpoint), folder=earlier, reference=model)


def with_bases(checkpoints: Sequence[CheckpointRef]) -> list[Answerer]:
    """Each checkpoint after its base, each model once, bases first."""
    found = [base(each) for each in checkpoints] + [policy(each) for each in checkpoints]
    return list({each.model: each for each in found}.values())


def draw(sampling: Sampling, number: int) -> Sampling:
    """How the ``number``-th answer to each prompt (from 0) is drawn: with the next seed, so that more answers are more
    of the same and those of `verifier` are the first."""
    return sampling.model_copy(update={"seed": sampling.seed + number})


class PolicyAnswers(Evaluation):
    """What evaluations of policies by their own answers share. Subclasses set ``type`` and implement ``rows``."""

    checkpoint_kind: ClassVar[Kind] = "policy"
    task: ClassVar[TaskName] = "evaluate_policy"

    prompts: int = Field(default=64, ge=1)
    """Held-out prompts to answer, drawn by `seed`; all when there are fewer."""
    samples: int = Field(default=1, ge=1, le=1024)
    """Answers to each prompt."""
    sampling: Sampling = Sampling(temperature=1.0)
    """How answers are drawn."""
    images: ImageControl = "own"
    """What is shown of prompts with images: their own, those of another prompt (drawn by `seed`), or `none`: what a
    policy says without looking."""

    @model_validator(mode="after")
    def _several_are_drawn(self) -> Self:
        if self.samples > 1 and self.sampling.temperature == 0:
            raise ValueError("`samples` above 1 needs a temperature above 0: greedy answers are all the same")
        return self

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``prompts``: the sampled prompts, frame(id, messages)."""
        return {"prompts": self.test_prompts(inputs).select(pl.col("prompt_id").alias("id"), "messages")}

    def test_prompts(self, inputs: Inputs) -> pl.DataFrame:
        """Sampled held-out prompts, sorted by id, with their images in place: frame(prompt_id, messages). Where other
        images are shown than a prompt's own, its id is that of the prompt as it is shown.

        Raises:
            NothingHeldOutError: there is none.
            ValueError: see ``seen.seen_prompts``.
        """
        test = inputs.prompts.filter(pl.col("split") == TEST)
        if test.is_empty():
            raise NothingHeldOutError(
                f"no prompt to answer: the split {TEST!r} holds none; give it a share under `pairs: splits`"
            )
        return self.shown(sample(test, "prompt_id", self.prompts, self.seed))

    def shown(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """Prompts (prompt_id, messages, images, split) as they are asked: frame(prompt_id, messages) sorted by id."""
        return self.seen(prompts).select(prompt_id="asked", messages="messages").sort("prompt_id")

    def seen(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """Prompts (prompt_id, messages, images, split) with what is shown: see ``seen.seen_prompts``."""
        return seen_prompts(prompts, self.images, self.seed)

    def draws(self) -> list[Sampling]:
        """The settings of each answer to a prompt."""
        return [draw(self.sampling, number) for number in range(self.samples)]


def stored_answers(home: Home, who: Answerer, prompt_ids: Sequence[str], draws: Sequence[Sampling]) -> pl.DataFrame:
    """Answers that the task has stored: frame(prompt_id, draw, text, completion_id), by draw and then as the prompts.

    Raises:
        MissingRowsError: one was never drawn.
    """
    from pref_assets.features.store import Store

    store = Store(home.store)
    parts = [
        store.read(GENERATIONS, generations_key(who.model, sampling), prompt_ids).select(
            prompt_id="id", draw=pl.lit(number, pl.Int64), text="text"
        )
        for number, sampling in enumerate(draws)
    ]
    answers = pl.concat(parts)
    ids = [completion_id(prompt, said(text)) for prompt, text in answers.select("prompt_id", "text").iter_rows()]
    return answers.with_columns(completion_id=pl.Series(ids, dtype=pl.String))


def said(text: str) -> list[dict[str, str]]:
    """An answer's text as its turns."""
    return [{"role": "assistant", "content": text}]
