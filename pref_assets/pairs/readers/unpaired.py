"""TRL's unpaired preference format: one answer a row, and whether it is wanted."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.messages import chat_turns
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.pairwise import images_of, question, with_metadata
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    check_answer,
    check_prompt,
    messages,
    required,
    text,
    tools,
)
from pref_assets.pairs.readers.writing import message_list, proven


class UnpairedSource(Source):
    """Rows with ``prompt``, ``completion`` and ``label`` (TRL's unpaired preference type, for KTO and the like).

    The label becomes a rating of 1 (wanted) or 0; answers to the same prompt then make pairs by the pairing rule.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": [{"role": "user", "content": "What colour is the sky?"}],
            "completion": [{"role": "assistant", "content": "Blue."}],
            "label": True,
        },
        {"prompt": "The sky is", "completion": " green.", "label": False},
    )
    keeps: ClassVar[str] = (
        "Messages whole, tools, images, the label as a rating of 1 or 0, model and annotator; other columns as "
        "metadata of the prompt."
    )

    type: Literal["trl_unpaired"] = "trl_unpaired"
    prompt: str = "prompt"
    """Column of the prompt, text or messages."""
    completion: str = "completion"
    """Column of the answer, text or messages."""
    label: str = "label"
    """Column that says whether the answer is wanted: true or false, or 1 or 0."""
    model: str = "model"
    """Column of who wrote the answer."""
    annotator: str = "annotator"
    """Column of who judged."""
    images: str = "images"
    """Column of a list of images."""
    image: str = "image"
    """Column of one image."""
    tools: str = "tools"
    """Column of the tools on offer, a list or JSON of one."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt and one rated answer."""
        asked, shown = question(row, self.prompt)
        asked[:0] = tools(row, self.tools)
        check_prompt(asked, self.prompt)
        said = required(row, self.completion)
        turns = [("assistant", said)] if isinstance(said, str) else messages(said, self.completion)
        check_answer(turns, self.completion)
        annotator = text(row, self.annotator, UNKNOWN_ANNOTATOR) or UNKNOWN_ANNOTATOR
        rating = Rating(self.dimension, float(label(row, self.label)), annotator)
        return Record(
            asked,
            [Answer(turns, text(row, self.model), [rating])],
            images=images_of(row, self.images, self.image, shown),
            metadata={name: row[name] for name in row.keys() - self._columns()},
        )

    def _columns(self) -> set[str]:
        names = self.prompt, self.completion, self.label, self.model, self.annotator
        return {*names, self.images, self.image, self.tools}

    def row(self, record: Record) -> dict[str, Any]:
        """A conversational row."""
        answer, rating = wanted_or_not(record)
        prompt, offered = chat_turns(record.turns)
        row: dict[str, Any] = {
            self.prompt: prompt,
            self.completion: message_list(answer.turns),
            self.label: rating.value == 1,
        }
        if answer.model is not None:
            row[self.model] = answer.model
        if rating.annotator != UNKNOWN_ANNOTATOR:
            row[self.annotator] = rating.annotator
        if record.images:
            row[self.images] = list(record.images)
        if offered is not None:
            row[self.tools] = offered
        return proven(self, record, with_metadata(row, record, self._columns()))


def label(row: dict[str, Any], name: str) -> bool:
    """A required truth value. Raises ``missing_field`` or ``wrong_type``."""
    value = required(row, name)
    if value not in (True, False):  # 1 and 0 as well
        raise BadRowError("wrong_type", f"field `{name}` is {value!r}, expected true or false")
    return bool(value)


def wanted_or_not(record: Record) -> tuple[Answer, Rating]:
    """The one answer of a record and its one rating, 1 or 0.

    Raises:
        NoWayBackError: there are more or fewer, there are votes, or the rating is another number.
    """
    if len(record.answers) != 1 or record.votes or len(record.answers[0].ratings) != 1:
        raise NoWayBackError("the format holds one answer with one rating and no votes")
    rating = record.answers[0].ratings[0]
    if rating.value not in (0, 1):
        raise NoWayBackError(f"the format says whether an answer is wanted (1 or 0), the rating is {rating.value}")
    return record.answers[0], rating
