"""Who decides which of two answers is better: a reward model that was trained here, or a language model asked."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
from pydantic import Field, field_validator

from pref_assets.evaluation.answers import said
from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.reward import REWARD_SCORES
from pref_assets.evaluation.seen import refuse_blind
from pref_assets.home import Home
from pref_assets.pairs.texts import prompt_text
from pref_assets.scoring.judging.answers import ANSWERS, conversation, question_id
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.judge import INSTRUCTIONS, TEMPLATE
from pref_assets.scoring.judging.render import check_template, filled, shortened
from pref_assets.scoring.judging.verdicts import verdict
from pref_assets.settings import RewardModelName, Settings

if TYPE_CHECKING:
    from pref_assets.features.store import Store


JUDGE = "the judge"
"""Who cannot see, in messages."""


class RewardJudge(Settings):
    """A reward-model checkpoint: the answer with the higher reward is better."""

    type: Literal["reward_model"] = "reward_model"
    checkpoint: RewardModelName
    """The reward model; best one that trained on other pairs than the policies it judges."""
    tie: float = Field(default=0.0, ge=0)
    """Rewards no farther apart than this are a tie."""

    def version(self, others: Mapping[str, CheckpointRef]) -> CheckpointRef:
        """The checkpoint. Raises ``ValueError`` when it is no reward model."""
        found = others[self.checkpoint]
        if found.kind != "reward_model":
            raise ValueError(f"the judge's checkpoint {self.checkpoint!r} is a {found.kind}, not a reward_model")
        return found


class AskedJudge(Settings):
    """A language model behind an OpenAI-compatible server, asked in both orders (arXiv:2306.05685, section 3.4)."""

    type: Literal["asked"] = "asked"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking()
    """How its answers are drawn."""
    instructions: str = INSTRUCTIONS
    """System message; empty for models without one."""
    template: str = TEMPLATE
    """The question, with `{prompt}`, `{first}` and `{second}`; it asks for [[A]], [[B]] or [[C]]."""
    max_characters: int | None = Field(default=None, ge=2)
    """Longest text shown of the prompt and of each answer; of longer ones the middle is left out. Null: whole texts."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("prompt", "first", "second"))

    def asked(self, duels: pl.DataFrame) -> Iterator[tuple[int, bool, str, Messages]]:
        """(row, whether ours is shown first, question id, messages) of every duel, in both orders."""
        shown = duels.select(shortened(name, self.max_characters) for name in ("prompt", "ours", "theirs"))
        for place, (prompt, ours, theirs) in enumerate(shown.iter_rows()):
            for first, pair in ((True, (ours, theirs)), (False, (theirs, ours))):
                values = {"prompt": prompt, "first": pair[0], "second": pair[1]}
                messages = conversation(self.instructions, filled(self.template, values))
                yield place, first, question_id(messages), messages


JudgeConfig = Annotated[RewardJudge | AskedJudge, Field(discriminator="type")]


def duels(prompts: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Two models' answers side by side, sorted by prompt and draw.

    Args:
        prompts: (prompt_id, messages).
        ours, theirs: as ``answers.stored_answers`` returns them.

    Returns:
        prompt_id, draw, prompt (text), ours, theirs (texts), ours_id, theirs_id (completion ids).

    Raises:
        CannotSeeError: a prompt shows images, which no judge here sees.
    """
    refuse_blind(JUDGE, None, prompts["messages"].to_list())
    asked = prompts.select(
        "prompt_id", prompt=pl.Series([prompt_text(turns) for turns in prompts["messages"]], dtype=pl.String)
    )
    left = ours.select("prompt_id", "draw", ours="text", ours_id="completion_id")
    right = theirs.select("prompt_id", "draw", theirs="text", theirs_id="completion_id")
    both = left.join(right, on=["prompt_id", "draw"], validate="1:1").join(asked, on="prompt_id")
    return both.select("prompt_id", "draw", "prompt", "ours", "theirs", "ours_id", "theirs_id").sort(
        "prompt_id", "draw"
    )


def points(
    judge: RewardJudge | AskedJudge, fought: pl.DataFrame, others: Mapping[str, CheckpointRef], home: Home
) -> pl.Series:
    """Our share of the win in each duel, (n,) Float64: 1, 0, 0.5 for a tie; of an asked judge the mean of both orders,
    null where an answer of its holds no verdict.

    Raises:
        MissingRowsError: the task did not judge a duel.
    """
    from pref_assets.features.store import Store

    store = Store(home.store)
    if isinstance(judge, RewardJudge):
        ours, theirs = (rewards(judge, fought[f"{side}_id"], others, store) for side in ("ours", "theirs"))
        gap = ours - theirs
        won = pl.when(gap.abs() <= judge.tie).then(0.5).otherwise((gap > 0).cast(pl.Float64))
        return pl.select(won.alias("points")).to_series()
    questions = list(judge.asked(fought))
    key = answers_key(judge.endpoint, judge.asking)
    ids = list(dict.fromkeys(id_ for _, _, id_, _ in questions))
    answers = dict(store.read(ANSWERS, key, ids).select("id", "answer").iter_rows()) if ids else {}
    shares: dict[int, list[float | None]] = {}
    for place, first, id_, _ in questions:
        found = verdict(answers[id_])
        share = None if found is None else 0.5 if found == "tie" else float((found == "A") == first)
        shares.setdefault(place, []).append(share)
    return pl.Series("points", [_mean(shares[place]) for place in range(fought.height)], dtype=pl.Float64)


def _mean(shares: list[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if len(known) == len(shares) else None


def rewards(judge: RewardJudge, ids: pl.Series, others: Mapping[str, CheckpointRef], store: "Store") -> pl.Series:
    """The judge's rewards of answers by completion id, in their order; raises ``MissingRowsError``."""
    distinct = ids.unique().sort().to_list()
    found = store.read(REWARD_SCORES, judge.version(others).version, distinct)
    return ids.to_frame("id").join(found.select("id", "score"), on="id", how="left", maintain_order="left")["score"]


def answer_items(prompts: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Answers as a reward model reads them: frame(id, prompt, messages), each once, sorted by id.

    Raises:
        CannotSeeError: a prompt shows images, which these reward models do not see.
    """
    refuse_blind(JUDGE, None, prompts["messages"].to_list())
    turns = prompts.select("prompt_id", prompt="messages")
    found = answers.unique("completion_id", keep="first").sort("completion_id").join(turns, on="prompt_id")
    messages = pl.Series([said(text) for text in found["text"]], dtype=turns.schema["prompt"])
    return found.select(pl.col("completion_id").alias("id"), "prompt", messages.alias("messages"))


def others_of(params: Mapping[str, Mapping[str, object]]) -> dict[str, CheckpointRef]:
    """The checkpoints of a job that are needed beside the measured ones."""
    return {name: CheckpointRef.load(each) for name, each in params.items()}


def store_of(home: str | Path) -> "Store":
    """The store of a state folder."""
    from pref_assets.features.store import Store

    return Store(Home(Path(home)).store)
