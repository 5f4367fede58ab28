"""Texts of many prompts and pairs as shingles, a bounded number at a time."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pairs.duplicates.shingles import Shingles, shingles
from pref_assets.pairs.duplicates.words import Hashes, hash_text

PARTS = ("prompt", "chosen", "rejected")
READ_ROWS = 25_000
"""Prompts or pairs read at once."""
_TEXTS = 2048
"""Texts that one thread works on at once; their arrays stay in the caches."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class PairTexts:
    """Distinct conversations of some pairs, and which three make up each pair.

    Attributes:
        ids: pair ids.
        conversations: distinct ones, ``MESSAGES``.
        places: (n, 3) places in ``conversations`` of prompt, chosen and rejected.
    """

    ids: pl.Series
    conversations: pl.Series
    places: NDArray[np.int64]


def pair_texts(chunk: pl.DataFrame) -> PairTexts:
    """The conversations of a chunk of ``PAIR_TEXTS``, each once."""
    sides = [chunk.select(id=f"{part}_id", said=part) for part in PARTS]
    texts = pl.concat(sides).unique("id", keep="any", maintain_order=True).with_row_index("place")
    places = [
        chunk.select(id=f"{part}_id").join(texts.select("id", "place"), on="id", how="left", maintain_order="left")
        for part in PARTS
    ]
    columns = [place["place"].to_numpy().astype(np.int64) for place in places]
    return PairTexts(chunk["pair_id"], texts["said"], np.stack(columns, axis=1))


def prompt_chunks(prompts: pl.LazyFrame, ids: pl.Series, rows: int = READ_ROWS) -> Iterator[pl.DataFrame]:
    """Frames (prompt_id, messages) of the named prompts, each once, a range of ids at a time."""
    texts = prompts.select("prompt_id", "messages")
    for part in ids.alias("prompt_id").sort().to_frame().iter_slices(rows):
        in_range = pl.col("prompt_id").is_between(pl.lit(part["prompt_id"][0]), pl.lit(part["prompt_id"][-1]))
        wanted = texts.filter(in_range).join(part.lazy(), on="prompt_id", how="semi").collect(engine="streaming")
        yield wanted.unique("prompt_id", keep="any").sort("prompt_id")


def sliced(conversations: pl.Series, then: Callable[[pl.Series], Result]) -> list[Result]:
    """What ``then`` makes of the conversations, a slice at a time, in order, on as many threads as Polars has."""
    slices = [conversations.slice(at, _TEXTS) for at in range(0, len(conversations), _TEXTS)]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return list(pool.map(then, slices))


def shingled(conversations: pl.Series, size: int, then: Callable[[Shingles], Result]) -> list[Result]:
    """What ``then`` makes of the shingles of the conversations, by slices."""
    return sliced(conversations, lambda part: then(shingles(part, size)))


def scenes(prompts: pl.LazyFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """A hash of what else a prompt holds: frame (prompt_id, scene) of the prompts with something in ``columns``."""
    there = pl.any_horizontal(
        pl.col(name).list.len() > 0 if name == "images" else pl.col(name).is_not_null() for name in columns
    )
    rows = prompts.select("prompt_id", *columns).filter(there).unique("prompt_id", keep="any").collect()
    hashes = [hash_text(json.dumps([value or None for value in values])) for _, *values in rows.iter_rows()]
    return rows.select("prompt_id", scene=pl.Series(hashes, dtype=pl.UInt64))


def scene_of(ids: pl.Series, known: pl.DataFrame) -> Hashes:
    """(n,) the scene of each prompt, 0 for none."""
    frame = ids.alias("prompt_id").to_frame().join(known, on="prompt_id", how="left", maintain_order="left")
    return frame["scene"].fill_null(0).to_numpy()


def scene_marks(ids: pl.Series, known: pl.DataFrame) -> NDArray[np.uint32]:
    """(n, 1) numbers that set the band hashes of different scenes apart."""
    return scene_of(ids, known).astype(np.uint32)[:, None]
