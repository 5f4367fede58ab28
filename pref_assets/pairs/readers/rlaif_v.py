"""RLAIF-V: two answers to a question about an image, one preferred."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import rest, sides, words
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    Record,
    Vote,
    check_prompt,
    image,
    required,
)
from pref_assets.pairs.readers.writing import preferred_first, proven, question, reply

_SIDES = ("chosen", "rejected")


class RlaifVSource(Source):
    """Rows ``{ds_name, image, question, chosen, rejected, origin_dataset, origin_split, idx, image_path}`` (Yu et al.
    2024, arXiv:2405.17220)."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "ds_name": "invented",
            "image": "images/0001.jpg",
            "question": "What is on the table?",
            "chosen": "A bowl with two apples.",
            "rejected": "A bowl with two apples and a cat.",
            "origin_dataset": "invented",
            "origin_split": '{"model": "model-one", "type": "question_answer"}',
            "idx": 1,
            "image_path": "invented/0001.jpg",
        },
    )
    keeps: ClassVar[str] = (
        "Question, image and both answers; one vote for the chosen one. Where the row came from is metadata. An image "
        "that the row brings as bytes is stored by content and written back as that location."
    )

    type: Literal["rlaif_v"] = "rlaif_v"
    image: str = "image"
    """Field of the image, or of where it is (``image_path``, with an ``image_folder``)."""
    annotator: str = Field(default=UNKNOWN_ANNOTATOR, min_length=1)
    """Who judged."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the judgement is about."""

    def shows_images(self) -> bool:
        return True

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with an image, two answers, one vote for the first."""
        prompt = [("user", words(row, "question"))]
        check_prompt(prompt, "question")
        answers = [Answer(turns) for turns in sides(row, _SIDES)]
        return Record(
            prompt,
            answers,
            [Vote(0, 1, "a", self.annotator, self.dimension)],
            images=[image(required(row, self.image), self.image)],
            metadata=rest(row, ("question", self.image, *_SIDES)),
        )

    def row(self, record: Record) -> dict[str, Any]:
        ordered = preferred_first(record)
        row = {**(record.metadata or {}), "question": question(record)}
        row |= {name: reply(answer) for name, answer in zip(_SIDES, ordered.answers, strict=True)}
        if record.images:
            row[self.image] = record.images[0]
        return proven(self, ordered, row)
