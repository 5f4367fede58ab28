"""What a trace says, as plain data: every decision on a row, from the file it was read from to what learned from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Origin:
    """A row of a source file."""

    source: str
    uri: str
    row: int
    batch: str

    @property
    def pointer(self) -> str:
        """``file:row``, which is also a query."""
        return f"{self.uri}:{self.row}"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Origin":
        return cls(row["source"], row["uri"], row["row"], row["batch"])


@dataclass(frozen=True)
class RowTrace:
    """A row as read, and what became of it; ``code`` and ``reason`` are set when it was refused."""

    origin: Origin
    payload: str
    code: str | None = None
    reason: str | None = None
    completions: int = 0


@dataclass(frozen=True)
class Membership:
    """The cluster an item is in."""

    clusters: str
    cluster: int
    label: str | None
    distance: float


@dataclass(frozen=True)
class Picture:
    """An image: its file and size in pixels and bytes, or the ``problem`` with it."""

    uri: str
    path: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Critique:
    """What an entry of `critiques` says of an answer; no ``text`` where it says nothing, ``category`` tells why."""

    critiques: str
    text: str | None
    reasons: str | None
    writer: str
    category: str


@dataclass(frozen=True)
class Judgement:
    """What a reward model that criticises said of an answer, for an entry of `scores`: the ``reward`` is the mean of
    ``rewards``, each read after one of the ``critiques``; those were ``truncated`` or read whole."""

    scores: str
    reward: float
    critiques: list[str]
    rewards: list[float]
    truncated: bool


@dataclass(frozen=True)
class Side:
    """One completion of a pair."""

    completion_id: str
    text: str
    model: str | None
    ratings: list[dict[str, Any]]
    clusters: list[Membership]
    critiques: list[Critique] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)


@dataclass(frozen=True)
class Decision:
    """What one selector did with the pair."""

    subset: str
    selected: bool
    rank: int | None
    score: float | None
    reason: str
    weight: float
    p_chosen: float | None = None
    """The label that the selector decided on; below one half the sides swapped. Null: what the votes say."""
    margin: float | None = None
    """Margin that the loss demands; null: none."""


@dataclass(frozen=True)
class Use:
    """A checkpoint that learned from the pair, and the evaluations that measured it."""

    checkpoint: str
    version: str
    kind: str
    subset: str
    created: str
    evaluations: list[str]
    values: dict[str, float] = field(default_factory=dict)
    """How the pair counted: label, weight, margin, and the numbers that the loss read or made of it."""


@dataclass(frozen=True)
class PairTrace:
    """Everything known of a comparison. ``code`` and ``reason`` are set when a rule dropped it."""

    pair_id: str
    prompt: str
    chosen: Side
    rejected: Side
    split: str | None
    p_chosen: float | None
    votes: list[dict[str, Any]]
    origins: list[Origin]
    images: list[Picture] = field(default_factory=list)
    """Images of the prompt; frames, where it is about a video."""
    code: str | None = None
    reason: str | None = None
    flags: list[str] = field(default_factory=list)
    """What audit rules found, as ``code: detail``."""
    copies: list[str] = field(default_factory=list)
    """Later pairs that were dropped because they nearly repeat this one."""
    clusters: list[Membership] = field(default_factory=list)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    checkpoints: list[Use] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """The answer to a question about a row.

    Attributes:
        pipeline: where it was asked.
        query: what was asked.
        found: what the query turned out to name: ``pair``, ``completion`` or ``row``.
        rows: source rows behind the answer, refused ones included.
        pairs: comparisons that came of them, dropped ones included.
    """

    pipeline: str
    query: str
    found: str
    rows: list[RowTrace]
    pairs: list[PairTrace]


class UnknownQueryError(LookupError):
    """Nothing answers to the query; the message says what can be asked and what there is."""


class AmbiguousQueryError(LookupError):
    """Several things answer to the query: ``candidates`` are queries that name one each, with what they are."""

    def __init__(self, message: str, candidates: list[tuple[str, str]]) -> None:
        lines = [f"  {query}  {what}" for query, what in candidates]
        super().__init__("\n".join([message, *lines]))
        self.candidates = candidates


class LineageError(RuntimeError):
    """What is recorded and what is stored do not agree; the message says where."""
