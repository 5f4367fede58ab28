"""Answers of the current policy, with the log-probabilities that it gave them as it drew them."""

from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pool import seeded_hash
from pref_assets.scoring.reward.rollouts import ConstraintRewards
from pref_assets.settings import PolicyName, ReferenceName, Settings, SubsetName, digest
from pref_assets.training.data import encode, sequence_id, with_shown
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.online.rewards import CheckpointRewards, JudgeRewards, RewardConfig
from pref_assets.training.reference import ReferenceLogps

DRAWN = "drawn_answers"
"""Kind of the store: id (prompt), and lists over its answers in the order in which they were drawn."""


class OnlineSamples(Settings):
    """Answers that a policy gives to prompts, and what they earn: the data of a round of online training. `online`
    makes one a round; by itself it is a data set of the policy's own answers.

    The policy, the reward model and the reference are asked one after the other, never two in memory at once.
    """

    subset: SubsetName
    """The prompts that are answered are those of its selected pairs."""
    base: ReferenceName
    """The reference, whose log-probabilities of the answers are computed too."""
    start: PolicyName | None = None
    """The policy that answers; left out, the reference itself."""
    prompts: int | None = Field(default=None, ge=1)
    """How many of the prompts, drawn by `seed`; all of them if left out."""
    answers: int = Field(default=4, ge=2, le=1024)
    """Answers to each prompt."""
    sampling: Sampling = Sampling(temperature=1.0)
    """How answers are drawn. Policy gradients assume temperature 1 and the whole vocabulary."""
    reward: RewardConfig = ConstraintRewards()
    """What an answer earns."""
    seed: int = Field(default=0, ge=0)
    """Which prompts."""
    save_every: int = Field(default=16, ge=1)
    """Prompts between two commits to the store; a killed run loses at most this many."""

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0: all answers to a prompt would be the same; raise it")
        return self

    def asked(self, decisions: pl.DataFrame, pairs: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
        """The prompts to answer, as in the prompts table, images in their places, ordered by id. Those with images are
        left out where nobody who sees them would say what their answers earn: under a reward model, or a judge that
        they are not shown to.

        Raises:
            TrainingDataError: there is none: the subset is empty, or the reward is by constraints and none states any.
        """
        from pref_assets.synthesis.verifiable.verifier import constraints_of

        selected = pairs.join(decisions.filter("selected"), on="pair_id", how="semi").select("prompt_id").unique()
        found = prompts.join(selected, on="prompt_id", how="semi").sort("prompt_id")
        blind = isinstance(self.reward, CheckpointRewards)
        if blind or (isinstance(self.reward, JudgeRewards) and self.reward.longest_side is None):
            found = found.filter(pl.col("images").list.len().fill_null(0) == 0)
        if found.is_empty():
            raise TrainingDataError(f"subset {self.subset!r} has no prompts to answer")
        if isinstance(self.reward, ConstraintRewards):
            stated = pl.Series([bool(constraints_of(each)) for each in found["metadata"]], dtype=pl.Boolean)
            if not stated.any():
                raise TrainingDataError(
                    f"none of the {len(found)} prompts of subset {self.subset!r} states constraints in its metadata, "
                    "so no answer can be rewarded; choose another `reward`"
                )
            found = found.filter(stated)
        hashes = seeded_hash(found["prompt_id"], self.seed, "online")
        drawn = found.with_columns(hash=hashes).sort("hash").head(self.prompts or len(found))
        return with_shown(drawn.drop("hash").sort("prompt_id"))

    def key(self, policy: str, reference: ReferenceLogps) -> str:
        """Store key of the drawn answers.

        Args:
            policy: version of the checkpoint that answers, or the base model's identity.
            reference: says how much of a conversation is read.
        """
        drawn = self.sampling.model_dump(exclude={"batch_size"})
        return digest(["drawn", policy, self.answers, drawn, reference.max_length])


def sample_answers(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: draws what the store lacks.

    Args:
        job: ``config`` is an ``OnlineSamples``; ``inputs["prompts"]`` Parquet(id, messages); ``params`` has ``key``,
            ``reference`` (a ``ReferenceLogps``, dumped) and ``folder`` of the policy, null for the reference's base.
        report: told of progress.

    Returns:
        ``computed`` and ``reused`` prompts.
    """
    from pref_assets.models.loading import load_causal_lm, load_reader
    from pref_assets.training.policy import load_policy

    settings = OnlineSamples.model_validate(job.config)
    reference = ReferenceLogps.model_validate(job.params["reference"])
    store, key = Store(Home(Path(job.home)).store), str(job.params["key"])
    prompts = pl.read_parquet(job.inputs["prompts"])
    missing = store.missing(DRAWN, key, prompts["id"])
    if missing:
        todo = prompts.filter(pl.col("id").is_in(missing))
        folder = job.params["folder"]
        model = load_causal_lm(reference.model) if folder is None else load_policy(folder)[0]
        tokenizer, done = load_reader(reference.model), 0
        for part in todo.iter_slices(settings.save_every):
            store.append(DRAWN, key, drawn_rows(model, tokenizer, part, settings, reference))
            done += len(part)
            report.progress(done, len(todo), "prompts answered")
    return {"computed": len(missing), "reused": len(prompts) - len(missing)}


def drawn_rows(
    model: Any, tokenizer: Any, prompts: pl.DataFrame, settings: OnlineSamples, reference: ReferenceLogps
) -> pl.DataFrame:
    """Answers to prompts, a row each: id, and lists over the answers of ``text``, ``finished``, ``sampled_tokens``
    and ``sampler_logp``, the sum of log-probabilities of these tokens as training will read them."""
    from pref_assets.models.generation import draw_answers
    from pref_assets.training.logprobs import completion_token_logps

    asked = [turns for turns in prompts["messages"].to_list() for _ in range(settings.answers)]
    answers = draw_answers(model, tokenizer, asked, settings.sampling)
    texts = [each.text for each in answers]
    keys = list(zip(map(_key, asked), texts, strict=True))
    # An answer that was drawn several times is read once.
    encoded = {
        key: encode(tokenizer, turns, _said(text), reference.max_length)
        for key, turns, text in zip(keys, asked, texts, strict=True)
    }
    logps = completion_token_logps(model, list(encoded.values()), reference.batch_tokens)
    of_tokens = dict(zip(encoded, logps, strict=True))
    counts = [min(encoded[key].n_completion, each.n_tokens) for key, each in zip(keys, answers, strict=True)]
    sums = [float(of_tokens[key][:count].sum(dtype="float64")) for key, count in zip(keys, counts, strict=True)]
    n = settings.answers
    columns: dict[str, list[Any]] = {
        "text": texts,
        "finished": [each.finished for each in answers],
        "sampled_tokens": counts,
        "sampler_logp": sums,
    }
    return prompts.select("id").with_columns(
        pl.Series(name, [values[i : i + n] for i in range(0, len(texts), n)]) for name, values in columns.items()
    )


def distinct_answers(prompts: pl.DataFrame, drawn: pl.DataFrame) -> pl.DataFrame:
    """The drawn answers, each distinct one of a prompt once: frame(completion_id, prompt_id, prompt, messages, count,
    finished, sampled_tokens, sampler_logp) ordered by prompt and id.

    Args:
        prompts: prompt_id and messages.
        drawn: as ``drawn_rows`` makes it.
    """
    lists = ("text", "finished", "sampled_tokens", "sampler_logp")
    rows = drawn.select(pl.col("id").alias("prompt_id"), *lists).explode(*lists)
    once = rows.group_by("prompt_id", "text").agg(
        pl.len().cast(pl.Int64).alias("count"), *(pl.col(name).first() for name in lists[1:])
    )
    asked = once.join(prompts.select("prompt_id", prompt="messages"), on="prompt_id")
    said = [_said(text) for text in asked["text"]]
    ids = [sequence_id(prompt, messages) for prompt, messages in zip(asked["prompt"].to_list(), said, strict=True)]
    schema = prompts.schema["messages"]
    found = asked.with_columns(completion_id=pl.Series(ids, dtype=pl.String), messages=pl.Series(said, dtype=schema))
    return found.drop("text").sort("prompt_id", "completion_id")


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _key(turns: list[dict[str, str]]) -> str:
    return sequence_id(turns, [])
