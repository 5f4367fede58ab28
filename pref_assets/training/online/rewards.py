"""What an answer earns: constraints that a program checks, a reward model of the pipeline, or a judge's rating."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, TypeAdapter, field_validator

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pairs.messages import shown_images
from pref_assets.pairs.schema import MESSAGES
from pref_assets.pairs.texts import content_text
from pref_assets.scoring.judging.answers import ANSWERS, ask_all, conversation, question_id, questions
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.render import check_template, filled
from pref_assets.scoring.reward.rollouts import ConstraintRewards
from pref_assets.settings import RewardModelName, Settings
from pref_assets.training.job import Job, Reporter

REWARDS = "answer_rewards"
"""Kind of the store: id (completion), reward; the key is the reward model's version."""
SAVE_EVERY = 64
_RATING = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")


class CheckpointRewards(Settings):
    """Rewards by a reward model that this pipeline trained."""

    type: Literal["checkpoint"] = "checkpoint"
    checkpoint: RewardModelName
    """The reward model."""

    def missing(self, items: pl.DataFrame, store: Store, version: str | None) -> list[str]:
        """Ids of the items that have no reward yet."""
        return store.missing(REWARDS, str(version), items["id"])

    def of(self, items: pl.DataFrame, store: Store, version: str | None) -> list[float | None]:
        """Rewards of the items, in their order; every one was measured."""
        return store.read(REWARDS, str(version), items["id"].to_list())["reward"].to_list() if len(items) else []


class JudgeRewards(Settings):
    """Rewards by a language model that rates each answer alone: single answer grading, Zheng et al., "Judging
    LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv:2306.05685), section 3.1. An answer without a readable
    rating gets no reward and is not learned from."""

    type: Literal["judge"] = "judge"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking()
    """How ratings are drawn."""
    instructions: str = (
        "You rate an answer to a request: correctness, helpfulness, safety, clarity. Its length is no reason. Say in a "
        "sentence what decides, then end with a rating from 1 (useless) to 10 (could not be better) on a line of its "
        "own, as in [[5]]."
    )
    """System message; empty for models without one."""
    template: str = (
        "<request>\n{prompt}\n</request>\n\n<answer>\n{answer}\n</answer>\n\nRate the answer: [[1]] to [[10]]."
    )
    """The question, with `{prompt}` and `{answer}`; it asks for a number in double brackets."""
    longest_side: int | None = Field(default=None, ge=16, le=4096)
    """Shows the prompt's images to a judge that sees, none with a longer side than so many pixels. Null: prompts with
    images are not answered, as nobody could say what their answers are worth."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("prompt", "answer"))

    def asked(self, items: pl.DataFrame) -> pl.DataFrame:
        """The question about each item: frame(id, question, messages), in their order."""
        rows = []
        for id_, prompt, answer in items.select("id", "prompt", "messages").iter_rows():
            text = filled(self.template, {"prompt": content_text(prompt), "answer": content_text(answer)})
            messages = conversation(self.instructions, text, shown_images(prompt), self.longest_side)
            rows.append({"id": id_, "question": question_id(messages), "messages": messages})
        return pl.DataFrame(rows, schema={"id": pl.String, "question": pl.String, "messages": MESSAGES})

    def missing(self, items: pl.DataFrame, store: Store, version: str | None) -> list[str]:
        """As ``CheckpointRewards.missing``."""
        asked = self.asked(items)
        lacking = set(store.missing(ANSWERS, answers_key(self.endpoint, self.asking), asked["question"]))
        return asked.filter(pl.col("question").is_in(list(lacking)))["id"].to_list()

    def of(self, items: pl.DataFrame, store: Store, version: str | None) -> list[float | None]:
        """As ``CheckpointRewards.of``; null where the rating cannot be read."""
        ids = self.asked(items)["question"].to_list()
        found = store.read(ANSWERS, answers_key(self.endpoint, self.asking), ids) if ids else None
        said = {} if found is None else dict(found.select("id", "answer").iter_rows())
        return [rating(said[each]) for each in ids]


RewardConfig = Annotated[ConstraintRewards | CheckpointRewards | JudgeRewards, Field(discriminator="type")]
"""What `reward:` of an online entry may be."""
MeasuredRewards = CheckpointRewards | JudgeRewards


def rating(answer: str) -> float | None:
    """The last number in double brackets; null without one."""
    found = _RATING.findall(answer)
    return float(found[-1]) if found else None


def constraint_rewards(settings: ConstraintRewards, items: pl.DataFrame) -> list[float | None]:
    """Rewards of answers by the constraints in their prompts' ``metadata``; no model is asked.

    Args:
        items: frame with messages and metadata.
    """
    return [
        settings.of(metadata, [content_text(messages)])[0]
        for messages, metadata in items.select("messages", "metadata").iter_rows()
    ]


def reward_answers(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: rewards what the store lacks.

    Args:
        job: ``config`` is a ``CheckpointRewards`` or ``JudgeRewards``; ``inputs["items"]`` Parquet(id, prompt,
            messages); ``params`` has ``folder`` and ``version`` of the checkpoint, if there is one.
        report: told of progress.

    Returns:
        ``computed`` and ``reused`` answers, and what the judge counted.

    Raises:
        ServerError: the judge did not answer.
    """
    settings: MeasuredRewards = _ADAPTER.validate_python(job.config)
    store, items = Store(Home(Path(job.home)).store), pl.read_parquet(job.inputs["items"])
    missing = settings.missing(items, store, job.params.get("version"))
    todo = items.filter(pl.col("id").is_in(missing))
    counted: dict[str, float] = {}
    if missing and isinstance(settings, CheckpointRewards):
        _score(todo, job, store, report)
    elif missing and isinstance(settings, JudgeRewards):
        asked = settings.asked(todo)
        frame = questions((id_, turns, 0) for id_, turns in asked.select("question", "messages").iter_rows())
        key = answers_key(settings.endpoint, settings.asking)
        counted = ask_all(settings.endpoint, settings.asking, frame, _keep(store, key), report)
    return {**counted, "computed": len(missing), "reused": len(items) - len(missing)}


_ADAPTER: TypeAdapter[MeasuredRewards] = TypeAdapter(MeasuredRewards)


def _keep(store: Store, key: str) -> Callable[[pl.DataFrame], None]:
    return lambda rows: store.append(ANSWERS, key, rows)


def _score(todo: pl.DataFrame, job: Job, store: Store, report: Reporter) -> None:
    from pref_assets.training.reward_backbone import reward_text
    from pref_assets.training.reward_model import load_reward_model

    model, done = load_reward_model(job.params["folder"]), 0
    for part in todo.iter_slices(SAVE_EVERY):
        texts = [reward_text(*each) for each in part.select("prompt", "messages").iter_rows()]
        rewards = pl.Series("reward", model.score(texts), dtype=pl.Float64)
        store.append(REWARDS, str(job.params["version"]), part.select("id", rewards))
        done += len(part)
        report.progress(done, len(todo), "answers rewarded")
