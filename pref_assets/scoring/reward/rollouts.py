"""What a model's own answers to the prompt of a pair earn, and how much they differ."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.models.generation import Sampling
from pref_assets.models.reference import ModelReference, identity
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, Write, pair_scores
from pref_assets.scoring.reward.classifiers import Dtype, load_classifier
from pref_assets.scoring.reward.groups import STD_FLOOR, group_std
from pref_assets.scoring.reward.items import IMAGES, shows_image
from pref_assets.scoring.reward.model import check_pinned, output_weights
from pref_assets.settings import PolicyName, Settings, digest
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.data import with_shown
from pref_assets.training.job import Reporter

DETAILS = ("n", "mean", "std", "min", "max", "pass_rate")
TWO_PROMPTS, NO_REWARD = "two_prompts", "no_constraints"


class ConstraintRewards(Settings):
    """Rewards by the constraints that a prompt states in its metadata, checked by a program."""

    type: Literal["constraints"] = "constraints"
    count: Literal["all", "share"] = "all"
    """`all`: 1 when every constraint is met, else 0; `share`: the share that is met."""

    def of(self, metadata: str | None, answers: Sequence[str]) -> list[float]:
        """Reward of each answer to a prompt with this metadata; empty when it states no constraint."""
        from pref_assets.synthesis.verifiable.verifier import constraints_of, share_met

        stated = constraints_of(metadata)
        shares = [share_met(stated, answer) for answer in answers] if stated else []
        return [float(share == 1) for share in shares] if self.count == "all" else shares


class ClassifierRewards(Settings):
    """Rewards by a sequence-classification reward model, as scorer `reward_model` reads it."""

    type: Literal["reward_model"] = "reward_model"
    model: ModelReference
    """The reward model; one from the hub with its revision."""
    attributes: dict[str, float] = Field(default_factory=dict)
    """Weights of its outputs by name, where it has several."""
    dtype: Dtype = "float32"
    """What it computes in."""
    max_length: int = Field(default=2048, ge=16, le=1_000_000)
    """Tokens it reads of prompt and answer."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        check_pinned(self.model)
        return self


AnswerRewards = Annotated[ConstraintRewards | ClassifierRewards, Field(discriminator="type")]


class RolloutReward(MeasuredScorer):
    """Samples several answers to each prompt of a pair from a language model and rewards each: what the model can
    already do there, and how much its answers differ (Li et al., "Reinforcement Learning Tuning for VideoLLMs",
    arXiv 2506.01908, variance-aware data selection; card 5; the paper's video is left out).

    ``score`` is the standard deviation of the rewards of the pair's prompt; ``details``: ``n``, ``mean``, ``std``
    (population), ``min``, ``max``, ``pass_rate`` (share of answers whose reward is at least ``passes_at``). A spread
    of rounding size counts as 0. ``category``: null, or why there is no score: ``two_prompts`` (the sides answer
    different ones), ``no_constraints`` (the prompt states none), ``images`` (the prompt shows some, and the reward
    model reads text alone; a model that sees answers with them, and constraints are checked all the same). Selector
    `reward_variance` is made for it.

    Answers are drawn with random numbers of their own, whatever the batch (`models.generation`); float rounding can
    still turn a draw, rarely in float32. Choices: N and the threshold are open in the paper; population deviation.

    Needs: a causal language model; prompts with constraints, or a reward model. Cost: N answers a prompt.
    """

    kind: ClassVar[str] = "rollouts"
    type: Literal["rollout_reward"] = "rollout_reward"
    model: ModelReference | None = None
    """The language model that answers."""
    checkpoint: PolicyName | None = None
    """In its place: a policy checkpoint of this pipeline."""
    dtype: Dtype = "float32"
    """What the language model computes in; checkpoints say it themselves. In bfloat16 draws depend on their batch."""
    reward: AnswerRewards = ConstraintRewards()
    """What an answer earns: `constraints` (default) or a `reward_model`."""
    n_rollouts: int = Field(default=8, ge=2, le=1024)
    """Answers to each prompt."""
    passes_at: float = 1.0
    """Least reward of an answer that counts as right."""
    sampling: Sampling = Sampling()
    """How answers are drawn; not greedily, which would give the same one every time."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """New tokens of answers that grow together, and tokens that go through the reward model at once; changes no
    number."""
    save_every: int = Field(default=16, ge=1)
    """Prompts between two commits to the store; a killed run loses at most this many."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("say either `model` or `checkpoint`")
        if self.model is not None:
            check_pinned(self.model)
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0: all answers to a prompt would be the same; raise it")
        return self

    @property
    def draws(self) -> bool:
        return True

    def key(self, pool: Pool) -> str:
        """Store key: who answers and how, and the reward model. Constraints are checked anew each time.

        Raises:
            ModelNotFoundError: a model is not there.
            ValueError: the checkpoint is no policy.
        """
        if self.checkpoint is None:
            model = f"{identity(str(self.model))} {self.dtype}"
        else:
            manifest = read_manifest(pool.checkpoints[self.checkpoint])
            if manifest.kind != "policy":
                raise ValueError(f"checkpoint {self.checkpoint!r} is a {manifest.kind}, not a policy")
            model = manifest.version
        reward: Any = None
        if isinstance(self.reward, ClassifierRewards):
            reward = [identity(self.reward.model), self.reward.model_dump(exclude={"model"})]
        return digest(["rollouts", model, self.n_rollouts, self.sampling.model_dump(exclude={"batch_size"}), reward])

    def items(self, pool: Pool) -> pl.DataFrame:
        """The prompts of pairs that can be rewarded: frame (id, messages) ordered by id, images in their places.

        Raises:
            TrainingDataError: a prompt has other images than places for them.
            ValueError: no prompt states a constraint, and the reward is by constraints.
        """
        asked = pool.prompts.join(pool.pairs, on="prompt_id", how="semi").sort("prompt_id")
        if isinstance(self.reward, ConstraintRewards):
            from pref_assets.synthesis.verifiable.verifier import constraints_of

            stated = pl.Series([bool(constraints_of(each)) for each in asked["metadata"]], dtype=pl.Boolean)
            if asked.height and not stated.any():
                raise ValueError(
                    f"none of {asked.height} prompts states constraints in its metadata, so no answer can be rewarded; "
                    "use `reward: {type: reward_model, …}`"
                )
            asked = asked.filter(stated)
        else:
            asked = asked.filter(~shows_image())
        return with_shown(asked).select("messages", id="prompt_id").select("id", "messages")

    def sources(self, pool: Pool) -> dict[str, str]:
        return {} if self.checkpoint is None else {"checkpoint": pool.checkpoints[self.checkpoint]}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Writes rows (id, answers, rewards, mean_length, mean_reward); rewards are null where constraints give them.

        Returns:
            ``answers`` drawn and their mean ``characters``.

        Raises:
            ValueError, TrainingDataError: as the reward model's.
        """
        from pref_assets.models.generation import generate

        model, tokenizer = self._loaded(sources)
        together = max(1, min(self.sampling.batch_size, self.batch_tokens // self.sampling.max_new_tokens))
        sampling = self.sampling.model_copy(update={"batch_size": together})
        judge = _Judge(self.reward, self.batch_tokens) if isinstance(self.reward, ClassifierRewards) else None
        done, characters = 0, 0
        for part in items.iter_slices(self.save_every):
            asked = [messages for messages in part["messages"].to_list() for _ in range(self.n_rollouts)]
            texts = generate(model, tokenizer, asked, sampling)
            rewards = judge.rewards(asked, texts) if judge else None
            write(self._rows(part["id"], texts, rewards))
            done += part.height
            characters += sum(map(len, texts))
            report.progress(done, items.height, "prompts")
        drawn = done * self.n_rollouts
        return {"answers": float(drawn), "characters": characters / drawn if drawn else 0.0}

    def _loaded(self, sources: Mapping[str, str]) -> Any:
        if self.checkpoint is not None:
            from pref_assets.training.policy import load_policy

            return load_policy(sources["checkpoint"])
        from pref_assets.models.loading import load_causal_lm, load_reader

        return load_causal_lm(str(self.model), dtype=self.dtype), load_reader(str(self.model))

    def _rows(self, ids: pl.Series, texts: list[str], rewards: list[float] | None) -> pl.DataFrame:
        n = self.n_rollouts
        answers = [texts[start : start + n] for start in range(0, len(texts), n)]
        groups = None if rewards is None else [rewards[start : start + n] for start in range(0, len(texts), n)]
        rows = pl.DataFrame(
            {"id": ids, "answers": answers, "rewards": groups if groups is not None else [None] * len(ids)},
            schema={"id": pl.String, "answers": pl.List(pl.String), "rewards": pl.List(pl.Float64)},
        )
        length = pl.col("answers").list.eval(pl.element().str.len_chars()).list.mean()
        return rows.with_columns(mean_length=length, mean_reward=pl.col("rewards").list.mean())

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows of their prompts."""
        stats = self.stats(pool, measured)
        frame = pool.pairs.select("pair_id", "prompt_id").join(stats, on="prompt_id", how="left")
        why = (
            pl.when(pl.col("prompt_id").is_null())
            .then(pl.lit(TWO_PROMPTS))
            .when(pl.col("n").is_null())
            .then(pl.lit(NO_REWARD if isinstance(self.reward, ConstraintRewards) else IMAGES))
        )
        return pair_scores(frame.with_columns(score="std", category=why), DETAILS)

    def stats(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """Rewards of each prompt: frame (prompt_id, n, mean, std, min, max, pass_rate)."""
        schema = {"prompt_id": pl.String, **dict.fromkeys(DETAILS, pl.Float64)}
        if measured.is_empty():
            return pl.DataFrame(schema=schema)
        metadata = dict(pool.prompts.select("prompt_id", "metadata").iter_rows())
        rows = []
        for id_, answers, rewards in measured.select("id", "answers", "rewards").iter_rows():
            if isinstance(self.reward, ConstraintRewards):
                rewards = self.reward.of(metadata[id_], answers)
            rows.append((id_, *group_stats(rewards, self.passes_at)))
        return pl.DataFrame(rows, schema=schema, orient="row")


def group_stats(rewards: Sequence[float], passes_at: float = 1.0, floor: float = STD_FLOOR) -> tuple[float, ...]:
    """n, mean, population standard deviation (`group_std`), least, most, and share of at least ``passes_at``."""
    n = len(rewards)
    passes = sum(reward >= passes_at for reward in rewards) / n
    return float(n), sum(rewards) / n, group_std(rewards, floor), min(rewards), max(rewards), passes


class _Judge:
    """A reward model that gives each answer one number."""

    def __init__(self, settings: ClassifierRewards, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self._model = load_classifier(settings.model, settings.dtype, settings.max_length)
        names = self._model.names
        self._weights = output_weights(names, len(names), settings.attributes, gated=self._model.gated)

    def rewards(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        """One number for each answer to the prompt (turns) in its place."""
        turns = [[{"role": "assistant", "content": answer}] for answer in answers]
        read = [self._model.read(*each) for each in zip(prompts, turns, strict=True)]
        outputs, own = self._model.outputs(read, self._batch_tokens)
        found = own if self._weights is None else outputs @ self._weights
        return [float(each) for each in found]
