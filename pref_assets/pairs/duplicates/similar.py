"""The one course of both searches: hash what is new, find candidates, verify those not seen before."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.index import BANDS, SIMILARITY, as_matrix, bands_key, computed, similarity_key
from pref_assets.pairs.duplicates.lsh import Places, candidates
from pref_assets.pairs.duplicates.settings import NearDuplicates

_SHINGLES = 32_000_000
"""Shingles held in memory while candidates are verified."""
_AND = ":"


@dataclass(frozen=True)
class Similar:
    """Items at least as similar as the threshold, as places in the order of arrival, in order of ``later``."""

    later: Places
    earlier: Places
    similarity: NDArray[np.float64]

    def only(self, mask: NDArray[np.bool_]) -> "Similar":
        return Similar(self.later[mask], self.earlier[mask], self.similarity[mask])


def similar(
    kind: str,
    ids: pl.Series,
    settings: NearDuplicates,
    store: Store | None,
    hashed: Callable[[pl.Series], Iterable[pl.DataFrame]],
    compared: Callable[[pl.DataFrame], NDArray[np.float64]],
) -> Similar:
    """Similar items among ``ids``, which are in order of arrival.

    Args:
        hashed: frames (id, bands, shingles) of the ids it is given.
        compared: the similarity of each (later, earlier) pair of ids in a frame.
    """
    index = computed(store, f"{kind}_bands", bands_key(settings), ids, hashed, BANDS)
    later, earlier = candidates(as_matrix(index["bands"], settings), settings.candidates)
    edges = pl.DataFrame({"later": ids.gather(later), "earlier": ids.gather(earlier)})
    edges = edges.with_columns(id=pl.concat_str("later", pl.lit(_AND), "earlier")).with_row_index("row")
    sizes = index["shingles"].to_numpy()

    def verified(missing: pl.Series) -> Iterator[pl.DataFrame]:
        todo = edges.join(missing.to_frame(), on="id", how="semi")
        # By the earlier item, so that those that resemble one another meet in one block.
        rows = todo["row"].to_numpy()
        rows = rows[np.lexsort((later[rows], earlier[rows]))]
        for block in _blocks(rows, np.stack([later[rows], earlier[rows]], axis=1), sizes):
            frame = edges[block]
            yield frame.select("id", similarity=pl.Series(compared(frame)))

    found = computed(store, f"{kind}_similarity", similarity_key(settings), edges["id"], verified, SIMILARITY)
    similarity = found["similarity"].to_numpy()
    return Similar(later, earlier, similarity).only(similarity >= settings.threshold)


def _blocks(rows: Places, items: Places, sizes: NDArray[np.int64]) -> Iterator[Places]:
    """``rows`` in blocks whose items, (n, 2) places, fit into memory together."""
    while len(rows):
        flat = items.ravel()
        distinct, first = np.unique(flat, return_index=True)
        cost = np.zeros(len(flat), dtype=np.int64)
        cost[first] = sizes[distinct]
        fits = max(1, int(np.searchsorted(np.cumsum(cost)[1::2], _SHINGLES, side="right")))
        yield rows[:fits]
        rows, items = rows[fits:], items[fits:]
