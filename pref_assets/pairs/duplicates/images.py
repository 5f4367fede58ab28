"""Images that nearly repeat an earlier one, and the prompts that show the same."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.arrivals import in_order
from pref_assets.pairs.duplicates.index import computed
from pref_assets.pairs.duplicates.looks import (
    ALGORITHM,
    CELLS,
    bands,
    differences,
    distances,
    hexadecimal,
    look,
)
from pref_assets.pairs.duplicates.lsh import candidates
from pref_assets.pairs.duplicates.settings import NearImages
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.schema import IMAGES

_LOOKS = {
    "width": pl.Int64,
    "height": pl.Int64,
    "format": pl.String,
    "bytes": pl.Int64,
    "phash": pl.Int64,
    "cells": pl.Binary,
}
_KIND = "image_looks"
_CHUNK = 512
"""Images in memory at once."""


def image_duplicates(
    prompts: pl.LazyFrame,
    arrival: pl.DataFrame,
    settings: NearImages,
    media: MediaStore,
    store: Store | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every image that prompts show, and the group of every prompt that shows what an earlier one shows.

    An image nearly repeats an earlier one when their hashes differ in at most ``distance`` bits and no cell of their
    small copies by more than ``difference``. Candidates share one of ``distance`` + 1 parts of the hash, so that none
    is missed for its bits; an image is compared with at most ``candidates`` earlier ones of each part. Images that are
    no files of the store (web addresses, names that no folder was given for) repeat only themselves.

    A prompt joins the group of the earliest prompt that shows one of its images, or one that it nearly repeats. Groups
    are never joined, so more data moves no prompt; where a prompt shows images of two groups, `audit.images` says so.

    Args:
        prompts: ``RECORD_PROMPTS`` rows of all batches.
        arrival: source, batch, sequence: the order in which batches came.
        store: where hashes are kept; only missing ones are computed.

    Returns:
        ``IMAGES``, ordered by uri, and a frame (prompt_id, group_id) of the prompts whose group is another prompt's.

    Raises:
        ArrivalError: a row's batch is not in ``arrival``.
        MediaError: a stored image is gone.
    """
    shown = prompts.select("prompt_id", "images", "source", "batch", "uri", "row").filter(
        pl.col("images").list.len() > 0
    )
    each = shown.explode("images").select(pl.col("images").alias("id"), "source", "batch", "uri", "row", "prompt_id")
    order = in_order(each, arrival)["id"]
    looks = _looks(order, media, store)
    near = _near(looks, settings)
    counts = each.group_by("id").agg(prompts=pl.col("prompt_id").n_unique().cast(pl.Int64)).collect()
    table = near.join(counts, on="id", how="left").rename({"id": "uri"})
    return IMAGES.conform(table.select(list(IMAGES.columns)).sort("uri")), _groups(shown, arrival, near)


def _looks(ids: pl.Series, media: MediaStore, store: Store | None) -> pl.DataFrame:
    """id and ``_LOOKS`` of every image in the order given; null where it is no file of the store."""
    files = ids.filter(ids.str.starts_with(MEDIA))

    def of(uri: str) -> tuple[object, ...]:
        data = media.path(uri).read_bytes()
        width, height, kind, phash, cells = look(data)
        return uri, width, height, kind, len(data), phash, cells

    def compute(missing: pl.Series) -> Iterator[pl.DataFrame]:
        with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
            for at in range(0, len(missing), _CHUNK):
                rows = list(threads.map(of, missing[at : at + _CHUNK]))
                yield pl.DataFrame(rows, schema={"id": pl.String, **_LOOKS}, orient="row")

    held = computed(store, _KIND, ALGORITHM, files, compute, _LOOKS)
    return ids.to_frame("id").join(held, on="id", how="left", maintain_order="left")


def _near(looks: pl.DataFrame, settings: NearImages) -> pl.DataFrame:
    """The images with ``near``, the earliest that each nearly repeats, and how far apart the two are."""
    frame = looks.with_row_index("place").filter(pl.col("phash").is_not_null())
    hashes = frame["phash"].to_numpy().astype(np.int64)
    cells = np.frombuffer(b"".join(frame["cells"]), dtype=np.uint8).reshape(len(frame), 3 * CELLS * CELLS)
    later, earlier = candidates(bands(hashes, settings.distance + 1), settings.candidates)
    bits = distances(hashes, later, earlier)
    close = bits <= settings.distance
    later, earlier, bits = later[close], earlier[close], bits[close]
    gaps = differences(cells, later, earlier)
    alike = gaps <= settings.difference
    found = pl.DataFrame(
        {
            "id": frame["id"].gather(later[alike]),
            "near": frame["id"].gather(earlier[alike]),
            "distance": bits[alike],
            "difference": gaps[alike],
            "earlier": earlier[alike],
        }
    )
    first = found.sort("id", "earlier").unique("id", keep="first", maintain_order=True).drop("earlier")
    names = pl.Series("phash", [None if value is None else hexadecimal(value) for value in looks["phash"]], pl.String)
    return looks.with_columns(names).drop("cells").join(first, on="id", how="left", maintain_order="left")


def _groups(shown: pl.LazyFrame, arrival: pl.DataFrame, near: pl.DataFrame) -> pl.DataFrame:
    """prompt_id and group_id of the prompts that show what an earlier one shows."""
    first = stands_for(near.select(uri="id", near="near"))
    order = in_order(shown.rename({"prompt_id": "id"}).drop("images"), arrival).select(prompt_id="id")
    images = shown.select("prompt_id", "images").unique("prompt_id", keep="any").collect()
    owner: dict[str, str] = {}
    moved = []
    rank: dict[str, int] = {}
    for place, (prompt, uris) in enumerate(order.join(images, on="prompt_id", maintain_order="left").iter_rows()):
        rank[prompt] = place
        known = [owner[first[uri]] for uri in uris if first[uri] in owner]
        group = min(known, key=rank.__getitem__, default=prompt)
        for uri in uris:
            owner.setdefault(first[uri], group)
        if group != prompt:
            moved.append((prompt, group))
    return pl.DataFrame(moved, schema={"prompt_id": pl.String, "group_id": pl.String}, orient="row")


def stands_for(images: pl.DataFrame) -> dict[str, str]:
    """Of every uri the image at the beginning of its chain of near repetitions, itself where it repeats none.

    Args:
        images: uri and ``near``.
    """
    near = dict(images.select("uri", "near").iter_rows())
    found: dict[str, str] = {}
    for uri in near:
        chain = [uri]
        while chain[-1] not in found and near[chain[-1]] is not None:
            chain.append(near[chain[-1]])
        end = found.get(chain[-1], chain[-1])
        found |= dict.fromkeys(chain, end)
    return found
