"""MultiPref: two completions, judged on four aspects by two crowd workers and two experts."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import NO_JUDGEMENT, objects, rest, sides, signed_vote, words
from pref_assets.pairs.readers.record import (
    Answer,
    BadRowError,
    Record,
    Vote,
    check_prompt,
    required,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import forward, proven, question, reply, signed, two

_SIDES = ("completion_a", "completion_b")
_MODELS = ("model_a", "model_b")
_SUFFIX = "_pref"


class MultiPrefSource(Source):
    """Rows ``{text, completion_a, model_a, completion_b, model_b, normal_worker_annotations: [...],
    expert_worker_annotations: [...], ...}`` (Miranda et al. 2024, arXiv:2410.19133).

    An annotation is ``{evaluator, overall_pref, helpful_pref, truthful_pref, harmless_pref, ...}`` with five-point
    labels. An annotator is named after the group and the evaluator (``expert:17``), so that two groups that number
    their people alike do not mix.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "comparison_id": "c1",
            "prompt_id": "p1",
            "text": "Who discovered penicillin?",
            "completion_a": "Alexander Fleming, in 1928.",
            "model_a": "model-one",
            "completion_b": "A scientist.",
            "model_b": "model-two",
            "source": "invented",
            "category": "Open QA",
            "subject_study": "Biology",
            "highest_level_degree": "Bachelor's degree",
            "normal_worker_annotations": [
                {
                    "evaluator": "3",
                    "timestamp": 1700000000.0,
                    "time_spent": 61,
                    "overall_pref": "A-is-clearly-better",
                    "overall_confidence": "fairly-confident",
                    "overall_checked_reasons": ["More specific", "More complete"],
                    "helpful_pref": "A-is-slightly-better",
                    "truthful_pref": "Tie",
                    "harmless_pref": "Tie",
                }
            ],
            "expert_worker_annotations": [
                {
                    "evaluator": "3",
                    "time_spent": 40,
                    "overall_pref": "B-is-slightly-better",
                    "helpful_pref": "A-is-clearly-better",
                    "truthful_pref": "Tie",
                    "harmless_pref": None,
                }
            ],
        },
    )
    keeps: ClassVar[str] = (
        "Both completions with their models; for each annotation one vote an aspect, with strength 2 (clearly), 1 "
        "(slightly) or 0 (tie) and the checked reasons as rationale. Times, confidences, ids and subject are metadata."
    )

    type: Literal["multipref"] = "multipref"
    groups: dict[str, str] = Field(
        default={"normal": "normal_worker_annotations", "expert": "expert_worker_annotations"}, min_length=1
    )
    """Groups of annotators, and the field that holds their annotations."""
    dimensions: tuple[str, ...] = Field(default=("overall", "helpful", "truthful", "harmless"), min_length=1)
    """Aspects; the label of one is the field ``<aspect>_pref``."""
    labels: dict[str, int] = Field(
        default={
            "A-is-clearly-better": -2,
            "A-is-slightly-better": -1,
            "Tie": 0,
            "B-is-slightly-better": 1,
            "B-is-clearly-better": 2,
        },
        min_length=1,
    )
    """Labels, and how much better B is; negative where A is better."""
    evaluator: str = "evaluator"
    """Field of who annotated."""
    reasons: str = "_checked_reasons"
    """Field, after the aspect's name, with the reasons that the annotator checked."""

    @field_validator("labels")
    @classmethod
    def _unlike(cls, labels: dict[str, int]) -> dict[str, int]:
        if len(set(labels.values())) < len(labels):
            raise ValueError("two labels mean the same, so that a vote could not be written back")
        return labels

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, a vote for each annotation and aspect."""
        prompt = [("user", words(row, "text"))]
        check_prompt(prompt, "text")
        answers = [Answer(turns, text(row, model)) for turns, model in zip(sides(row, _SIDES), _MODELS, strict=True)]
        metadata = rest(row, ("text", *_SIDES, *_MODELS))
        votes: list[Vote] = []
        for group, field in self.groups.items():
            items = objects(row, field)
            for place, item in enumerate(items):
                votes += self._votes(item, group, f"{field}[{place}]")
            if items:
                metadata[field] = [self._left(item) for item in items]
        if not votes:
            raise BadRowError(NO_JUDGEMENT, f"none of {', '.join(self.groups.values())} holds a judgement")
        return Record(prompt, answers, votes, metadata=metadata)

    def row(self, record: Record) -> dict[str, Any]:
        row = {**(record.metadata or {}), "text": question(record)}
        for answer, side, model in zip(two(record), _SIDES, _MODELS, strict=True):
            row |= {side: reply(answer), model: answer.model}
        for group, field in self.groups.items():
            if items := row.get(field):
                row[field] = [item | self._labels(record, f"{group}:{item[self.evaluator]}") for item in items]
        return proven(self, record, row)

    def _labels(self, record: Record, annotator: str) -> dict[str, str]:
        """Labels that an annotator gave, by field."""
        label_of = {value: label for label, value in self.labels.items()}
        votes = [forward(vote) for vote in record.votes if vote.annotator == annotator]
        return {vote.dimension + _SUFFIX: label_of.get(int(signed(vote)), "") for vote in votes}

    def _votes(self, item: dict[str, Any], group: str, path: str) -> list[Vote]:
        required(item, self.evaluator, f"{path}.{self.evaluator}")
        annotator = text(item, self.evaluator, path=f"{path}.{self.evaluator}")
        votes = []
        for dimension in self.dimensions:
            name = f"{path}.{dimension}{_SUFFIX}"
            label = text(item, dimension + _SUFFIX, path=name)
            if not label:
                continue
            if label not in self.labels:
                known = ", ".join(self.labels)
                raise BadRowError("wrong_type", f"field `{name}` is {label!r}, known are {known} (setting `labels`)")
            vote = signed_vote(self.labels[label], max(map(abs, self.labels.values())), name)
            vote.annotator, vote.dimension = f"{group}:{annotator}", dimension
            vote.rationale = self._reasons(item, dimension, path)
            votes.append(vote)
        return votes

    def _reasons(self, item: dict[str, Any], dimension: str, path: str) -> str | None:
        name = dimension + self.reasons
        reasons = item.get(name) or []
        if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
            raise wrong_type(f"{path}.{name}", reasons, "a list of strings")
        return "; ".join(reasons) or None

    def _left(self, item: dict[str, Any]) -> dict[str, Any]:
        """What of an annotation is in no vote; a label that is no vote stays."""
        names = [dimension + _SUFFIX for dimension in self.dimensions]
        return rest(item, [name for name in names if item.get(name)])
