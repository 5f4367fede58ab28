"""Stanford Human Preferences: two comments on a post, the one that readers voted up is preferred."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import rest, sides, words
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Vote,
    check_prompt,
    number,
    required,
)
from pref_assets.pairs.readers.writing import numbered, only_vote, proven, question, reply, two

_SIDES = ("human_ref_A", "human_ref_B")
_SCORES = ("score_A", "score_B")
_READ = ("history", *_SIDES, *_SCORES, "labels", "score_ratio")


class ShpSource(Source):
    """Rows ``{history, human_ref_A, human_ref_B, labels, score_A, score_B, score_ratio, ...}`` of SHP and SHP-2
    (Ethayarajh et al. 2022, "Understanding dataset difficulty with V-usable information").

    ``labels`` is 1 where A is preferred, 0 where B is. Some posts have hundreds of pairs: bound them by a pairing or
    selection rule.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "post_id": "p1",
            "domain": "askbaking_train",
            "upvote_ratio": 0.97,
            "history": "Why does my bread not rise?",
            "c_root_id_A": "c1",
            "c_root_id_B": "c2",
            "created_at_utc_A": 1600000000,
            "created_at_utc_B": 1600000900,
            "score_A": 3,
            "score_B": 12,
            "human_ref_A": "No idea.",
            "human_ref_B": "Is the yeast still alive? Try it in warm water.",
            "labels": 0,
            "seconds_difference": 900.0,
            "score_ratio": 4.0,
        },
    )
    keeps: ClassVar[str] = (
        "Both comments with their scores as ratings of dimension `score`; one vote whose strength is the score ratio. "
        "Post, domain, comment ids and times are metadata."
    )

    type: Literal["shp"] = "shp"
    annotator: str = Field(default=UNKNOWN_ANNOTATOR, min_length=1)
    """Name for the crowd that voted."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the vote is about."""
    rating: str = Field(default="score", min_length=1)
    """Dimension of the comments' scores."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers with scores, one vote."""
        prompt = [("user", words(row, "history"))]
        check_prompt(prompt, "history")
        label = required(row, "labels")
        if isinstance(label, bool) or label not in (0, 1):
            raise BadRowError("wrong_type", f"field `labels` is {label!r}, expected 1 (A is preferred) or 0 (B is)")
        choice = "a" if label == 1 else "b"
        answers = [Answer(turns) for turns in sides(row, _SIDES)]
        for answer, name in zip(answers, _SCORES, strict=True):
            score = number(row, name)
            if score is not None:
                answer.ratings = (Rating(self.rating, score, self.annotator),)
        vote = Vote(0, 1, choice, self.annotator, self.dimension, number(row, "score_ratio"))
        return Record(prompt, answers, [vote], metadata=rest(row, _READ))

    def row(self, record: Record) -> dict[str, Any]:
        vote = only_vote(record)
        row = {**(record.metadata or {}), "history": question(record), "labels": int(vote.choice == "a")}
        for answer, side, score in zip(two(record), _SIDES, _SCORES, strict=True):
            row[side] = reply(answer)
            for rating in answer.ratings:
                row[score] = numbered(rating)
        if vote.strength is not None:
            row["score_ratio"] = vote.strength
        return proven(self, record, row)
