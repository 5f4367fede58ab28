"""LLaMA-Factory's preference and KTO rows: what its layouts share, and the alpaca layout."""

import json
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.messages import IMAGE, TOOLS, base_role, canonical, encode_tools
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.judgements import words
from pref_assets.pairs.readers.llama_factory_turns import as_text, as_turn, count_images, unwrapped, wrapped
from pref_assets.pairs.readers.pairwise import better_first, images_of, with_metadata
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Turn,
    Vote,
    check_answer,
    check_prompt,
    check_sides,
    text,
    tools,
    wrong_type,
)
from pref_assets.pairs.readers.unpaired import label, wanted_or_not
from pref_assets.pairs.readers.writing import proven, reply


class LlamaFactorySource(Source):
    """What both layouts share: columns named as in ``dataset_info.json``.

    A row with a boolean ``kto_tag`` holds one answer, rated 1 (wanted) or 0; any other holds a chosen and a rejected
    one. Where a row brings images, ``<image>`` in its text is one of them.
    """

    keeps: ClassVar[str] = (
        "Turns, system prompt, tools, function calls (as tool calls) and images; `kto_tag` as a rating of 1 or 0; "
        "other columns as metadata of the prompt."
    )

    chosen: str = "chosen"
    """Column of the preferred answer."""
    rejected: str = "rejected"
    """Column of the other answer."""
    kto_tag: str = "kto_tag"
    """Column that says of a single answer whether it is wanted."""
    system: str = "system"
    """Column of the system prompt."""
    tools: str = "tools"
    """Column of the tools on offer, JSON of a list."""
    images: str = "images"
    """Column of a list of images."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about."""

    def _named(self) -> tuple[str, ...]:
        return self.chosen, self.rejected, self.kto_tag, self.system, self.tools, self.images

    def _start(self, row: dict[str, Any], images: list[str]) -> list[Turn]:
        """Turns before the conversation: the tools on offer and the system prompt."""
        offered = [encode_tools([wrapped(tool) for tool in json.loads(said)]) for _, said in tools(row, self.tools)]
        system = text(row, self.system)
        return [*offered, *([as_turn("system", system, images)] if system else [])]

    def _images(self, row: dict[str, Any], prompt: list[Turn], images: list[str]) -> None:
        """Raises ``image_count`` unless the text names each image, or none."""
        named = sum(count_images(turn) for turn in prompt)
        if named not in (0, len(images)):
            raise BadRowError(
                "image_count", f"the text has {named} `{IMAGE}`, field `{self.images}` has {len(images)} images"
            )

    def _judged(self, record: Record, row: dict[str, Any], answers: list[list[Turn]]) -> Record:
        """Adds the answers and what the row says of them."""
        if len(answers) == 1:
            check_answer(answers[0], "the answer")
            rating = Rating(self.dimension, float(label(row, self.kto_tag)), UNKNOWN_ANNOTATOR)
            record.answers = [Answer(answers[0], ratings=[rating])]
        else:
            check_sides(answers[0], answers[1], (self.chosen, self.rejected))
            record.answers = [Answer(turns) for turns in answers]
            record.votes = [Vote(0, 1, "a", dimension=self.dimension)]
        return record

    def _ends(self, record: Record) -> dict[str, Any]:
        """The columns of what stands before the conversation, and of the images."""
        row: dict[str, Any] = {}
        for role, content in record.turns:
            if role == TOOLS:
                row[self.tools] = canonical([unwrapped(tool) for tool in json.loads(content)])
            elif base_role(role) == "system":
                row[self.system] = as_text((role, content))
        if record.images:
            row[self.images] = list(record.images)
        return row


class LlamaFactoryAlpacaSource(LlamaFactorySource):
    """Rows ``{instruction, input, chosen, rejected}``, or ``{instruction, input, output, kto_tag}``; both may have
    ``system``, ``history`` (pairs of question and answer), ``tools`` and ``images``. The question is the instruction
    and, on a new line, the input."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {"instruction": "Name a colour.", "input": "", "chosen": "Blue.", "rejected": "Dog."},
        {
            "instruction": "And a tree?",
            "input": "",
            "history": [["Name a colour.", "Blue."]],
            "system": "Be brief.",
            "output": "Oak.",
            "kto_tag": True,
        },
    )

    type: Literal["llama_factory_alpaca"] = "llama_factory_alpaca"
    prompt: str = "instruction"
    """Column of the instruction."""
    query: str = "input"
    """Column of the input; joined to the instruction by a line break, and written empty."""
    response: str = "output"
    """Column of a single answer."""
    history: str = "history"
    """Column of earlier questions and answers."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with two answers and a vote, or with one rated answer."""
        images = images_of(row, self.images, "", ())
        query = [said for name in (self.prompt, self.query) if (said := text(row, name))]
        if not query:
            raise BadRowError("missing_field", f"fields `{self.prompt}` and `{self.query}` are missing or empty")
        turns = [*self._start(row, images), *self._history(row, images), as_turn("user", "\n".join(query), images)]
        check_prompt(turns, self.prompt)
        self._images(row, turns, images)
        columns = (self.response,) if isinstance(row.get(self.kto_tag), bool) else (self.chosen, self.rejected)
        answers = [[("assistant", words(row, name))] for name in columns]
        named = {*self._named(), self.prompt, self.query, self.response, self.history}
        metadata = {name: value for name, value in row.items() if name not in named}
        return self._judged(Record(turns, [], images=images, metadata=metadata), row, answers)

    def _history(self, row: dict[str, Any], images: list[str]) -> list[Turn]:
        value = row.get(self.history)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(self.history, value, "a list of pairs")
        turns = []
        for index, pair in enumerate(value):
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(said, str) for said in pair):
                raise BadRowError("wrong_type", f"field `{self.history}[{index}]` is no pair of question and answer")
            turns += [as_turn("user", pair[0], images), ("assistant", pair[1])]
        return turns

    def row(self, record: Record) -> dict[str, Any]:
        """The question in the instruction, what came before in the history."""
        paired = bool(record.votes)
        record = better_first(record) if paired else record
        said = [turn for turn in record.turns if turn[0] != TOOLS and base_role(turn[0]) != "system"]
        roles = [base_role(role) for role, _ in said]
        if roles != ["user", "assistant"] * (len(said) // 2) + ["user"]:
            raise NoWayBackError(f"the alpaca layout holds questions and answers in turn, not turns by {roles}")
        row: dict[str, Any] = {self.prompt: as_text(said[-1]), self.query: ""}
        if paired:
            for name, answer in zip((self.chosen, self.rejected), record.answers, strict=True):
                row[name] = reply(answer)
        else:
            answer, rating = wanted_or_not(record)
            row |= {self.response: reply(answer), self.kto_tag: rating.value == 1}
        if said[:-1]:
            row[self.history] = [[as_text(q), as_text(a)] for q, a in zip(said[:-1:2], said[1::2], strict=True)]
        named = (self.response, self.history, *self._named())
        return proven(self, record, with_metadata(row | self._ends(record), record, named))
