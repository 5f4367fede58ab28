"""MM-RLHF: several answers to a question about an image or a video with scores and a ranking, or pairs of them."""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import rest, sides, usable, words
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Vote,
    check_prompt,
    image,
    number,
    required,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import preferred_first, proven, question, reply, whole

_SIDES = ("chosen", "rejected")
_ORDER = re.compile(r"\s*\d+(\s*[>=]\s*\d+)*\s*")


class MmRlhfSource(Source):
    """Rows of MM-RLHF's two files (Zhang et al. 2025, arXiv:2502.10391):

    - ``data.jsonl``: ``{id, question, image | video, models_output: [...], faithfulness: [...], helpfulness: [...],
      ethical: [...], final_ranking, score_reasons, ranking_reason, ...}``, the lists in the order of the outputs;
    - ``dpo_pairs.jsonl``: ``{id, prompt, chosen, rejected, image | video, chosen_reason, rejected_reason, is_tie}``.

    ``final_ranking`` is a list with each output's place, 1 for the best and equal for ties, or text like ``1>2=3>4``
    with the numbers of the outputs. A video is a folder of frames or one file, named like an image. Pairs of one
    question are correlated; splits keep them together. ``id`` names a prompt, not a pair.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "id": "s1_17",
            "image": "short/s1.png",
            "question": "How many dots are there?",
            "answer": "3",
            "models_output": ["Three.", "Four.", "There are 3 dots."],
            "faithfulness": [5, 1, 5],
            "helpfulness": [4, 1, 5],
            "ethical": [5, 5, None],
            "final_ranking": [2, 3, 1],
            "score_reasons": ["Right.", "Wrong.", "Right, and a sentence."],
            "ranking_reason": "The second miscounts.",
        },
        {
            "id": "v1_2",
            "video": "video/v1",
            "prompt": "What does the dog do?",
            "chosen": "It jumps over a log.",
            "rejected": "It sleeps.",
            "chosen_reason": "As the frames show.",
            "rejected_reason": "It is never still.",
            "is_tie": False,
        },
    )
    keeps: ClassVar[str] = (
        "`data.jsonl`: every output; its scores as ratings of their dimensions, its place in the ranking as a rating "
        "of `dimension` (turned, so that more is better), with the ranking's reason. `dpo_pairs.jsonl`: both answers "
        "and one vote (a tie where `is_tie`) with the reason for the chosen one. The image's or video's location is "
        "kept twice: as read among the images, as written (with its subset) in the metadata. All else is metadata."
    )

    type: Literal["mm_rlhf"] = "mm_rlhf"
    outputs: str = "models_output"
    """Field, in ``data.jsonl``, of the list of answers."""
    scores: tuple[str, ...] = ("faithfulness", "helpfulness", "ethical")
    """Fields, in ``data.jsonl``, of lists of scores; each is a dimension. Null scores are no ratings."""
    ranking: str = "final_ranking"
    """Field, in ``data.jsonl``, of the ranking."""
    ranking_reason: str = "ranking_reason"
    """Field, in ``data.jsonl``, of why it is so."""
    best: Literal["lowest", "highest"] = "lowest"
    """Which number of a ranking given as a list is the best."""
    media: tuple[str, ...] = Field(default=("image", "video"), min_length=1)
    """Fields of the image or video; one of them holds a location."""
    annotator: str = Field(default=UNKNOWN_ANNOTATOR, min_length=1)
    """Who judged; the release names nobody."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the ranking and the pairs are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with its image or video, and rated answers or a vote on two."""
        return self._rated(row) if self.outputs in row else self._pair(row)

    def row(self, record: Record) -> dict[str, Any]:
        return self._pair_row(record) if record.votes else self._rated_row(record)

    def _media(self, row: dict[str, Any]) -> list[str]:
        named = [name for name in self.media if row.get(name)]
        if len(named) != 1:
            raise BadRowError("missing_field", f"one of the fields {', '.join(self.media)} must name a file")
        return [image(row[named[0]], named[0])]

    def _start(self, record: Record) -> dict[str, Any]:
        """The metadata as the beginning of a row, with the image where they do not name it."""
        row = dict(record.metadata or {})
        if record.images and not any(row.get(name) for name in self.media):
            row[self.media[0]] = record.images[0]
        return row

    def _rated(self, row: dict[str, Any]) -> Record:
        prompt = [("user", words(row, "question"))]
        check_prompt(prompt, "question")
        outputs = required(row, self.outputs)
        if not isinstance(outputs, list) or not all(isinstance(output, str) for output in outputs):
            raise wrong_type(self.outputs, outputs, "a list of strings")
        answers = [Answer([("assistant", output)]) for output in outputs]
        self._rate(row, answers)
        kept, refused = usable((f"{self.outputs}[{i}]", answer) for i, answer in enumerate(answers))
        ranked = (self.ranking, self.ranking_reason) if row.get(self.ranking) is not None else ()
        metadata = rest(row, ("question", self.outputs, *self.scores, *ranked))
        return Record(prompt, list(kept.values()), images=self._media(row), metadata=metadata, refused=refused)

    def _rate(self, row: dict[str, Any], answers: list[Answer]) -> None:
        """Adds scores and places to the answers, in the order of the fields."""
        count = len(answers)
        columns: list[tuple[str, list[float | None], str | None]]
        columns = [(name, _column(row, name, count), None) for name in self.scores]
        columns.append((self.dimension, self._places(row, count), text(row, self.ranking_reason)))
        for place, answer in enumerate(answers):
            answer.ratings = [
                Rating(dimension, value, self.annotator, reason)
                for dimension, values, reason in columns
                if (value := values[place]) is not None
            ]

    def _places(self, row: dict[str, Any], count: int) -> list[float | None]:
        said = row.get(self.ranking)
        if not isinstance(said, str):
            return [None if p is None else self._turned(p) for p in _column(row, self.ranking, count)]
        if not _ORDER.fullmatch(said):
            raise BadRowError("wrong_type", f"field `{self.ranking}` is {said!r}, expected like '1>2=3>4'")
        levels = [[int(number) for number in level.split("=")] for level in said.split(">")]
        if sorted(number for level in levels for number in level) != list(range(1, count + 1)):
            raise BadRowError("wrong_type", f"field `{self.ranking}` is {said!r}, expected each of 1 to {count} once")
        place = {number: -float(index) for index, level in enumerate(levels, 1) for number in level}
        return [place[number] for number in range(1, count + 1)]

    def _turned(self, place: float) -> float:
        return place if self.best == "highest" else 0.0 - place

    def _rated_row(self, record: Record) -> dict[str, Any]:
        row = {**self._start(record), "question": question(record)}
        row[self.outputs] = [reply(answer) for answer in record.answers]
        for dimension in (*self.scores, self.dimension):
            given = [next((r for r in a.ratings if r.dimension == dimension), None) for a in record.answers]
            if not any(given):
                continue
            ranked = dimension == self.dimension
            row[self.ranking if ranked else dimension] = [
                None if rating is None else whole(self._turned(rating.value) if ranked else rating.value)
                for rating in given
            ]
            reasons = {rating.rationale for rating in given if rating is not None}
            if ranked and reasons != {None}:
                row[self.ranking_reason] = reasons.pop()
        return proven(self, record, row)

    def _pair(self, row: dict[str, Any]) -> Record:
        prompt = [("user", words(row, "prompt"))]
        check_prompt(prompt, "prompt")
        tie = row.get("is_tie")
        if tie is not None and not isinstance(tie, bool):
            raise wrong_type("is_tie", tie, "true or false")
        vote = Vote(0, 1, "tie" if tie else "a", self.annotator, self.dimension, None, text(row, "chosen_reason"))
        return Record(
            prompt,
            [Answer(turns) for turns in sides(row, _SIDES)],
            [vote],
            images=self._media(row),
            metadata=rest(row, ("prompt", *_SIDES, "is_tie", "chosen_reason")),
        )

    def _pair_row(self, record: Record) -> dict[str, Any]:
        ordered = preferred_first(record)
        [vote] = ordered.votes
        row = {**self._start(record), "prompt": question(record)}
        row |= {name: reply(answer) for name, answer in zip(_SIDES, ordered.answers, strict=True)}
        if vote.rationale is not None:
            row["chosen_reason"] = vote.rationale
        return proven(self, ordered, row | {"is_tie": vote.choice == "tie"})


def _column(row: dict[str, Any], name: str, count: int) -> list[float | None]:
    """A list of one number or null for each output; all null when the row has none."""
    values = row.get(name)
    if values is None:
        return [None] * count
    if not isinstance(values, list):
        raise wrong_type(name, values, "a list")
    if len(values) != count:
        raise BadRowError("wrong_type", f"field `{name}` has {len(values)} entries for {count} outputs")
    return [number({name: value}, name, f"{name}[{place}]") for place, value in enumerate(values)]
