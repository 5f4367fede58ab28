"""OpenRLHF's preference rows: the columns are named on its command line."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.messages import TOOLS
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.pairwise import better_first, sides, with_metadata
from pref_assets.pairs.readers.record import OVERALL, Answer, Record, Vote, check_prompt, check_sides, number
from pref_assets.pairs.readers.writing import message_list, proven, question, reply, whole


class OpenRlhfSource(Source):
    """Rows of a chosen and a rejected side, with or without a prompt, all text or (``--apply_chat_template``) messages;
    settings are named after OpenRLHF's flags."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}],
            "margin": 2,
        },
    )
    keeps: ClassVar[str] = "Messages whole, and the margin; other columns as metadata of the prompt."

    type: Literal["openrlhf"] = "openrlhf"
    prompt_key: str | None = None
    """Column of the prompt; null when both sides begin with it."""
    chosen_key: str = "chosen"
    """Column of the preferred side."""
    rejected_key: str = "rejected"
    """Column of the other side."""
    margin_key: str = "margin"
    """Column of the margin; becomes the vote's strength."""
    style: Literal["messages", "text"] = "messages"
    """How rows are written. Both are read; two texts without a prompt are cut before their last common word."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        layout: Literal["explicit", "implicit"] = "explicit" if self.prompt_key else "implicit"
        found = sides(row, self.prompt_key, self.chosen_key, self.rejected_key, layout)
        check_prompt(found.prompt, self.prompt_key or self.chosen_key)
        check_sides(found.chosen, found.rejected, (self.chosen_key, self.rejected_key))
        strength = number(row, self.margin_key)
        return Record(
            found.prompt,
            [Answer(found.chosen), Answer(found.rejected)],
            [Vote(0, 1, "a", dimension=self.dimension, strength=strength)],
            metadata={name: row[name] for name in row.keys() - self._columns()},
        )

    def _columns(self) -> set[str | None]:
        return {self.prompt_key, self.chosen_key, self.rejected_key, self.margin_key}

    def row(self, record: Record) -> dict[str, Any]:
        """A row of the given ``style``, with a prompt column when there is a ``prompt_key``."""
        record = better_first(record)
        row = self._written(record)
        strength = record.votes[0].strength
        if strength is not None:
            row[self.margin_key] = whole(strength)
        named = [name for name in self._columns() if name]
        return proven(self, record, with_metadata(row, record, named))

    def _written(self, record: Record) -> dict[str, Any]:
        if any(role == TOOLS for role, _ in record.turns):
            raise NoWayBackError("format `openrlhf` has no column for tools")
        prompt: Any
        answers: list[Any]
        if self.style == "text":
            prompt, answers = question(record), [reply(answer) for answer in record.answers]
        else:
            prompt, answers = message_list(record.turns), [message_list(answer.turns) for answer in record.answers]
        columns = self.chosen_key, self.rejected_key
        if self.prompt_key:
            return {self.prompt_key: prompt, **dict(zip(columns, answers, strict=True))}
        return {name: prompt + answer for name, answer in zip(columns, answers, strict=True)}
