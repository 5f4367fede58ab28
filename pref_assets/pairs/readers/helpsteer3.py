"""HelpSteer3's preference data: two responses to a conversation, judged by up to three annotators."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import NO_JUDGEMENT, objects, position_name, rest, sides, signed_vote
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Record,
    Vote,
    check_prompt,
    messages,
    number,
    required,
    text,
)
from pref_assets.pairs.readers.writing import forward, message_list, only_vote, proven, reply, signed, two

_SIDES = ("response1", "response2")
_LABEL = "overall_preference"
_EACH = "individual_preference"
_LIMIT = 3.0


class HelpSteer3Source(Source):
    """Rows ``{domain, language, context, response1, response2, overall_preference, individual_preference: [{score,
    reasoning, feedback1, feedback2}]}`` (Wang et al. 2025, arXiv:2505.11475).

    Scores go from -3 to 3, negative where ``response1`` is better. Annotators have no names, only places in a row
    (``unknown 1``); the same place in two rows is not the same person.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "domain": "general",
            "language": "english",
            "context": [{"role": "user", "content": "Is a whale a fish?"}],
            "response1": "No, it is a mammal.",
            "response2": "Yes.",
            "overall_preference": -2,
            "individual_preference": [
                {
                    "score": -3,
                    "reasoning": "Only the first is right.",
                    "feedback1": "Right and short.",
                    "feedback2": "Wrong.",
                },
                {"score": -2, "reasoning": "A whale breathes air.", "feedback1": "Right.", "feedback2": "Wrong."},
            ],
        },
    )
    keeps: ClassVar[str] = (
        "Both responses; one vote for each annotator with strength 0 to 3 and the reasoning as rationale (or one vote "
        "of the published label, see `judgements`). Domain, language, the label and the feedback on each response are "
        "metadata."
    )

    type: Literal["helpsteer3"] = "helpsteer3"
    judgements: Literal["individual_preference", "overall_preference"] = "individual_preference"
    """Which judgements are votes: the annotators', or the label that the publisher derived from them."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the judgements are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, a vote for each judgement."""
        prompt = messages(required(row, "context"), "context")
        check_prompt(prompt, "context")
        metadata = rest(row, ("context", *_SIDES))
        if self.judgements == _LABEL:
            required(row, _LABEL)
            votes = [self._vote(row, _LABEL, UNKNOWN_ANNOTATOR, _LABEL)]
            del metadata[_LABEL]
        else:
            judged = objects(row, _EACH)
            votes = [
                self._vote(item, "score", position_name(i), f"{_EACH}[{i}].score") for i, item in enumerate(judged)
            ]
            metadata[_EACH] = [
                item if vote is None else rest(item, ("score", "reasoning"))
                for item, vote in zip(judged, votes, strict=True)
            ]
        given = [vote for vote in votes if vote is not None]
        if not given:
            raise BadRowError(NO_JUDGEMENT, f"field `{self.judgements}` holds no judgement")
        return Record(prompt, [Answer(turns) for turns in sides(row, _SIDES)], given, metadata=metadata)

    def row(self, record: Record) -> dict[str, Any]:
        row = {**(record.metadata or {}), "context": message_list(record.turns)}
        row |= {name: reply(answer) for name, answer in zip(_SIDES, two(record), strict=True)}
        votes = {vote.annotator: forward(vote) for vote in record.votes}
        if self.judgements == _LABEL:
            row[_LABEL] = signed(only_vote(record))
        else:
            left = row.get(_EACH, [{}] * len(votes))
            items = ((item, votes.get(position_name(place))) for place, item in enumerate(left))
            row[_EACH] = [_item(item, vote) for item, vote in items if vote is not None or "score" in item]
        return proven(self, record, row)

    def _vote(self, item: dict[str, Any], name: str, annotator: str, path: str) -> Vote | None:
        score = number(item, name, path)
        if score is None:
            return None
        vote = signed_vote(score, _LIMIT, path)
        vote.annotator, vote.dimension = annotator, self.dimension
        vote.rationale = None if name == _LABEL else text(item, "reasoning", path=path.replace("score", "reasoning"))
        return vote


def _item(left: dict[str, Any], vote: Vote | None) -> dict[str, Any]:
    if vote is None:
        return left
    return {**left, "score": signed(vote)} | ({} if vote.rationale is None else {"reasoning": vote.rationale})
