"""The one course of both searches: hash what is new, find candidates, verify those not seen before."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.index import BANDS, SIMILAR, as_matrix, bands_key, computed, similar_key
from pref_assets.pairs.duplicates.lsh import Places, candidates
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.words import Hashes, mix, words

_SHINGLES = 32_000_000
"""Shingles held in memory while candidates are verified."""
_ITEMS = 250_000
"""Items whose candidates are verified between two appends to the store."""

Compare = Callable[[pl.Series, Places, Places], NDArray[np.float64]]
"""Similarity of items ``left[i]`` and ``right[i]`` of a sorted series of ids."""


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
    compare: Compare,
) -> Similar:
    """Similar items among ``ids``, which are in order of arrival.

    What an item was found similar to is kept under its id and a hash of its candidates: they are the same for ever,
    unless an earlier item is withdrawn.

    Args:
        hashed: frames (id, bands, shingles) of the ids it is given.
    """
    index = computed(store, f"{kind}_bands", bands_key(settings), ids, hashed, BANDS)
    later, earlier = candidates(as_matrix(index["bands"], settings), settings.candidates)
    sizes = index["shingles"].to_numpy()
    items, starts = np.unique(later, return_index=True)
    names = _names(ids, items, earlier, starts)
    ends = np.append(starts[1:], len(later))

    def verified(missing: pl.Series) -> Iterator[pl.DataFrame]:
        todo = names.to_frame("id").with_row_index().join(missing.alias("id").to_frame(), on="id", how="semi")
        for part in todo.sort("index").iter_slices(_ITEMS):
            of = part["index"].to_numpy()
            rows = np.concatenate([np.arange(starts[item], ends[item]) for item in of])
            found = _verified(ids, later[rows], earlier[rows], sizes, settings.threshold, compare)
            yield _listed(ids, items[of], part["id"], found)

    held = computed(store, f"{kind}_similar", similar_key(settings), names, verified, SIMILAR)
    known = held.select("similar", later=pl.Series(items)).filter(pl.col("similar").list.len() > 0)
    known = known.explode("similar").unnest("similar")
    places = ids.alias("of").to_frame().with_row_index("earlier")
    known = known.join(places, on="of", how="left").sort("later", "earlier")
    one, other = (known[side].to_numpy().astype(np.int64) for side in ("later", "earlier"))
    return Similar(one, other, known["similarity"].to_numpy())


def _names(ids: pl.Series, items: Places, earlier: Places, starts: Places) -> pl.Series:
    """Id of each item with a hash of its candidates, whatever their order."""
    if not len(items):
        return pl.Series("id", [], pl.String)
    hashes: Hashes = mix(words(ids).hashes.copy())
    together = np.add.reduceat(hashes[earlier], starts)
    return pl.select(id=pl.concat_str(ids.gather(items), pl.lit(":"), pl.Series(together).cast(pl.String))).to_series()


def _verified(
    ids: pl.Series, later: Places, earlier: Places, sizes: NDArray[np.int64], threshold: float, compare: Compare
) -> Similar:
    """The candidates that are similar indeed."""
    found = []
    # By the earlier item, so that those that resemble one another meet in one block.
    order = np.lexsort((later, earlier))
    for one, other in _blocks(later[order], earlier[order], sizes):
        places = np.unique(np.concatenate([one, other]))
        named = ids.gather(places)
        rank = named.rank("ordinal").to_numpy().astype(np.int64) - 1
        left, right = (rank[np.searchsorted(places, side)] for side in (one, other))
        similarity = compare(named.sort(), left, right)
        found.append(Similar(one, other, similarity).only(similarity >= threshold))
    return Similar(
        np.concatenate([each.later for each in found]),
        np.concatenate([each.earlier for each in found]),
        np.concatenate([each.similarity for each in found]),
    )


def _blocks(later: Places, earlier: Places, sizes: NDArray[np.int64]) -> Iterator[tuple[Places, Places]]:
    """Candidates in blocks whose items fit into memory together."""
    while len(later):
        flat = np.stack([later, earlier], axis=1).ravel()
        distinct, first = np.unique(flat, return_index=True)
        cost = np.zeros(len(flat), dtype=np.int64)
        cost[first] = sizes[distinct]
        fits = max(1, int(np.searchsorted(np.cumsum(cost)[1::2], _SHINGLES, side="right")))
        yield later[:fits], earlier[:fits]
        later, earlier = later[fits:], earlier[fits:]


def _listed(ids: pl.Series, items: Places, names: pl.Series, found: Similar) -> pl.DataFrame:
    """What the store keeps of these items: for each the ids it is similar to, often none."""
    rows = pl.DataFrame({"later": found.later, "of": ids.gather(found.earlier), "similarity": found.similarity})
    lists = rows.sort("later", "of").group_by("later").agg(similar=pl.struct("of", "similarity"))
    frame = pl.DataFrame({"id": names, "later": items}).join(lists, on="later", how="left")
    return frame.select("id", pl.col("similar").fill_null(pl.lit([], SIMILAR["similar"])))
