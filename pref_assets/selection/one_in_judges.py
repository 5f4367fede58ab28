"""Who chooses the next pair of a growing subset: something that counts, or a language model that is asked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pref_assets.features.store import MissingRowsError, Store
from pref_assets.pool import Pool, seeded_hash
from pref_assets.scoring.judging.answers import ANSWERS, answer_rows, conversation, question_id
from pref_assets.scoring.judging.client import Answer, Client, Messages
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.render import check_template, filled, judged_texts, shortened
from pref_assets.settings import EmbeddingsName, ScoresName, Settings

Floats = NDArray[np.float32]
INSTRUCTIONS = (
    "A training set grows by one example at a time. You are shown what is in it and some candidates. Choose the "
    "candidate that adds most: useful, correct, and unlike what is there. Reply with its number in double brackets, "
    "e.g. [[2]], and in a sentence say why."
)
TEMPLATE = (
    "In the set ({size} examples, the latest shown):\n{context}\n\nCandidates:\n{options}\n\n"
    "Which candidate adds most? Reply with its number in double brackets."
)
WRITTEN_TOGETHER = 16
"""Answers that go to the store in one commit; a kill loses no more."""
SAID = 120
"""Characters of an answer that a reason shows."""
_CHOICE = re.compile(r"\[\[\s*(\d{1,4})\s*\]\]")
_THOUGHT = re.compile(r"(?s)^.*</think>")


@dataclass(frozen=True)
class Choice:
    """The place of the chosen option in the list, and why in a few words."""

    place: int
    why: str


class Chooser(Protocol):
    """Chooses among candidates, given by their rows; asked once a round, in order, and closed after the last."""

    def choose(self, kept: Sequence[int], options: Sequence[int]) -> Choice: ...

    def close(self) -> None: ...


class FacilityLocation(Settings):
    """Chooses what makes the subset represent the pool best: the largest gain of sum over the pool of the largest
    similarity, (1 + cosine) / 2, to a member; shown all candidates it is the greedy algorithm, within 1 - 1/e of the
    best subset (Nemhauser, Wolsey, Fisher 1978). O(options · ``represented`` · d) a round."""

    type: Literal["facility_location"] = "facility_location"
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared, by their chosen completion."""
    represented: int = Field(default=2048, ge=1)
    """Pairs of the pool that stand for all of it, drawn by the seed; all when it has no more."""

    def chooser(self, pool: Pool, ids: Sequence[str], seed: int) -> Chooser:
        """A chooser over the candidates ``ids``, whose rows it is given. Raises ``ValueError``: a vector is missing."""
        unit = unit_vectors(pool, self.embeddings, ids)
        drawn = np.argsort(seeded_hash(ids, seed, "represented").to_numpy(), kind="stable")[: self.represented]
        return _Represents(unit, unit[np.sort(drawn)])


class QualityNovelty(Settings):
    """Chooses the largest quality + ``novelty`` · (1 - largest cosine to a member); quality is the share of candidates
    whose score is no larger. O(options · kept · d) a round."""

    type: Literal["quality_novelty"] = "quality_novelty"
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared, by their chosen completion."""
    quality: ScoresName
    """Scores that say how good a pair is."""
    column: str = "score"
    """Which number of the scores: a column, or one of their named details."""
    novelty: float = Field(default=1.0, ge=0)
    """How much being unlike the members counts; 0 leaves quality alone."""

    def chooser(self, pool: Pool, ids: Sequence[str], seed: int) -> Chooser:
        """A chooser over the candidates ``ids``. Raises ``ValueError``: a vector or score is missing."""
        scored = pool.scored(self.quality, self.column)
        by_id = dict(zip(scored["pair_id"], scored["score"].rank("max") / max(1, scored.height), strict=True))
        quality = np.array([by_id[each] for each in ids], dtype=np.float64)
        return _GoodAndNew(unit_vectors(pool, self.embeddings, ids), quality, self.novelty)


class AskedChooser(Settings):
    """Asks a language model which candidate adds most. Its answers are kept in the store by model, sampling and
    question, so that the same rounds are never asked again; an answer without one valid number takes the first
    candidate, and the reason says `unparsable`."""

    type: Literal["asked"] = "asked"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking()
    """How answers are drawn."""
    context_size: int = Field(default=8, ge=0)
    """Members shown, the latest ones."""
    max_characters: int = Field(default=600, ge=2)
    """Longest text of a prompt or answer that is shown; of longer ones the middle is left out."""
    instructions: str = INSTRUCTIONS
    """System message."""
    template: str = TEMPLATE
    """The question, with `{size}`, `{context}` and `{options}`."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("size", "context", "options"))

    def chooser(self, pool: Pool, ids: Sequence[str], seed: int) -> Chooser:
        """A chooser over the candidates ``ids``; answers live in the pool's store.

        Raises:
            ValueError: the pool has no store.
        """
        if pool.store is None:
            raise ValueError("add_one_in: a judge that is asked keeps its answers in a store, and this pool has none")
        texts = judged_texts(pool.only(ids)).with_columns(
            shortened(name, self.max_characters) for name in ("prompt", "chosen")
        )
        rows = dict(zip(texts["pair_id"], texts.select("prompt", "chosen").rows(), strict=True))
        shown = [f"Request: {rows[each][0] or ''}\nAnswer: {rows[each][1]}" for each in ids]
        return _Asks(self, shown, pool.store)


OneInJudge = Annotated[FacilityLocation | QualityNovelty | AskedChooser, Field(discriminator="type")]


class _Represents:
    def __init__(self, unit: Floats, pool: Floats) -> None:
        self.unit, self.pool = unit, pool
        self.best = np.zeros(len(pool), dtype=np.float64)

    def choose(self, kept: Sequence[int], options: Sequence[int]) -> Choice:
        similar = (1 + (self.unit[list(options)] @ self.pool.T).astype(np.float64)) / 2
        gains = np.maximum(similar - self.best, 0).sum(axis=1)
        place = int(gains.argmax())
        self.best = np.maximum(self.best, similar[place])
        return Choice(place, f"gain {gains[place]:.6g}")

    def close(self) -> None:
        """Nothing is open."""


class _GoodAndNew:
    def __init__(self, unit: Floats, quality: NDArray[np.float64], novelty: float) -> None:
        self.unit, self.quality, self.novelty = unit, quality, novelty
        self.members = np.empty((64, unit.shape[1]), dtype=np.float32)  # side by side: gathering them costs more
        self.known = 0

    def choose(self, kept: Sequence[int], options: Sequence[int]) -> Choice:
        rows = list(options)
        self._learn(kept)
        near = self.unit[rows] @ self.members[: self.known].T
        nearest = near.max(axis=1) if self.known else np.zeros(len(rows))
        gains = self.quality[rows] + self.novelty * (1 - nearest.astype(np.float64))
        place = int(gains.argmax())
        return Choice(place, f"quality {self.quality[rows[place]]:.4g}, cosine {nearest[place]:.4g}")

    def _learn(self, kept: Sequence[int]) -> None:
        while len(self.members) < len(kept):
            self.members = np.concatenate([self.members, np.empty_like(self.members)])
        self.members[self.known : len(kept)] = self.unit[list(kept[self.known :])]
        self.known = len(kept)

    def close(self) -> None:
        """Nothing is open."""


class _Asks:
    def __init__(self, settings: AskedChooser, shown: Sequence[str], store: Store) -> None:
        self.settings, self.shown, self.store = settings, shown, store
        self.key = answers_key(settings.endpoint, settings.asking)
        self.known = _known(store, self.key)
        self.unwritten: dict[str, Answer] = {}
        self.client: Client | None = None

    def choose(self, kept: Sequence[int], options: Sequence[int]) -> Choice:
        size = self.settings.context_size
        latest = kept[-size:] if size else []
        values = {
            "size": str(len(kept)),
            "context": "\n\n".join(self.shown[row] for row in latest) or "(nothing)",
            "options": "\n\n".join(f"[[{place}]]\n{self.shown[row]}" for place, row in enumerate(options, 1)),
        }
        said = self._answer(conversation(self.settings.instructions, filled(self.settings.template, values)))
        named = {int(each) for each in _CHOICE.findall(_THOUGHT.sub("", said))}
        if len(named) != 1 or not 1 <= min(named) <= len(options):
            return Choice(0, "unparsable: the first candidate")
        return Choice(named.pop() - 1, f"said {' '.join(said.split())[:SAID]!r}")

    def close(self) -> None:
        if self.unwritten:
            self.store.append(ANSWERS, self.key, answer_rows(self.unwritten))
            self.unwritten = {}
        if self.client is not None:
            self.client.close()

    def _answer(self, messages: Messages) -> str:
        id_ = question_id(messages)
        if id_ not in self.known:
            if self.client is None:
                self.client = Client(self.settings.endpoint, self.settings.asking)
            self.unwritten[id_] = self.client.ask(messages)
            self.known[id_] = self.unwritten[id_].text
            if len(self.unwritten) == WRITTEN_TOGETHER:
                self.store.append(ANSWERS, self.key, answer_rows(self.unwritten))
                self.unwritten = {}
        return self.known[id_]


def _known(store: Store, key: str) -> dict[str, str]:
    try:
        return dict(store.read(ANSWERS, key, columns=["answer"]).select("id", "answer").iter_rows())
    except MissingRowsError:
        return {}


def unit_vectors(pool: Pool, embeddings: str, pair_ids: Sequence[str]) -> Floats:
    """Unit vectors of the chosen completions of these pairs, (n, d); zeros stay zeros. Raises ``ValueError``: a vector
    is missing, NaN or infinite."""
    chosen = dict(pool.pairs.select("pair_id", "chosen_id").iter_rows())
    vectors = pool.embeddings[embeddings].rows([chosen[each] for each in pair_ids])
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=np.float32)
