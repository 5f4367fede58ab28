"""HelpSteer2: ratings of five attributes, the same by annotator, and preferences between two responses."""

from collections import defaultdict
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.judgements import (
    NO_JUDGEMENT,
    objects,
    place_of,
    position_name,
    rest,
    sides,
    signed_vote,
    words,
)
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Vote,
    check_answer,
    check_prompt,
    number,
    required,
    text,
)
from pref_assets.pairs.readers.tagged import tagged_text, tagged_turns
from pref_assets.pairs.readers.writing import forward, numbered, only_vote, proven, reply, signed, two

_SIDES = ("response_1", "response_2")
_OVERALL = "preference_strength"
_STATEMENT = "preference_statement"
_WHY = {"three_most_similar_preferences": "statement", "all_preferences_unprocessed": "justification"}
_LIMIT = 3.0

Judgements = Literal["three_most_similar_preferences", "all_preferences_unprocessed", "preference_strength"]


class HelpSteer2Source(Source):
    """Rows of HelpSteer2 in any of its three shapes (Wang et al. 2024, arXiv:2406.08673 and arXiv:2410.01257):

    - ratings ``{prompt, response, helpfulness, correctness, coherence, complexity, verbosity}``, whole numbers 0 to 4;
      the two responses of a prompt are two rows;
    - disagreements: the same with a list for each attribute, one number an annotator;
    - preferences ``{prompt, response_1, response_2, preference_strength, ...}``: -3 to 3, negative where
      ``response_1`` is better.

    A prompt of several turns holds them in one text, with lines ``<extra_id_1>Assistant`` and ``<extra_id_1>User``
    between them. Annotators have no names, only places in a row (``unknown 1``); the same place in two rows is not the
    same person.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": "c#",
            "response": "C# is a language for .NET.",
            "helpfulness": 3,
            "correctness": 4,
            "coherence": 4,
            "complexity": 2,
            "verbosity": 1,
        },
        {
            "prompt": "Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nHow old is the moon?",
            "response": "About 4.5 billion years.",
            "helpfulness": [4, 3, 4],
            "correctness": [4, 4, 4],
            "coherence": [4, 4, 3],
            "complexity": [1, 2, 1],
            "verbosity": [0, 1, 1],
        },
        {
            "split": "train",
            "prompt": "How old is the moon?",
            "response_1": "Very old.",
            "response_2": "About 4.5 billion years.",
            "preference_strength": 2,
            "preference_statement": "@Response 2 is better than @Response 1.",
            "preference_elaboration": "It gives the age.",
            "three_most_similar_preferences": [
                {"statement": "@Response 2 is better.", "elaboration": "It has a number.", "strength": 2},
                {"statement": "@Response 2 is much better.", "elaboration": "It answers.", "strength": 3},
                {"statement": "@Response 2 is slightly better.", "elaboration": "Both are short.", "strength": 1},
            ],
            "all_preferences_unprocessed": [
                {"strength": 2, "justification": "It has a number."},
                {"strength": 3, "justification": "It answers."},
                {"strength": 1, "justification": "Both are short."},
                {"strength": -100, "justification": "Neither cites a source."},
            ],
        },
    )
    keeps: ClassVar[str] = (
        "Ratings: one for each attribute and annotator, under the attribute's name (compare by `pairs.pairing` with "
        "`dimensions: [helpfulness]`). Preferences: one vote for each judgement of the list that `judgements` names, "
        "with strength 0 to 3 and its words as rationale; judgements that found neither response valid (-100) are no "
        "votes. The other lists, elaborations and the split are metadata."
    )

    type: Literal["helpsteer2"] = "helpsteer2"
    attributes: tuple[str, ...] = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    """Fields with ratings; each is a dimension."""
    judgements: Judgements = "three_most_similar_preferences"
    """Which judgements of a preference row are votes: the three that the publisher derived the label from, all of them,
    or the label alone."""
    neither: int = -100
    """Strength that says that neither response is valid."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What preferences are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with a rated response, or with two and votes on them."""
        prompt = tagged_turns(words(row, "prompt"))
        check_prompt(prompt, "prompt")
        return self._preference(row, prompt) if _SIDES[0] in row else self._rated(row, prompt)

    def row(self, record: Record) -> dict[str, Any]:
        row = {**(record.metadata or {}), "prompt": tagged_text(record.turns)}
        row |= self._preference_row(record) if record.votes else self._rated_row(record)
        return proven(self, record, row)

    def _rated(self, row: dict[str, Any], prompt: list[tuple[str, str]]) -> Record:
        answer = Answer([("assistant", words(row, "response"))])
        check_answer(answer.turns, "response")
        ratings = []
        for name in self.attributes:
            said = row.get(name)
            if not isinstance(said, list):
                value = number(row, name)
                ratings += [] if value is None else [Rating(name, value, UNKNOWN_ANNOTATOR)]
                continue
            for place, item in enumerate(said):
                value = number({name: item}, name, f"{name}[{place}]")
                ratings += [] if value is None else [Rating(name, value, position_name(place))]
        answer.ratings = ratings
        return Record(prompt, [answer], metadata=rest(row, ("prompt", "response", *self.attributes)))

    def _rated_row(self, record: Record) -> dict[str, Any]:
        if len(record.answers) != 1:
            raise NoWayBackError(f"a row of ratings holds one response, the record has {len(record.answers)}")
        row: dict[str, Any] = {"response": reply(record.answers[0])}
        lists: dict[str, dict[int, int | float]] = defaultdict(dict)
        for rating in record.answers[0].ratings:
            place = place_of(rating.annotator)
            if place is None:
                row[rating.dimension] = numbered(rating)
            else:
                lists[rating.dimension][place] = numbered(rating)
        for name, values in lists.items():
            row[name] = [values.get(place) for place in range(max(values) + 1)]
        return row

    def _preference(self, row: dict[str, Any], prompt: list[tuple[str, str]]) -> Record:
        metadata = rest(row, ("prompt", *_SIDES))
        votes = self._label(row, metadata) if self.judgements == _OVERALL else self._votes(row, metadata)
        answers = [Answer(turns) for turns in sides(row, _SIDES)]
        return Record(prompt, answers, votes, metadata=metadata)

    def _label(self, row: dict[str, Any], metadata: dict[str, Any]) -> list[Vote]:
        """The vote of the published label."""
        required(row, _OVERALL)
        vote = self._vote(number(row, _OVERALL), text(row, _STATEMENT), UNKNOWN_ANNOTATOR, _OVERALL)
        if vote is None:
            raise BadRowError(NO_JUDGEMENT, f"field `{_OVERALL}` is {self.neither}: neither response is valid")
        for name in (_OVERALL, _STATEMENT):
            metadata.pop(name, None)
        return [vote]

    def _votes(self, row: dict[str, Any], metadata: dict[str, Any]) -> list[Vote]:
        """Votes of the chosen list; leaves in ``metadata`` what they do not hold."""
        why = _WHY[self.judgements]
        votes: list[Vote] = []
        left: list[dict[str, Any]] = []
        for place, item in enumerate(objects(row, self.judgements)):
            path = f"{self.judgements}[{place}]"
            strength = number(item, "strength", f"{path}.strength")
            vote = self._vote(strength, text(item, why, path=f"{path}.{why}"), position_name(place), f"{path}.strength")
            votes += [] if vote is None else [vote]
            left.append(item if vote is None else rest(item, ("strength", why)))
        if not votes:
            raise BadRowError(NO_JUDGEMENT, f"field `{self.judgements}` holds no judgement for either response")
        metadata[self.judgements] = left
        return votes

    def _vote(self, strength: float | None, why: str | None, annotator: str, path: str) -> Vote | None:
        if strength is None or strength == self.neither:
            return None
        vote = signed_vote(strength, _LIMIT, path)
        vote.annotator, vote.dimension, vote.rationale = annotator, self.dimension, why
        return vote

    def _preference_row(self, record: Record) -> dict[str, Any]:
        row: dict[str, Any] = {name: reply(answer) for name, answer in zip(_SIDES, two(record), strict=True)}
        if self.judgements == _OVERALL:
            vote = only_vote(record)
            return row | {_OVERALL: signed(vote)} | ({} if vote.rationale is None else {_STATEMENT: vote.rationale})
        votes = {vote.annotator: forward(vote) for vote in record.votes}
        left = (record.metadata or {}).get(self.judgements, [{}] * len(votes))
        items = []
        for place, item in enumerate(left):
            if given := votes.get(position_name(place)):
                why = {} if given.rationale is None else {_WHY[self.judgements]: given.rationale}
                items.append({**item, **why, "strength": signed(given)})
            elif "strength" in item:
                items.append(item)
        return row | {self.judgements: items}
