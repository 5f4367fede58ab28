"""HuggingFaceH4/ultrafeedback_binarized: a question, two whole dialogues and their scores."""

from typing import Any, ClassVar, Literal

from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.pairwise import better_first, sides, with_metadata
from pref_assets.pairs.readers.record import (
    Answer,
    BadRowError,
    Rating,
    Record,
    Vote,
    check_prompt,
    check_sides,
    number,
)
from pref_assets.pairs.readers.trl import SCORE
from pref_assets.pairs.readers.writing import message_list, numbered, proven

_SIDES = ("chosen", "rejected")
_SCORES = ("score_chosen", "score_rejected")
_NAMED = ("prompt", "messages", *_SIDES, *_SCORES)


class UltraFeedbackBinarizedSource(Source):
    """Rows ``{prompt, prompt_id, chosen: [messages], rejected: [messages], messages, score_chosen, score_rejected}``
    (Tunstall et al. 2023, arXiv:2310.16944).

    Scores become ratings of dimension ``score``, their difference the strength.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": "Hi",
            "prompt_id": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
            "chosen": [{"content": "Hi", "role": "user"}, {"content": "Hello!", "role": "assistant"}],
            "rejected": [{"content": "Hi", "role": "user"}, {"content": "What?", "role": "assistant"}],
            "messages": [{"content": "Hi", "role": "user"}, {"content": "Hello!", "role": "assistant"}],
            "score_chosen": 8.5,
            "score_rejected": 6.0,
        },
    )
    keeps: ClassVar[str] = (
        "Both dialogues and their scores; `prompt_id` as metadata. `messages` repeats `chosen` and is written again, "
        "and kept as metadata where it says something else."
    )

    type: Literal["ultrafeedback_binarized"] = "ultrafeedback_binarized"
    equal_scores: Literal["tie", "chosen"] = "tie"
    """What two equal scores say. The rejected side was drawn from the answers that are not the best, some of which are
    just as good: their order then says nothing."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two rated answers, one vote."""
        found = sides(row, "prompt", *_SIDES, "explicit")
        check_prompt(found.prompt, "chosen")
        check_sides(found.chosen, found.rejected, _SIDES)
        scores = [number(row, name) for name in _SCORES]
        answers = [
            Answer(turns, ratings=() if score is None else (Rating(SCORE, score, "unknown"),))
            for turns, score in zip((found.chosen, found.rejected), scores, strict=True)
        ]
        metadata = {name: value for name, value in row.items() if name not in _NAMED}
        if row.get("messages") not in (None, row["chosen"]):
            metadata["messages"] = row["messages"]
        return Record(found.prompt, answers, [self._vote(*scores)], metadata=metadata)

    def _vote(self, chosen: float | None, rejected: float | None) -> Vote:
        if chosen is None or rejected is None:
            return Vote(0, 1, "a")
        if chosen < rejected:
            raise BadRowError(
                "contradictory_scores", f"`score_chosen` is {chosen:g}, below `score_rejected` {rejected:g}"
            )
        tie = chosen == rejected and self.equal_scores == "tie"
        return Vote(0, 1, "tie" if tie else "a", strength=chosen - rejected)

    def row(self, record: Record) -> dict[str, Any]:
        """The question, both dialogues, their scores and the metadata."""
        tie = len(record.votes) == 1 and record.votes[0].choice == "tie"
        record = record if tie else better_first(record)
        if len(record.answers) != 2 or record.turns[-1][0] != "user":
            raise NoWayBackError("format `ultrafeedback_binarized` holds a user's question and two answers to it")
        prompt = message_list(record.turns)
        sides = [prompt + message_list(answer.turns) for answer in record.answers]
        row: dict[str, Any] = {"prompt": record.turns[-1][1], **dict(zip(_SIDES, sides, strict=True))}
        for name, answer in zip(_SCORES, record.answers, strict=True):
            if answer.ratings:
                row[name] = numbered(answer.ratings[0])
        if "messages" not in (record.metadata or {}):
            row["messages"] = row["chosen"]
        return proven(self, record, with_metadata(row, record))
