"""Band hashes and similarities computed once: by content id, in the store."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.words import ALGORITHM
from pref_assets.settings import digest

_Columns = Mapping[str, pl.DataType | type[pl.DataType]]
BANDS: _Columns = {"bands": pl.List(pl.Int32), "shingles": pl.Int64}
SIMILARITY: _Columns = {"similarity": pl.Float64}
_APPEND = 200_000
"""Rows between two appends to the store."""


def bands_key(settings: NearDuplicates) -> str:
    """Everything that band hashes depend on beside the texts."""
    return digest([ALGORITHM, settings.shingle, settings.permutations, settings.bands, settings.seed])


def similarity_key(settings: NearDuplicates) -> str:
    """Everything that the similarity of two items depends on beside the texts."""
    return digest([ALGORITHM, settings.shingle])


def computed(
    store: Store | None,
    kind: str,
    key: str,
    ids: pl.Series,
    compute: Callable[[pl.Series], Iterable[pl.DataFrame]],
    columns: _Columns,
) -> pl.DataFrame:
    """A row for each of ``ids`` (unique), in that order: from the store where it has one, computed and kept otherwise.

    Args:
        compute: frames with ``id`` and ``columns`` for the ids it is given, in any order.
    """
    wanted = ids.alias("id").to_frame()
    if not len(ids):
        return pl.DataFrame(schema={"id": pl.String, **columns})
    if store is None:
        found = pl.concat(compute(ids))
    else:
        missing = store.missing(kind, key, ids)
        for part in _larger(compute(pl.Series("id", missing, pl.String))) if missing else ():
            store.append(kind, key, part)
        found = store.read(kind, key)
    return wanted.join(found, on="id", how="left", maintain_order="left")


def as_column(bands: NDArray[np.uint32]) -> pl.Series:
    """Band hashes as the store keeps them (it has no unsigned numbers)."""
    return pl.Series("bands", bands.view(np.int32), dtype=pl.Array(pl.Int32, bands.shape[1])).arr.to_list()


def as_matrix(column: pl.Series, settings: NearDuplicates) -> NDArray[np.uint32]:
    """(n, bands) of a column made by `as_column`."""
    return column.list.to_array(settings.bands).to_numpy().view(np.uint32)


def _larger(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= _APPEND:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)
