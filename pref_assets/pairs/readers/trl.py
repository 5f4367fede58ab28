"""TRL's preference format: standard (text) and conversational, with an explicit or an implicit prompt."""

from typing import Any, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Turn,
    Vote,
    check_prompt,
    check_sides,
    messages,
    number,
    required,
    strings,
    text,
    wrong_type,
)

SCORE = "score"
"""Dimension of ratings read from score columns."""


class TrlSource(Source):
    """Rows with ``chosen`` and ``rejected``, and usually ``prompt`` (TRL's preference data set types).

    Text becomes one turn of the user (prompt) and one of the assistant (side), unchanged. Conversational sides may
    hold the answer alone or the whole dialogue; a dialogue must agree with the prompt when there is one. Everything a
    row says beyond the named columns becomes metadata of the prompt.
    """

    type: Literal["trl"] = "trl"
    prompt_format: Literal["auto", "explicit", "implicit"] = "auto"
    """Where the prompt is: in its own column, or as the common beginning of both sides. ``auto`` looks at each row;
    sides that are plain text are only cut when this says ``implicit``, since any two texts may begin alike."""
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
    """Column of image URIs."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        chosen, rejected = required(row, self.chosen), required(row, self.rejected)
        prompt, chosen_turns, rejected_turns = self._conversation(row, chosen, rejected)
        check_prompt(prompt, self.prompt)
        check_sides(chosen_turns, rejected_turns, (self.chosen, self.rejected))
        answers = [Answer(chosen_turns), Answer(rejected_turns)]
        record = Record(prompt, answers, votes=[Vote(0, 1, "a", dimension=self.dimension)])
        extras = row.keys() - (self.prompt, self.chosen, self.rejected)
        if extras:
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
        record.images = strings(row, self.images)
        named = (self.margin, self.score_chosen, self.score_rejected, self.model_chosen, self.model_rejected)
        rest = extras.difference(named, (self.annotator, self.images))
        record.metadata = {name: row[name] for name in rest}

    def _conversation(
        self, row: dict[str, Any], chosen: Any, rejected: Any
    ) -> tuple[list[Turn], list[Turn], list[Turn]]:
        """Turns of the prompt and of the two answers."""
        explicit = self.prompt_format == "explicit" or (self.prompt_format == "auto" and self.prompt in row)
        if isinstance(chosen, str) and isinstance(rejected, str):
            if explicit:
                return self._prompt(row), [("assistant", chosen)], [("assistant", rejected)]
            if self.prompt_format == "auto":
                raise BadRowError(
                    "missing_field",
                    f"field `{self.prompt}` is missing (set `prompt_format: implicit` when both texts begin with it)",
                )
            return self._cut_texts(chosen, rejected)
        if isinstance(chosen, str) != isinstance(rejected, str):
            raise BadRowError("wrong_type", f"one of `{self.chosen}` and `{self.rejected}` is text, the other is not")
        sides = messages(chosen, self.chosen), messages(rejected, self.rejected)
        if not explicit:
            return self._cut_turns(*sides)
        prompt = self._prompt(row)
        if sides[0][0][0] == "assistant" and sides[1][0][0] == "assistant":
            return prompt, *sides
        whole = self._cut_turns(*sides)
        said = whole[0] == prompt or (isinstance(row[self.prompt], str) and whole[0][-1] == prompt[-1])
        if not said:
            raise BadRowError("prompts_differ", f"the sides do not begin with what `{self.prompt}` says")
        return whole

    def _prompt(self, row: dict[str, Any]) -> list[Turn]:
        value = required(row, self.prompt)
        if isinstance(value, str):
            return [("user", value)]
        if not isinstance(value, list):
            raise wrong_type(self.prompt, value, "a string or a list of messages")
        return messages(value, self.prompt)

    def _cut_turns(self, chosen: list[Turn], rejected: list[Turn]) -> tuple[list[Turn], list[Turn], list[Turn]]:
        """Cuts two dialogues after their last common question that leaves both sides an answer."""
        same = 0
        while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
            same += 1
        if same == len(chosen) == len(rejected):
            raise BadRowError("identical_sides", f"fields `{self.chosen}` and `{self.rejected}` are the same")
        end = min(same, len(chosen) - 1, len(rejected) - 1)
        while end and chosen[end - 1][0] not in ("user", "tool"):
            end -= 1
        if not end:
            raise BadRowError(
                "prompts_differ", f"fields `{self.chosen}` and `{self.rejected}` do not begin with the same prompt"
            )
        return chosen[:end], chosen[end:], rejected[end:]

    def _cut_texts(self, chosen: str, rejected: str) -> tuple[list[Turn], list[Turn], list[Turn]]:
        """Cuts two texts before the last common word boundary; the white space there belongs to the answers."""
        if chosen == rejected:
            raise BadRowError("identical_sides", f"fields `{self.chosen}` and `{self.rejected}` are the same")
        end = _common(chosen, rejected)
        while end and not (_starts_word(chosen, end) and _starts_word(rejected, end)):
            end -= 1
        if not chosen[:end].strip():
            raise BadRowError(
                "prompts_differ", f"fields `{self.chosen}` and `{self.rejected}` do not begin with the same words"
            )
        return [("user", chosen[:end])], [("assistant", chosen[end:])], [("assistant", rejected[end:])]


def _common(first: str, second: str) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first.startswith(second[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _starts_word(value: str, position: int) -> bool:
    """Whether white space and then a word begin here, right after a word."""
    return value[position : position + 1].isspace() and not value[position - 1].isspace()
