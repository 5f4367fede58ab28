"""TRL's preference format: standard (text) and conversational, with an explicit or an implicit prompt."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.messages import chat_turns
from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.pairwise import PromptFormat, better_first, images_of, sides, with_metadata
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    Rating,
    Record,
    Vote,
    check_prompt,
    check_sides,
    number,
    text,
    tools,
)
from pref_assets.pairs.readers.writing import message_list, proven, question, reply, whole

SCORE = "score"
"""Dimension of ratings read from score columns."""


class TrlSource(Source):
    """Rows with ``chosen`` and ``rejected``, and usually ``prompt`` (TRL's preference data set types).

    Text becomes one turn of the user (prompt) and one of the assistant (side), unchanged. Conversational sides may
    hold the answer alone or the whole dialogue; a dialogue must agree with the prompt when there is one. Tools on offer
    become the prompt's first turn, tool calls and image parts stay in their messages.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": [{"role": "user", "content": "What colour is the sky?"}],
            "chosen": [{"role": "assistant", "content": "Blue."}],
            "rejected": [{"role": "assistant", "content": "Green."}],
            "margin": 1.5,
        },
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        {
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}],
        },
        {
            "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
            "chosen": [{"role": "assistant", "content": "A cat."}],
            "rejected": [{"role": "assistant", "content": "A dog."}],
            "images": ["cat.png"],
        },
        {
            "prompt": [{"role": "user", "content": "Weather in Oslo?"}],
            "chosen": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
                    ],
                }
            ],
            "rejected": [{"role": "assistant", "content": "Sunny, I guess."}],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather of a city"}}],
            "chat_template_kwargs": {"enable_thinking": False},
        },
    )
    keeps: ClassVar[str] = (
        "Messages whole (tool calls, parts and further fields too), tools, images, margin, scores, models and the "
        "annotator; other columns, `chat_template_kwargs` among them, as metadata of the prompt. Null fields of a "
        "message count as absent, and text parts alone as their text."
    )

    type: Literal["trl"] = "trl"
    prompt_format: PromptFormat = "auto"
    """Where the prompt is: in its own column, or as the common beginning of both sides. ``auto`` looks at each row;
    sides that are plain text are only cut when this says ``implicit``, since any two texts may begin alike."""
    style: Literal["conversational", "standard"] = "conversational"
    """How rows are written: lists of messages, or text. Both are read."""
    prompt: str = "prompt"
    """Column of the prompt, text or messages."""
    chosen: str = "chosen"
    """Column of the preferred side."""
    rejected: str = "rejected"
    """Column of the other side."""
    margin: str = "margin"
    """Column of how much better the chosen side is; becomes the vote's strength."""
    score_chosen: str = "score_chosen"
    """Column of the chosen side's score; becomes a rating of dimension ``score``, and with the other score the
    strength where there is no margin."""
    score_rejected: str = "score_rejected"
    """Column of the rejected side's score."""
    model_chosen: str = "chosen_model"
    """Column of who wrote the chosen side."""
    model_rejected: str = "rejected_model"
    """Column of who wrote the rejected side."""
    annotator: str = "annotator"
    """Column of who judged."""
    images: str = "images"
    """Column of a list of images: paths, URIs, or ``{bytes, path}``."""
    image: str = "image"
    """Column of one image."""
    tools: str = "tools"
    """Column of the tools on offer, a list or JSON of one."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        found = sides(row, self.prompt, self.chosen, self.rejected, self.prompt_format)
        extras = row.keys() - (self.prompt, self.chosen, self.rejected)
        if self.tools in extras:
            found.prompt[:0] = tools(row, self.tools)
        check_prompt(found.prompt, self.prompt)
        check_sides(found.chosen, found.rejected, (self.chosen, self.rejected))
        answers = [Answer(found.chosen), Answer(found.rejected)]
        record = Record(found.prompt, answers, votes=[Vote(0, 1, "a", dimension=self.dimension)])
        if extras or found.shown:
            record.images = images_of(row, self.images, self.image, found.shown)
            self._add_extras(record, row, extras)
        return record

    def _add_extras(self, record: Record, row: dict[str, Any], extras: set[str]) -> None:
        """Adds what the optional columns say; the columns that no setting names become metadata."""
        annotator = text(row, self.annotator, UNKNOWN_ANNOTATOR) or UNKNOWN_ANNOTATOR
        scores = number(row, self.score_chosen), number(row, self.score_rejected)
        models = text(row, self.model_chosen), text(row, self.model_rejected)
        for answer, score, model in zip(record.answers, scores, models, strict=True):
            answer.model = model
            answer.ratings = () if score is None else (Rating(SCORE, score, annotator),)
        vote = record.votes[0]
        vote.annotator = annotator
        vote.strength = number(row, self.margin)
        if vote.strength is None and scores[0] is not None and scores[1] is not None:
            vote.strength = scores[0] - scores[1]
        record.metadata = {name: row[name] for name in extras.difference(self._optional())}

    def _optional(self) -> tuple[str, ...]:
        names = self.score_chosen, self.score_rejected, self.model_chosen, self.model_rejected
        return (*names, self.margin, self.annotator, self.images, self.image, self.tools)

    def row(self, record: Record) -> dict[str, Any]:
        """A row of the given ``style``, with a prompt column unless ``prompt_format`` is ``implicit``."""
        record = better_first(record)
        row = self._texts(record) if self.style == "standard" else self._messages(record)
        vote = record.votes[0]
        scores = [next((r.value for r in answer.ratings), None) for answer in record.answers]
        said = scores[0] - scores[1] if scores[0] is not None and scores[1] is not None else None
        if vote.annotator != UNKNOWN_ANNOTATOR:
            row[self.annotator] = vote.annotator
        if vote.strength is not None and vote.strength != said:
            row[self.margin] = whole(vote.strength)
        columns = (self.score_chosen, self.score_rejected), (self.model_chosen, self.model_rejected)
        for answer, score, score_column, model_column in zip(record.answers, scores, *columns, strict=True):
            if score is not None:
                row[score_column] = whole(score)
            if answer.model is not None:
                row[model_column] = answer.model
        if record.images:
            row[self.images] = list(record.images)
        return proven(self, record, with_metadata(row, record, (self.prompt, *self._optional())))

    def _messages(self, record: Record) -> dict[str, Any]:
        prompt, offered = chat_turns(record.turns)
        chosen, rejected = (message_list(answer.turns) for answer in record.answers)
        if self.prompt_format == "implicit":
            row = {self.chosen: prompt + chosen, self.rejected: prompt + rejected}
        else:
            row = {self.prompt: prompt, self.chosen: chosen, self.rejected: rejected}
        return row if offered is None else {**row, self.tools: offered}

    def _texts(self, record: Record) -> dict[str, Any]:
        prompt, (chosen, rejected) = question(record), map(reply, record.answers)
        if self.prompt_format == "implicit":
            return {self.chosen: prompt + chosen, self.rejected: prompt + rejected}
        return {self.prompt: prompt, self.chosen: chosen, self.rejected: rejected}
