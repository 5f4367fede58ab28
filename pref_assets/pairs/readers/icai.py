"""AnnotatedPairs of Inverse Constitutional AI and Feedback Forensics: comparisons with any number of annotators."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.judgements import NO_JUDGEMENT, objects, rest, words
from pref_assets.pairs.readers.record import (
    OVERALL,
    Answer,
    BadRowError,
    Record,
    Turn,
    Vote,
    check_prompt,
    check_sides,
    required,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import forward, proven, question, reply, two

_DOCUMENT = "comparisons"
_SIDES = ("response_a", "response_b")
_TEXTS = ("text_a", "text_b")
_GIVEN = "pref"

Choice = Literal["a", "b", "tie"]


class IcaiSource(Source):
    """A document ``{metadata, annotators, comparisons: [...]}`` (Findeis et al. 2024, arXiv:2406.06560), or one
    comparison a row: ``{id, prompt, response_a: {text, model}, response_b, annotations: {annotator: {pref}}}`` of
    version 2, or with ``text_a`` and ``text_b`` of version 1.

    ``pref`` is ``a`` or ``b`` (``text_a`` or ``text_b`` in version 1), or null where an annotator has none to give. A
    comparison of a document that is refused does not take the others with it.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "id": "2f6ac1",
            "prompt": "Suggest a name for a cat.",
            "response_a": {"text": "Minka.", "model": "model-one"},
            "response_b": {"text": "As you like! Perhaps Minka, or Tom?", "model": "model-two"},
            "annotations": {
                "d36860a4": {"pref": "a"},
                "90b4c1f7": {"pref": "b"},
                "11aa22bb": {"pref": None, "no_pref_reason": "not_applicable"},
            },
            "metadata": {"language": "en"},
        },
    )
    keeps: ClassVar[str] = (
        "Both responses with their models; one vote for each annotation with a preference, by the annotator's id. "
        "Annotators whose type is `principle` say which response a principle favours, not which is better: their "
        "annotations are metadata unless `principles` is set. The rest of the comparison is metadata; the document's "
        "head is metadata of its first comparison. Rows are written as comparisons of version 2."
    )

    type: Literal["icai"] = "icai"
    labels: dict[str, Choice] = Field(
        default={"a": "a", "b": "b", "text_a": "a", "text_b": "b", "tie": "tie"}, min_length=1
    )
    """What the preferences mean; the first of several that mean the same is written back."""
    annotators: tuple[str, ...] | None = None
    """Ids of the annotators whose annotations are votes; null for all that are no principles. Without a document's
    head, nothing says which are."""
    principles: bool = False
    """Whether principles vote too, each on a dimension named after its text; a majority would count them like people,
    so use a vote policy of one dimension."""

    def records(self, row: dict[str, Any], uri: str) -> list[Record]:
        """The records of a document's comparisons, or the one of a row."""
        if _DOCUMENT not in row:
            return [self.record(row)]
        known = row.get("annotators") or {}
        if not isinstance(known, dict) or not all(isinstance(said, dict) for said in known.values()):
            raise wrong_type("annotators", known, "an object of annotators")
        records: list[Record] = []
        refused: list[BadRowError] = []
        for place, comparison in enumerate(objects(row, _DOCUMENT)):
            try:
                records.append(self._record(comparison, known))
            except BadRowError as error:
                refused.append(BadRowError(error.code, f"{_DOCUMENT}[{place}]: {error}"))
        if not records:
            code = refused[0].code if refused else "missing_field"
            raise BadRowError(code, "; ".join(map(str, refused)) or f"field `{_DOCUMENT}` is empty")
        records[0].refused = refused
        records[0].metadata = {**(records[0].metadata or {}), "document": rest(row, (_DOCUMENT,))}
        return records

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, a vote for each annotation with a preference."""
        return self._record(row, {})

    def row(self, record: Record) -> dict[str, Any]:
        row = {**(record.metadata or {}), "prompt": question(record)}
        for answer, name in zip(two(record), _SIDES, strict=True):
            row[name] = {**row.get(name, {}), "text": reply(answer)}
            if answer.model is not None:
                row[name]["model"] = answer.model
        label_of: dict[str, str] = {choice: label for label, choice in reversed(self.labels.items())}
        votes = {vote.annotator: {_GIVEN: label_of[forward(vote).choice]} for vote in record.votes}
        left = row.get("annotations") or {}
        row["annotations"] = left | {who: {**left.get(who, {}), **said} for who, said in votes.items()}
        return proven(self, record, row)

    def _record(self, row: dict[str, Any], known: dict[str, Any]) -> Record:
        prompt: list[Turn] = [("user", words(row, "prompt"))]
        check_prompt(prompt, "prompt")
        metadata = rest(row, ("prompt", *_SIDES, *_TEXTS, "annotations"))
        answers = _answers(row, metadata)
        annotations = row.get("annotations")
        if not isinstance(annotations, dict) or not all(isinstance(said, dict) for said in annotations.values()):
            raise wrong_type("annotations", annotations, "an object of annotations")
        votes: list[Vote] = []
        left = {}
        for annotator, said in annotations.items():
            dimension = self._dimension(annotator, known.get(annotator, {}))
            if dimension is None or said.get(_GIVEN) is None:
                left[annotator] = said
                continue
            votes.append(self._vote(annotator, said, dimension))
            if unsaid := rest(said, (_GIVEN,)):
                left[annotator] = unsaid
        if not votes:
            raise BadRowError(NO_JUDGEMENT, "field `annotations` holds no preference of an annotator who votes")
        if left:
            metadata["annotations"] = left
        return Record(prompt, answers, votes, metadata=metadata)

    def _dimension(self, annotator: str, known: dict[str, Any]) -> str | None:
        """What the annotator's votes are about; null when they are no votes."""
        if self.annotators is not None and annotator not in self.annotators:
            return None
        if known.get("type") != "principle":
            return OVERALL
        return (text(known, "description") or annotator) if self.principles else None

    def _vote(self, annotator: str, said: dict[str, Any], dimension: str) -> Vote:
        given = said[_GIVEN]
        if not isinstance(given, str) or given not in self.labels:
            known = ", ".join(self.labels)
            raise BadRowError(
                "wrong_type",
                f"field `annotations.{annotator}.{_GIVEN}` is {given!r}, known are {known} (setting `labels`)",
            )
        return Vote(0, 1, self.labels[given], annotator, dimension)


def _answers(row: dict[str, Any], metadata: dict[str, Any]) -> list[Answer]:
    """The two responses; what else is said of one stays in the metadata."""
    answers = []
    for name, old in zip(_SIDES, _TEXTS, strict=True):
        if old in row:
            answers.append(Answer([("assistant", words(row, old))]))
            continue
        said = required(row, name)
        if not isinstance(said, dict):
            raise wrong_type(name, said, "an object with `text`")
        model = text(said, "model", path=f"{name}.model")
        answers.append(Answer([("assistant", words(said, "text", f"{name}.text"))], model))
        if unsaid := rest(said, ("text", "model")):
            metadata[name] = unsaid
    check_sides(answers[0].turns, answers[1].turns, _SIDES)
    return answers
