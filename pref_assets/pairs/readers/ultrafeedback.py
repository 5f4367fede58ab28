"""UltraFeedback as published: four completions of an instruction with ratings and reasons of four aspects."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import objects, rest, usable, words
from pref_assets.pairs.readers.record import (
    OVERALL,
    Answer,
    BadRowError,
    Rating,
    Record,
    check_prompt,
    number,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import numbered, proven, question, reply

_ASPECTS = "annotations"
_RATING = "Rating"
_WHY_RATING = "Rationale For Rating"
_WHY = "Rationale"
_WRONG_SCORE = 10.0
_RIGHT_SCORE = 1.0


class UltraFeedbackSource(Source):
    """Rows ``{source, instruction, models, correct_answers, incorrect_answers, completions: [{model, response,
    annotations, overall_score, fine-grained_score, critique, ...}]}`` (Cui et al. 2023, arXiv:2310.01377).

    Ratings are strings, "N/A" where an aspect does not apply. The first release gave 2,628 completions an overall score
    of 10 where most deserved 1 (the judge's "1" had been read together with what followed); the release of December
    2023 sets those with a mean aspect rating of at most 2 to 1, keeps those above 4 and judged the others again. Read
    that one where you can: ``hf://openbmb/UltraFeedback@40b436560ca83a8dba36114c22ab3c66e43f6d5e``. Its rows of source
    ``truthful_qa`` are an evaluation's questions.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "source": "sharegpt",
            "instruction": "Name a tree that keeps its leaves in winter.",
            "models": ["model-one", "model-two"],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
            "completions": [
                {
                    "model": "model-one",
                    "principle": "helpfulness",
                    "custom_system_prompt": "Answer so that it helps.",
                    "response": "The holly does.",
                    "annotations": {
                        "instruction_following": {"Rating": "5", "Rationale": "It names one."},
                        "honesty": {"Rating": "N/A", "Rationale": "Nothing to be unsure of."},
                        "truthfulness": {
                            "Type": ["None"],
                            "Rationale": "No mistake.",
                            "Rating": "5",
                            "Rationale For Rating": "Holly is evergreen.",
                        },
                    },
                    "overall_score": 8.5,
                    "fine-grained_score": 5.0,
                    "critique": "Short and right.",
                },
                {
                    "model": "model-two",
                    "principle": "honesty",
                    "custom_system_prompt": "Say what you do not know.",
                    "response": "The oak, I think.",
                    "annotations": {
                        "instruction_following": {"Rating": "2", "Rationale": "Most oaks lose theirs."},
                    },
                    "overall_score": 10.0,
                    "fine-grained_score": 2.0,
                    "critique": "Wrong for most oaks.",
                },
            ],
        },
    )
    keeps: ClassVar[str] = (
        "Every completion with its model. Ratings: `overall` (with the critique as rationale), `fine-grained_score`, "
        "and one for each aspect that was rated. The rest of the row, and of each completion (principle, system "
        "prompt, types of faults, aspects not rated, overall scores that were repaired), is metadata. No votes: "
        "`pairs.pairing` names the dimensions to compare by."
    )

    type: Literal["ultrafeedback"] = "ultrafeedback"
    annotator: str = Field(default="gpt-4", min_length=1)
    """Who rated."""
    not_rated: tuple[str, ...] = ("N/A",)
    """Ratings that say that an aspect does not apply; such an aspect has no rating."""
    tens: Literal["repair", "keep"] = "repair"
    """What becomes of overall scores of 10, as published in December 2023: ``repair`` reads 1 where the mean aspect
    rating is at most ``tens_low``, 10 where it is above ``tens_high``, and no overall rating between; ``keep`` takes
    them as they are."""
    tens_low: float = Field(default=2, ge=1, le=5)
    """Mean aspect rating up to which an overall 10 was a 1."""
    tens_high: float = Field(default=4, ge=1, le=5)
    """Mean aspect rating above which an overall 10 is a 10."""
    overall: str = "overall_score"
    """Field of the overall score."""
    fine_grained: str = "fine-grained_score"
    """Field of the mean aspect rating; where it is missing, the mean is taken here."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt and its usable completions with their ratings."""
        prompt = [("user", words(row, "instruction"))]
        check_prompt(prompt, "instruction")
        items = objects(row, "completions")
        if not items:
            raise BadRowError("missing_field", "field `completions` is missing or empty")
        read = [self._answer(item, f"completions[{index}]") for index, item in enumerate(items)]
        kept, refused = usable((f"completions[{i}].response", answer) for i, (answer, _) in enumerate(read))
        left = [read[position][1] for position in kept]
        metadata = rest(row, ("instruction", "completions"))
        if any(left):
            metadata["completions"] = left
        return Record(prompt, list(kept.values()), metadata=metadata, refused=refused)

    def row(self, record: Record) -> dict[str, Any]:
        metadata = dict(record.metadata or {})
        left = metadata.pop("completions", [{}] * len(record.answers))
        items = [self._item(answer, rest) for answer, rest in zip(record.answers, left, strict=True)]
        return proven(self, record, {**metadata, "instruction": question(record), "completions": items})

    def _answer(self, item: dict[str, Any], path: str) -> tuple[Answer, dict[str, Any]]:
        """The completion, and what of it is in none of the tables' columns."""
        answer = Answer(
            [("assistant", words(item, "response", f"{path}.response"))], text(item, "model", path=f"{path}.model")
        )
        left = rest(item, ("response", "model", _ASPECTS, self.overall, self.fine_grained, "critique"))
        aspects, unsaid = self._aspects(item, f"{path}.{_ASPECTS}")
        if unsaid:
            left[_ASPECTS] = unsaid
        ratings = aspects.copy()
        mean = number(item, self.fine_grained, f"{path}.{self.fine_grained}")
        if mean is not None:
            ratings.append(Rating(self.fine_grained, mean, self.annotator))
        elif values := [rating.value for rating in aspects if rating.value is not None]:
            mean = sum(values) / len(values)
        published = number(item, self.overall, f"{path}.{self.overall}")
        score = self._repaired(published, mean)
        critique = text(item, "critique", path=f"{path}.critique")
        if score is not None:
            ratings.append(Rating(OVERALL, score, self.annotator, critique))
        elif critique is not None:
            left["critique"] = critique
        if score != published:
            left[self.overall] = published
        answer.ratings = ratings
        return answer, left

    def _repaired(self, score: float | None, mean: float | None) -> float | None:
        if self.tens == "keep" or score != _WRONG_SCORE or mean is None or mean > self.tens_high:
            return score
        return _RIGHT_SCORE if mean <= self.tens_low else None

    def _aspects(self, item: dict[str, Any], path: str) -> tuple[list[Rating], dict[str, Any]]:
        """Ratings of the aspects, and what else was said of them."""
        aspects = item.get(_ASPECTS) or {}
        if not isinstance(aspects, dict):
            raise wrong_type(path, aspects, "an object of aspects")
        ratings, left = [], {}
        for name, said in aspects.items():
            if not isinstance(said, dict):
                raise wrong_type(f"{path}.{name}", said, "an object with `Rating`")
            value = self._value(said.get(_RATING), f"{path}.{name}.{_RATING}")
            if value is None:
                left[name] = said
                continue
            why = _WHY_RATING if said.get(_WHY_RATING) is not None else _WHY
            ratings.append(Rating(name, value, self.annotator, text(said, why, path=f"{path}.{name}.{why}")))
            if unsaid := rest(said, (_RATING, why)):
                left[name] = unsaid
        return ratings, left

    def _value(self, said: Any, path: str) -> float | None:
        """A rating, given as a number or as its digits."""
        if said is None or said in self.not_rated:
            return None
        try:
            value = float(said) if isinstance(said, (str, int, float)) and not isinstance(said, bool) else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            known = ", ".join(map(repr, self.not_rated))
            raise BadRowError("wrong_type", f"field `{path}` is {said!r}, expected a number or one of {known}")
        return value

    def _item(self, answer: Answer, left: dict[str, Any]) -> dict[str, Any]:
        """The completion as a row has it."""
        unsaid = left.get(_ASPECTS, {})
        aspects = dict(unsaid)
        item: dict[str, Any] = {"model": answer.model, "response": reply(answer)}
        for rating in answer.ratings:
            if rating.dimension == OVERALL:
                item[self.overall] = numbered(rating)
                if rating.rationale is not None:
                    item["critique"] = rating.rationale
            elif rating.dimension == self.fine_grained:
                item[self.fine_grained] = numbered(rating)
            else:
                said = unsaid.get(rating.dimension, {})
                aspect = {**said, _RATING: str(numbered(rating))}
                if rating.rationale is not None:
                    aspect[_WHY_RATING if _WHY in said else _WHY] = rating.rationale
                aspects[rating.dimension] = aspect
        return {**item, **left, _ASPECTS: aspects}
