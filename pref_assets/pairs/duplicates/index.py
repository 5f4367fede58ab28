"""Band hashes, and what was found similar, computed once: by content id, in the store."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import MissingRowsError, Store
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.words import ALGORITHM
from pref_assets.settings import digest

_Columns = Mapping[str, pl.DataType | type[pl.DataType]]
BANDS: _Columns = {"bands": pl.List(pl.Int32), "shingles": pl.Int64}
SIMILAR: _Columns = {"similar": pl.List(pl.Struct({"of": pl.String, "similarity": pl.Float64}))}
_APPEND = 200_000
"""Rows between two appends to the store."""


def bands_key(settings: NearDuplicates) -> str:
    """Everything that band hashes depend on beside the texts."""
    return digest([ALGORITHM, settings.shingle, settings.permutations, settings.bands, settings.seed])


def similar_key(settings: NearDuplicates) -> str:
    """Everything that what an item is similar to depends on beside its candidates and the texts."""
    return digest([ALGORITHM, settings.shingle, settings.threshold])


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
    held = _held(store, kind, key, columns)
    missing = wanted.join(held, on="id", how="anti", maintain_order="left")["id"]
    parts = [held]
    for part in _larger(compute(missing)) if len(missing) else ():
        if store is not None:
            store.append(kind, key, part)
        parts.append(part)
    return wanted.join(pl.concat(parts), on="id", how="left", maintain_order="left")


def _held(store: Store | None, kind: str, key: str, columns: _Columns) -> pl.DataFrame:
    """All rows under the key, none where nothing was ever computed."""
    nothing = pl.DataFrame(schema={"id": pl.String, **columns})
    if store is None:
        return nothing
    try:
        return store.read(kind, key).select("id", *columns)
    except MissingRowsError:
        return nothing


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
