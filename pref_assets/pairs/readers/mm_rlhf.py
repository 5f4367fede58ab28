"""MM-RLHF: several answers to a question about an image or a video with scores and a ranking, or pairs of them."""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import rating_of, rest, sides, usable, words
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
from pref_assets.pairs.readers.writing import NoWayBackError, numbered, preferred_first, proven, question, reply, whole

REASON = "reason"
"""Dimension of what annotators say of one answer without a number."""
_SIDES = ("chosen", "rejected")
_WHY = ("chosen_reason", "rejected_reason")
_ORDER = re.compile(r"\s*\d+(\s*[>=]\s*\d+)*\s*")


class MmRlhfSource(Source):
    """Rows of MM-RLHF's two files (Zhang et al. 2025, arXiv:2502.10391):

    - ``data.jsonl``: ``{id, question, image | video, models_output: [...], faithfulness: [...], helpfulness: [...],
      ethical: [...], final_ranking, score_reasons, ranking_reason, ...}``, the lists in the order of the outputs;
    - ``dpo_pairs.jsonl``: ``{id, prompt, chosen, rejected, image | video, chosen_reason, rejected_reason, is_tie}``.

    ``final_ranking`` is a list with each output's place, 1 for the best and equal for ties, or text like ``1>2=3>4``
    with the numbers of the outputs. A video is a folder of frames or one file, named like an image. Pairs of one
    question are correlated; splits keep them together. ``id`` names a prompt, not a pair.

    Where all outputs tie, annotators wrote a further answer (section 3.3 of the paper): a right one when all are bad, a
    wrong one when all are good. The release does not document their fields, so ``tie_positive`` and ``tie_negative``
    name them. Such an answer comes last and is ranked before, or behind, every output; its model is ``tie_writer``.
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
            "score_reasons": ["Right.", None, "Right, and a sentence."],
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
        "of `dimension` (turned, so that more is better), with the ranking's reason; the reasons for one output as "
        "ratings without a number. `dpo_pairs.jsonl`: both answers, each with its reason as a rating of dimension "
        "`reason` without a number, and one vote (a tie where `is_tie`) with the reason for the chosen one. The "
        "image's or video's location is kept twice: as read among the images, as written (with its subset) in the "
        "metadata. All else is metadata."
    )

    type: Literal["mm_rlhf"] = "mm_rlhf"
    outputs: str = "models_output"
    """Field, in ``data.jsonl``, of the list of answers."""
    scores: tuple[str, ...] = ("faithfulness", "helpfulness", "ethical")
    """Fields, in ``data.jsonl``, of lists of scores; each is a dimension. Null scores are no ratings."""
    reasons: dict[str, str] = Field(default={"score_reasons": REASON})
    """Fields, in ``data.jsonl``, of lists with a text or null for each output, and the dimension each is about. The
    text goes to the output's score of that dimension, and where it has none makes a rating without a number. A list may
    also hold an object with a text for each of several dimensions."""
    ranking: str = "final_ranking"
    """Field, in ``data.jsonl``, of the ranking."""
    ranking_reason: str = "ranking_reason"
    """Field, in ``data.jsonl``, of why it is so."""
    best: Literal["lowest", "highest"] = "lowest"
    """Which number of a ranking given as a list is the best."""
    tie_positive: str | None = None
    """Field, in ``data.jsonl``, of the annotator's right answer to a question whose outputs are all bad."""
    tie_negative: str | None = None
    """Field, in ``data.jsonl``, of the annotator's wrong answer to a question whose outputs are all good."""
    tie_writer: str = Field(default="annotator", min_length=1)
    """Model of these two answers."""
    media: tuple[str, ...] = Field(default=("image", "video"), min_length=1)
    """Fields of the image or video; one of them holds a location, or a list of them."""
    annotator: str = Field(default=UNKNOWN_ANNOTATOR, min_length=1)
    """Who judged; the release names nobody."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the ranking and the pairs are about."""

    @model_validator(mode="after")
    def _one_text_for_a_dimension(self) -> "MmRlhfSource":
        about = list(self.reasons.values())
        if self.dimension in about or len(set(about)) < len(about):
            raise ValueError(
                f"reasons: each field needs a dimension of its own, and {self.dimension!r} has the `ranking_reason`"
            )
        return self

    def shows_images(self) -> bool:
        return True

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with its image or video, and rated answers or a vote on two."""
        return self._rated(row) if self.outputs in row else self._pair(row)

    def row(self, record: Record) -> dict[str, Any]:
        return self._pair_row(record) if record.votes else self._rated_row(record)

    def _media(self, row: dict[str, Any]) -> list[str]:
        named = [name for name in self.media if row.get(name)]
        if len(named) != 1:
            raise BadRowError("missing_field", f"one of the fields {', '.join(self.media)} must name a file")
        field, value = named[0], row[named[0]]
        return [image(each, field) for each in (value if isinstance(value, list) else [value])]

    def _start(self, record: Record) -> dict[str, Any]:
        """The metadata as the beginning of a row, with the image where they do not name it."""
        row = dict(record.metadata or {})
        if record.images and not any(row.get(name) for name in self.media):
            row[self.media[0]] = record.images[0] if len(record.images) == 1 else list(record.images)
        return row

    def _rated(self, row: dict[str, Any]) -> Record:
        prompt = [("user", words(row, "question"))]
        check_prompt(prompt, "question")
        outputs = required(row, self.outputs)
        if not isinstance(outputs, list) or not all(isinstance(output, str) for output in outputs):
            raise wrong_type(self.outputs, outputs, "a list of strings")
        answers = [Answer([("assistant", output)]) for output in outputs]
        self._rate(row, answers)
        written = self._tie_breaks(row, answers)
        named = [(f"{self.outputs}[{i}]", answer) for i, answer in enumerate(answers)]
        kept, refused = usable([*named, *written.items()])
        ranked = (self.ranking, self.ranking_reason) if row.get(self.ranking) is not None else ()
        metadata = rest(row, ("question", self.outputs, *self.scores, *self.reasons, *ranked, *written))
        return Record(prompt, list(kept.values()), images=self._media(row), metadata=metadata, refused=refused)

    def _rate(self, row: dict[str, Any], answers: list[Answer]) -> None:
        """Adds scores, reasons and places to the answers, in the order of the fields."""
        count = len(answers)
        scores = {name: _column(row, name, count) for name in self.scores}
        reasons = self._reasons(row, count)
        places, why = self._places(row, count), text(row, self.ranking_reason)
        for at, answer in enumerate(answers):
            values = {name: value for name, column in scores.items() if (value := column[at]) is not None}
            dimensions = dict.fromkeys([*values, *reasons[at]])
            ratings = [Rating(name, values.get(name), self.annotator, reasons[at].get(name)) for name in dimensions]
            place = places[at]
            ranked = [] if place is None else [Rating(self.dimension, place, self.annotator, why)]
            answer.ratings = ratings + ranked

    def _reasons(self, row: dict[str, Any], count: int) -> list[dict[str, str]]:
        """What is said of each output, by dimension; blank texts say nothing."""
        said: list[dict[str, str]] = [{} for _ in range(count)]
        for field, dimension in self.reasons.items():
            for at, item in enumerate(_entries(row, field, count)):
                path = f"{field}[{at}]"
                for name in item if isinstance(item, dict) else ():
                    if name == self.dimension or name in said[at]:
                        raise BadRowError("wrong_type", f"field `{path}` has another text for {name!r}")
                texts = item if isinstance(item, dict) else {dimension: item}
                for name, value in texts.items():
                    if (reason := _said({path: value}, path)) is not None:
                        said[at][name] = reason
        return said

    def _tie_breaks(self, row: dict[str, Any], answers: list[Answer]) -> dict[str, Answer]:
        """The annotator's own answers by their fields, ranked before or behind all outputs.

        Raises:
            BadRowError: ``wrong_type``, or ``missing_field`` where an output has no place to be ranked against.
        """
        written = {}
        for field, step in ((self.tie_positive, 1.0), (self.tie_negative, -1.0)):
            said = None if field is None else text(row, field)
            if field is None or said is None:
                continue
            places = [rating_of(answer, self.dimension, self.annotator) for answer in answers]
            values = [each.value for each in places if each is not None and each.value is not None]
            if not values or len(values) < len(answers):
                raise BadRowError("missing_field", f"field `{field}` needs a place of every output in `{self.ranking}`")
            place = (max(values) if step > 0 else min(values)) + step
            rating = Rating(self.dimension, place, self.annotator, text(row, self.ranking_reason))
            written[field] = Answer([("assistant", said)], self.tie_writer, [rating])
        return written

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
        outputs = [answer for answer in record.answers if answer.model != self.tie_writer]
        row[self.outputs] = [reply(answer) for answer in outputs]
        for dimension in (*self.scores, self.dimension):
            given = [next((r for r in a.ratings if r.dimension == dimension), None) for a in outputs]
            if all(rating is None or rating.value is None for rating in given):
                continue
            ranked = dimension == self.dimension
            row[self.ranking if ranked else dimension] = [
                None
                if rating is None or rating.value is None
                else whole(self._turned(rating.value) if ranked else rating.value)
                for rating in given
            ]
            reasons = {rating.rationale for rating in given if rating is not None}
            if ranked and reasons != {None}:
                row[self.ranking_reason] = reasons.pop()
        row |= self._reasons_row(outputs)
        for answer in record.answers:
            if answer.model == self.tie_writer:
                row[self._tie_field(answer, outputs)] = reply(answer)
        return proven(self, record, row)

    def _reasons_row(self, outputs: list[Answer]) -> dict[str, Any]:
        """The lists of reasons: each dimension in its field's, others by name in the first field's."""
        fields = {dimension: field for field, dimension in self.reasons.items()}
        first = next(iter(self.reasons), None)
        columns: dict[str, list[dict[str, str]]] = {field: [{} for _ in outputs] for field in self.reasons}
        for at, answer in enumerate(outputs):
            for rating in answer.ratings:
                field = fields.get(rating.dimension, first)
                if rating.rationale is not None and rating.dimension != self.dimension and field is not None:
                    columns[field][at][rating.dimension] = rating.rationale
        return {
            field: [said.get(self.reasons[field]) if said.keys() <= {self.reasons[field]} else said for said in column]
            for field, column in columns.items()
            if any(column)
        }

    def _tie_field(self, answer: Answer, outputs: list[Answer]) -> str:
        """The field of an annotator's answer, by its place before or behind the outputs."""
        own, *others = (rating_of(each, self.dimension, self.annotator) for each in (answer, *outputs))
        before = own is not None and all(each is not None and numbered(own) > numbered(each) for each in others)
        field = self.tie_positive if before else self.tie_negative
        if field is None:
            raise NoWayBackError(f"no setting names the field of the answer that {self.tie_writer!r} wrote")
        return field

    def _pair(self, row: dict[str, Any]) -> Record:
        prompt = [("user", words(row, "prompt"))]
        check_prompt(prompt, "prompt")
        tie = row.get("is_tie")
        if tie is not None and not isinstance(tie, bool):
            raise wrong_type("is_tie", tie, "true or false")
        answers = [Answer(turns) for turns in sides(row, _SIDES)]
        reasons = [_said(row, name) for name in _WHY]
        for answer, reason in zip(answers, reasons, strict=True):
            if reason is not None:
                answer.ratings = [Rating(REASON, None, self.annotator, reason)]
        vote = Vote(0, 1, "tie" if tie else "a", self.annotator, self.dimension, None, reasons[0])
        metadata = rest(row, ("prompt", *_SIDES, "is_tie", *_WHY))
        return Record(prompt, answers, [vote], images=self._media(row), metadata=metadata)

    def _pair_row(self, record: Record) -> dict[str, Any]:
        ordered = preferred_first(record)
        [vote] = ordered.votes
        row = {**self._start(record), "prompt": question(record)}
        row |= {name: reply(answer) for name, answer in zip(_SIDES, ordered.answers, strict=True)}
        for name, answer in zip(_WHY, ordered.answers, strict=True):
            if answer.ratings:
                row[name] = answer.ratings[0].rationale
        return proven(self, ordered, row | {"is_tie": vote.choice == "tie"})


def _said(row: dict[str, Any], name: str) -> str | None:
    """An optional text; a blank one says nothing."""
    found = text(row, name)
    return found if found is not None and found.strip() else None


def _column(row: dict[str, Any], name: str, count: int) -> list[float | None]:
    """A list of one number or null for each output; all null when the row has none."""
    return [number({name: v}, name, f"{name}[{place}]") for place, v in enumerate(_entries(row, name, count))]


def _entries(row: dict[str, Any], name: str, count: int) -> list[Any]:
    """A list with an entry for each output; all null when the row has none. Raises ``wrong_type``."""
    values = row.get(name)
    if values is None:
        return [None] * count
    if not isinstance(values, list):
        raise wrong_type(name, values, "a list")
    if len(values) != count:
        raise BadRowError("wrong_type", f"field `{name}` has {len(values)} entries for {count} outputs")
    return values
