"""What scorers, clusterers and selectors look at: pairs, their texts, and everything already known of them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pairs.schema import PAIR_SCORES, PROMPTS
from pref_assets.pairs.texts import with_texts

if TYPE_CHECKING:
    from pref_assets.features.store import Store
    from pref_assets.heads.crossfit import CrossFitted
    from pref_assets.scoring.bradley_terry import Ensemble


@dataclass(frozen=True)
class Vectors:
    """Embeddings: ``matrix`` (n, d) float32, row ``i`` belongs to ``ids[i]``; ``n_tokens`` (n,) of each text before
    truncation, where it is known; ``key`` the store's, where they are from there."""

    ids: list[str]
    matrix: NDArray[np.float32]
    n_tokens: NDArray[np.int64] | None = None
    key: str | None = None

    def rows(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of ``ids``, (len(ids), d), in that order.

        Raises:
            ValueError: an id has no vector, or one with NaN or infinite values; says how many and names some.
        """
        found = self.matrix[self._places(ids)]
        broken = sorted({ids[int(row)] for row in np.flatnonzero(~np.isfinite(found).all(axis=1))})
        if broken:
            raise ValueError(f"{len(broken)} embeddings hold NaN or infinite values, e.g. {broken[:3]}")
        return found

    def tokens(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Token counts of ``ids``, (len(ids),). Raises ``ValueError`` when an id has none."""
        if self.n_tokens is None:
            raise ValueError("these vectors came without token counts; those of images have none, name ones of texts")
        return self.n_tokens[self._places(ids)]

    def _places(self, ids: Sequence[str]) -> list[int]:
        absent = sorted({id_ for id_ in ids if id_ not in self._position})
        if absent:
            raise ValueError(
                f"{len(absent)} ids have no embedding, e.g. {absent[:3]}; materialize the embeddings again"
            )
        return [self._position[id_] for id_ in ids]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.ids)}


@dataclass(frozen=True)
class Pool:
    """The pairs of a pipeline and everything already known of them. Entries are by their names in the pipeline file;
    only what the entry at work refers to is there.

    Attributes:
        pairs: the pairs table, all splits; only ``train`` pairs are candidates of a selection.
        completions: the completions table.
        scores: score tables (``PAIR_SCORES``).
        embeddings: vectors of completions.
        clusters: cluster tables (``CLUSTERS``).
        prompts: the prompts table.
        reward_models: fitted reward heads; scorers that need linear ones ask ``scoring.bradley_terry.ensemble_of``.
        reference_logps: log-probabilities under base models (``REFERENCE_LOGPS``).
        checkpoints: folders of trained checkpoints.
        critiques: what is said of answers (``CRITIQUES``).
        store: where selectors that ask keep the answers; ``None`` outside a pipeline.
    """

    pairs: pl.DataFrame
    completions: pl.DataFrame
    scores: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    embeddings: Mapping[str, Vectors] = field(default_factory=dict)
    clusters: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    prompts: pl.DataFrame = field(default_factory=PROMPTS.empty)
    reward_models: Mapping[str, "Ensemble | CrossFitted"] = field(default_factory=dict)
    reference_logps: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    critiques: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    store: "Store | None" = None

    def candidates(self) -> pl.DataFrame:
        """The ``train`` pairs, ordered by id."""
        return self.pairs.filter(pl.col("split") == "train").sort("pair_id")

    def only(self, pair_ids: Iterable[str]) -> "Pool":
        """The same pool with no other pairs than these."""
        wanted = pl.DataFrame({"pair_id": list(pair_ids)}, schema={"pair_id": pl.String})
        return replace(self, pairs=self.pairs.join(wanted, on="pair_id", how="semi", maintain_order="left"))

    def texts(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The pairs with text columns ``prompt`` (null across prompts), ``chosen`` and ``rejected``, in their order.

        Raises:
            ValueError: a prompt or completion of a pair is not in the tables; says how many and names some.
        """
        found = with_texts(pairs, self.prompts, self.completions)
        unasked = pl.col("prompt").is_null() & pl.col("prompt_id").is_not_null()
        absent = found.filter(unasked | pl.any_horizontal(pl.col("chosen", "rejected").is_null()))["pair_id"]
        if len(absent):
            raise ValueError(
                f"{len(absent)} pairs have a prompt or completion without text in the tables, "
                f"e.g. {absent.sort().head(3).to_list()}; materialize the pairs again"
            )
        return found

    def value(self, name: str, column: str) -> pl.DataFrame:
        """Frame (pair_id, value): a column of a score table, or one of the named values in its ``details``; null
        where the pair has no such value."""
        table = self.scores[name]
        if column in PAIR_SCORES.columns:
            return table.select("pair_id", value=pl.col(column))
        named = pl.col("details").list.filter(pl.element().struct.field("name") == column)
        return table.select("pair_id", value=named.list.first().struct.field("value"))

    def scored(self, name: str, column: str = "score") -> pl.DataFrame:
        """The candidates, ordered by id, and ``score``: that column, or named value, of a score table.

        Raises:
            ValueError: a candidate has no score, or a null, NaN or infinite one; says how many and names some.
        """
        table = self.value(name, column).rename({"value": "score"})
        scored = self.candidates().join(table, on="pair_id", how="left", validate="1:1", maintain_order="left")
        usable = pl.col("score").is_not_null() & pl.col("score").is_finite()
        broken = scored.filter(~usable)["pair_id"]
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(scored)} train pairs have no usable {column!r} in scores {name!r}, "
                f"e.g. {broken.head(3).to_list()}; materialize the scores again, or rank by another column"
            )
        return scored


def seeded_hash(ids: Iterable[str], seed: int, purpose: str) -> pl.Series:
    """A uniform 64-bit number for each id that depends on nothing but id, seed and purpose: random, yet stable."""
    key = f"{purpose}:{seed}".encode()[:64]
    digests = (hashlib.blake2b(id_.encode(), digest_size=8, key=key).digest() for id_ in ids)
    return pl.Series("hash", [int.from_bytes(each) for each in digests], dtype=pl.UInt64)


def seeded_uniform(ids: Iterable[str], seed: int, purpose: str) -> NDArray[np.float64]:
    """A uniform number in (0, 1) for each id, (n,): random, yet the same wherever the id stands."""
    hashes = seeded_hash(ids, seed, purpose).to_numpy()
    return (hashes.astype(np.float64) + 0.5) / 2.0**64 * (1 - 2.0**-53)
