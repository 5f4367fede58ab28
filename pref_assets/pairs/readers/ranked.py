"""Ranked lists: several answers to a prompt, each with its place, as Nectar and NeMo-RL have them."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import conversation, objects, rating_of, rest, usable
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Turn,
    check_prompt,
    number,
    required,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.tagged import is_transcript, transcript, transcript_turns
from pref_assets.pairs.readers.writing import message_list, numbered, proven, question, reply, whole

_KEEPS = (
    "Every answer with its model; its rank as a rating, with the sign turned where the lowest rank is the best, so "
    "that more is better; its reward as a rating of dimension `reward`. Equal ranks are ties. The rest is metadata. "
    "Which pairs the list makes is said in `pairs.pairing`."
)


class RankedLists(Source):
    """What ranked lists share; the fields' names are settings."""

    prompt: str = "prompt"
    """Field of the prompt."""
    answers: str = "answers"
    """Field of the list of answers."""
    answer: str = "answer"
    """Field, in an answer, of what it says."""
    model: str = "model"
    """Field, in an answer, of who wrote it."""
    rank: str = "rank"
    """Field, in an answer, of its place."""
    reward: str = "reward"
    """Field, in an answer, of a reward."""
    best: Literal["lowest", "highest"] = "lowest"
    """Which rank is the best."""
    annotator: str = Field(default=UNKNOWN_ANNOTATOR, min_length=1)
    """Who ranked."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the ranking is about."""
    style: Literal["transcript", "text", "messages"] = "transcript"
    """How prompts and answers are written back; reading recognises all three (``transcript``: the prompt is one, an
    answer is text)."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt and its usable answers with their ranks."""
        prompt = self._prompt(required(row, self.prompt))
        check_prompt(prompt, self.prompt)
        items = objects(row, self.answers)
        if not items:
            raise BadRowError("missing_field", f"field `{self.answers}` is missing or empty")
        read = [self._answer(item, f"{self.answers}[{index}]") for index, item in enumerate(items)]
        kept, refused = usable((f"{self.answers}[{i}].{self.answer}", answer) for i, answer in enumerate(read))
        metadata = rest(row, (self.prompt, self.answers))
        left = [rest(items[place], (self.answer, self.model, self.rank, self.reward)) for place in kept]
        if any(left):
            metadata[self.answers] = left
        return Record(prompt, list(kept.values()), metadata=metadata, refused=refused)

    def row(self, record: Record) -> dict[str, Any]:
        metadata = record.metadata or {}
        left = metadata.get(self.answers, [{}] * len(record.answers))
        items = [{**self._item(answer), **said} for answer, said in zip(record.answers, left, strict=True)]
        return proven(self, record, {**metadata, self.prompt: self._written(record), self.answers: items})

    def _prompt(self, value: Any) -> list[Turn]:
        if isinstance(value, str) and is_transcript(value):
            return transcript_turns(value, self.prompt)
        return conversation(value, self.prompt)

    def _written(self, record: Record) -> Any:
        if self.style == "messages":
            return message_list(record.turns)
        return transcript(record.turns) if self.style == "transcript" else question(record)

    def _answer(self, item: dict[str, Any], path: str) -> Answer:
        said = required(item, self.answer, f"{path}.{self.answer}")
        turns = [("assistant", said)] if isinstance(said, str) else conversation(said, f"{path}.{self.answer}")
        rank = number(item, self.rank, f"{path}.{self.rank}")
        if rank is None:
            raise BadRowError("missing_field", f"field `{path}.{self.rank}` is missing or null")
        ratings = [Rating(self.dimension, self._value(rank), self.annotator)]
        reward = number(item, self.reward, f"{path}.{self.reward}")
        if reward is not None:
            if self.dimension == self.reward:
                raise wrong_type(f"{path}.{self.reward}", reward, "no field of the ranking's own dimension")
            ratings.append(Rating(self.reward, reward, self.annotator))
        return Answer(turns, text(item, self.model, path=f"{path}.{self.model}"), ratings)

    def _item(self, answer: Answer) -> dict[str, Any]:
        item: dict[str, Any] = {self.answer: reply(answer) if self.style != "messages" else message_list(answer.turns)}
        if answer.model is not None:
            item[self.model] = answer.model
        if rank := rating_of(answer, self.dimension, self.annotator):
            item[self.rank] = whole(self._value(numbered(rank)))
        if reward := rating_of(answer, self.reward, self.annotator):
            item[self.reward] = numbered(reward)
        return item

    def _value(self, rank: float) -> float:
        """A rank as a rating, and back; zero keeps its sign off."""
        return rank if self.best == "highest" else 0.0 - rank


class RankedSource(RankedLists):
    """Rows ``{prompt, answers: [{answer, model, rank}]}``, best rank 1, as in Nectar (Zhu et al. 2023, whose judge was
    GPT-4).

    The prompt is text, a transcript with ``\\n\\nHuman:`` and ``\\n\\nAssistant:``, or messages; an answer is text or
    messages.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": "\n\nHuman: What do bees make?\n\nAssistant: ",
            "answers": [
                {"answer": "Honey, and wax for the comb.", "model": "model-one", "rank": 1.0},
                {"answer": "Honey.", "model": "model-two", "rank": 2.0},
                {"answer": "Silk.", "model": "model-three", "rank": 3.0},
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["invented"],
            "good_natured": True,
        },
    )
    keeps: ClassVar[str] = _KEEPS

    type: Literal["ranked"] = "ranked"


class NemoRlSource(RankedLists):
    """Rows ``{context, completions: [{rank, completion, reward}]}`` of NeMo-RL's preference data: lists of messages,
    and the lowest rank, 0, for the best."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "context": [{"role": "user", "content": "What do bees make?"}],
            "completions": [
                {"rank": 0, "completion": [{"role": "assistant", "content": "Honey."}], "reward": 1.5},
                {"rank": 1, "completion": [{"role": "assistant", "content": "Silk."}]},
            ],
        },
    )
    keeps: ClassVar[str] = _KEEPS

    type: Literal["nemo_rl"] = "nemo_rl"
    prompt: str = "context"
    """Field of the prompt."""
    answers: str = "completions"
    """Field of the list of answers."""
    answer: str = "completion"
    """Field, in an answer, of what it says."""
    style: Literal["transcript", "text", "messages"] = "messages"
    """How prompts and answers are written back; reading recognises all three."""
