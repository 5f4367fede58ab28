"""Asking a model only what nobody asked it before."""

from collections.abc import Callable
from typing import TypeVar

import polars as pl

from pref_assets.features.store import Store

M = TypeVar("M")


def fill(
    store: Store,
    kind: str,
    key: str,
    items: pl.DataFrame,
    load: Callable[[], M],
    ask: Callable[[pl.DataFrame, M], pl.DataFrame],
    save_every: int,
    progress: Callable[[int, int], None],
) -> int:
    """Computes and stores what the store lacks, a chunk at a time; the model is loaded only when something is missing.

    Args:
        store, kind, key: where results go.
        items: frame with an ``id`` column.
        load: returns the model.
        ask: takes a chunk of the items and the model, returns rows with ``id`` for the store.
        save_every: items in a chunk; what was stored survives a kill.
        progress: told (done, to do) after each chunk.

    Returns:
        The number of items computed.
    """
    missing = store.missing(kind, key, items["id"].to_list())
    if not missing:
        return 0
    todo = items.filter(pl.col("id").is_in(missing))
    model = load()
    done = 0
    for part in todo.iter_slices(save_every):
        store.append(kind, key, ask(part, model))
        done += part.height
        progress(done, todo.height)
    return done
