"""What a trained reward model says of both sides of every pair."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.models.reference import PACKAGE, ModelReference, hub_id, identity, is_local
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, RankBy, Write, pair_scores, ranked_by, sides
from pref_assets.scoring.reward.classifiers import Dtype, load_classifier
from pref_assets.scoring.reward.items import IMAGES, completion_items, longest_first, with_images
from pref_assets.settings import RewardModelName, digest
from pref_assets.training.checkpoint import pair_ids, read_manifest
from pref_assets.training.job import Reporter

TRAINED_ON, TRUNCATED, WHOLE = "trained_on", "truncated", "whole"
REWARD = "reward"
"""Name of the only output of a checkpoint."""


class RewardModelScores(MeasuredScorer):
    """The reward of both answers of every pair under a sequence-classification reward model, read through its own chat
    template (Skywork-Reward, arXiv 2410.18451; GRM, 2406.10216; ArmoRM, 2406.12845), or under a reward model that this
    pipeline trained.

    One output is the reward. Of several, ``attributes`` says how they add up; the ArmoRM family weighs them itself,
    with its gate on the prompt, unless ``attributes`` is given. Any other model with several outputs and no
    ``attributes`` is refused: nobody said what its reward is. ``details`` hold the margin of every output by name
    where there are several. Code from a model's repository is never run, and a head that its files lack is an error.

    A conversation above ``max_length`` loses its oldest tokens but the first. ``category``: ``trained_on`` (the
    checkpoint learned from this very pair), ``truncated`` (of either side), ``images`` (no score: the prompt shows
    one, which nobody here looks at), ``whole``. On a GPU in bfloat16 padding moves the third digit; float32 is exact
    to 1e-5, hence the default.

    Needs: the model. Cost: one pass over each answer, once ever; weights and names of outputs cost nothing to change.
    """

    kind: ClassVar[str] = "reward_model_outputs"
    type: Literal["reward_model"] = "reward_model"
    model: ModelReference | None = None
    """The reward model; one from the hub with its revision (`org/name@commit`), because `main` moves."""
    checkpoint: RewardModelName | None = None
    """In its place: a reward model checkpoint of this pipeline."""
    attributes: dict[str, float] = Field(default_factory=dict)
    """Weights of outputs by name; those left out count nothing."""
    names: list[str] = Field(default_factory=list)
    """Names of the outputs in order, where the model's own configuration has none worth using."""
    rank_by: RankBy = "margin"
    """What selectors rank by: chosen minus rejected, either alone, or their mean."""
    dtype: Dtype = "float32"
    """What the model computes in; part of the key of what is stored. Ignored by checkpoints, which are float32."""
    max_length: int = Field(default=2048, ge=16, le=1_000_000)
    """Tokens read of prompt and answer. Checkpoints read as many as they were trained with."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """Tokens, padding included, that go through the model at once; changes no number. A GPU likes more."""
    save_every: int = Field(default=128, ge=1)
    """Answers between two commits to the store; a killed run loses at most this many."""

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("say either `model` or `checkpoint`")
        if self.model is not None:
            check_pinned(self.model)
        return self

    def key(self, pool: Pool) -> str:
        """Store key: the checkpoint's version, or model, revision, arithmetic and length.

        Raises:
            ModelNotFoundError: the model is not there.
            ValueError: the checkpoint is no reward model.
        """
        if self.checkpoint is None:
            return digest(["reward_model", identity(str(self.model)), self.dtype, self.max_length])
        manifest = read_manifest(pool.checkpoints[self.checkpoint])
        if manifest.kind != "reward_model":
            raise ValueError(f"checkpoint {self.checkpoint!r} is a {manifest.kind}, not a reward model")
        return digest(["reward_model_checkpoint", manifest.version])

    def items(self, pool: Pool) -> pl.DataFrame:
        """The compared completions after their prompts, (id, prompt, messages), but for prompts with images."""
        return completion_items(pool)

    def sources(self, pool: Pool) -> dict[str, str]:
        return {} if self.checkpoint is None else {"checkpoint": pool.checkpoints[self.checkpoint]}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Writes rows (id, reward, outputs, names, n_tokens, truncated).

        Returns:
            ``tokens`` read and ``truncated`` answers.

        Raises:
            ValueError: the model has several outputs and nobody says how they add up, or ``names`` or ``attributes``
                do not fit it; or see `load_classifier`.
            TrainingDataError: the chat template refuses a conversation.
        """
        parts = longest_first(items).iter_slices(self.save_every)
        rows = self._by_checkpoint(parts, sources) if self.checkpoint else self._by_classifier(parts)
        counted = {"tokens": 0.0, "truncated": 0.0}
        done = 0
        for part in rows:
            write(part)
            done += part.height
            report.progress(done, items.height, "answers")
            counted["tokens"] += float(part["n_tokens"].to_numpy().sum())
            counted["truncated"] += float(part["truncated"].to_numpy().sum())
        return counted

    def _by_classifier(self, parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        model = load_classifier(str(self.model), self.dtype, self.max_length)
        self.weights(model.names, gated=model.gated)
        for part in parts:
            read = [model.read(prompt, messages) for prompt, messages in part.select("prompt", "messages").iter_rows()]
            outputs, reward = model.outputs(read, self.batch_tokens)
            lengths, cut = [len(each.ids) for each in read], [each.truncated for each in read]
            yield _rows(part["id"], reward, outputs, model.names, lengths, cut, gated=model.gated)

    def _by_checkpoint(self, parts: Iterator[pl.DataFrame], sources: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        from pref_assets.training.reward_model import load_reward_model, reward_text

        model = load_reward_model(sources["checkpoint"])
        self.weights([REWARD], gated=False)
        for part in parts:
            texts = [reward_text(*each) for each in part.select("prompt", "messages").iter_rows()]
            whole = [len(ids) for ids in model.tokenizer(texts)["input_ids"]]
            reward = model.score(texts, self.batch_tokens)
            lengths, cut = [min(n, model.max_length) for n in whole], [n > model.max_length for n in whole]
            yield _rows(part["id"], reward, reward[:, None], [REWARD], lengths, cut, gated=False)

    def weights(self, names: Sequence[str], *, gated: bool) -> list[float] | None:
        """Weight of each output in the reward; null where the model's own gate weighs them. Raises as ``measure``."""
        return output_weights(self.names or names, len(names), self.attributes, gated=gated)

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows."""
        names: list[str] = []
        known = pl.DataFrame(schema={"id": pl.String, "value": pl.Float64, "truncated": pl.Boolean})
        if not measured.is_empty():
            names = self.names or measured["names"][0].to_list()
            known = with_values(measured, self.weights(measured["names"][0].to_list(), gated=measured["gated"][0]))
            known = known.with_columns(pl.col("outputs").list.get(i).alias(each) for i, each in enumerate(names))
        several = names if len(names) > 1 else []
        frame = sides(pool.pairs, known, ["value", "truncated", *several])
        cut = (pl.col("truncated_chosen") | pl.col("truncated_rejected")).fill_null(value=False)
        category = (
            pl.when(pl.col("pair_id").is_in(self._trained_on(pool)))
            .then(pl.lit(TRAINED_ON))
            .when(pl.col("pair_id").is_in(with_images(pool)))
            .then(pl.lit(IMAGES))
            .when(cut)
            .then(pl.lit(TRUNCATED))
            .otherwise(pl.lit(WHOLE))
        )
        chosen, rejected = pl.col("value_chosen"), pl.col("value_rejected")
        frame = frame.with_columns(
            score=ranked_by(self.rank_by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
            category=category,
            **{each: pl.col(f"{each}_chosen") - pl.col(f"{each}_rejected") for each in several},
        )
        return pair_scores(frame, several)

    def _trained_on(self, pool: Pool) -> list[str]:
        return [] if self.checkpoint is None else pair_ids(pool.checkpoints[self.checkpoint])


def _rows(
    ids: pl.Series,
    reward: NDArray[np.float64],
    outputs: NDArray[np.float64],
    names: list[str],
    n_tokens: list[int],
    truncated: list[bool],
    *,
    gated: bool,
) -> pl.DataFrame:
    """Rows for the store: ``reward`` (n,) and ``outputs`` (n, len(names)) of each answer."""
    frame = pl.DataFrame({"id": ids, "reward": reward, "n_tokens": n_tokens, "truncated": truncated})
    return frame.with_columns(
        outputs=pl.Series(outputs.tolist(), dtype=pl.List(pl.Float64)),
        names=pl.Series([names] * len(ids), dtype=pl.List(pl.String)),
        gated=pl.lit(gated),
    )


def check_pinned(model: str) -> None:
    """Raises ``ValueError`` when a model of the hub is named without its revision."""
    if not model.startswith(PACKAGE) and not is_local(model) and hub_id(model)[1] is None:
        raise ValueError(
            f"{model}: say which revision (`{model}@<commit>`); what it scores is kept for ever, and `main` moves"
        )


def output_weights(
    names: Sequence[str], count: int, attributes: Mapping[str, float], *, gated: bool
) -> list[float] | None:
    """Weight of each of ``count`` outputs in the reward; null where the model's own gate weighs them.

    Raises:
        ValueError: as `RewardModelScores.measure`.
    """
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"`names` holds {len(set(names))} different names, but the model has {count} outputs")
    if unknown := sorted(set(attributes) - set(names)):
        raise ValueError(f"the model has no output {', '.join(map(repr, unknown))}; it has {', '.join(names)}")
    if attributes:
        return [attributes.get(name, 0.0) for name in names]
    if gated:
        return None
    if count > 1:
        raise ValueError(
            f"the model has {count} outputs ({', '.join(names)}) and does not say how they make a reward; "
            "give their weights in `attributes`"
        )
    return [1.0]


def with_values(measured: pl.DataFrame, weights: Sequence[float] | None) -> pl.DataFrame:
    """The rows with ``value``, the one reward of each: the weighted sum of its outputs, or what the gate made."""
    if weights is None:
        return measured.with_columns(value="reward")
    parts = [weight * pl.col("outputs").list.get(i) for i, weight in enumerate(weights) if weight]
    return measured.with_columns(value=pl.sum_horizontal(parts) if parts else pl.lit(0.0))
