"""Pairs that nearly repeat an earlier one."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import Store
from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.duplicates.arrivals import in_order, rows_of
from pref_assets.pairs.duplicates.index import as_column
from pref_assets.pairs.duplicates.lsh import Places, duplicates
from pref_assets.pairs.duplicates.minhash import bands, signatures
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.shingles import Shingles, concat, jaccard
from pref_assets.pairs.duplicates.similar import similar
from pref_assets.pairs.duplicates.texts import READ_ROWS, pair_texts, scene_marks, scene_of, scenes, shingled
from pref_assets.pairs.schema import PAIR_DUPLICATES

_SCENE = ("images", "context")
"""The same answers to another image, or judged by another criterion, are another comparison."""


def pair_duplicates(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    arrival: pl.DataFrame,
    settings: NearDuplicates,
    store: Store | None = None,
    records: tuple[pl.LazyFrame, pl.LazyFrame] | None = None,
) -> pl.DataFrame:
    """``PAIR_DUPLICATES``: pairs to drop, each with the earlier pairs, themselves kept, that it nearly repeats.

    Two pairs are as similar as the least similar of their parts: the prompts, and the two answers of one with those of
    the other, matched whichever way is better. So a long prompt does not make short answers alike, and labels do not
    matter. Candidates come from the shingles of all three texts together. Images and criterion must be the same.
    Comparisons whose sides answer different prompts are left alone. Votes play no part: who is dropped depends on
    texts and arrival alone, so that neither a later batch nor a later vote changes it.

    Args:
        comparisons, prompts, completions: the tables of those names.
        arrival: source, batch, sequence: the order in which batches came.
        store: where hashes of pairs and similarities are kept; only missing ones are computed.
        records: ``RECORD_PROMPTS`` and ``RECORD_COMPLETIONS`` of all batches. With them, texts of new pairs are read
            from their own batches and not from the whole of ``prompts`` and ``completions``.

    Raises:
        ArrivalError: a row's batch is not in ``arrival``.
        ValueError: a comparison names a prompt or completion that is not in the tables.
    """
    own = comparisons.filter(pl.col("prompt_id").is_not_null())
    order = in_order(rows_of(own, "pair_id"), arrival)
    ids, known = order["id"], scenes(prompts, _SCENE)

    def hashed(missing: pl.Series) -> Iterator[pl.DataFrame]:
        for chunk in _chunks(own, prompts, completions, missing, order, records):
            texts = pair_texts(chunk)
            parts = shingled(
                texts.conversations, settings.shingle, lambda part: (signatures(part, settings), part.counts)
            )
            signed = np.concatenate([part[0] for part in parts])
            counts = np.concatenate([part[1] for part in parts])
            together = signed[texts.places[:, 0]]
            for side in (1, 2):
                np.minimum(together, signed[texts.places[:, side]], out=together)
            marks = bands(together, settings) ^ scene_marks(chunk["prompt_id"], known)
            shingles = pl.Series(counts[texts.places].sum(axis=1))
            yield pl.DataFrame({"id": texts.ids, "bands": as_column(marks), "shingles": shingles})

    def compared(named: pl.Series, left: Places, right: Places) -> NDArray[np.float64]:
        sets, places, scene = _parts(own, prompts, completions, named, settings.shingle, known)
        return pair_similarity(sets, places[left], places[right]) * (scene[left] == scene[right])

    found = similar("pair", ids, settings, store, hashed, compared)
    dropped = duplicates(found.later, found.earlier, len(ids))
    found = found.only(dropped[found.later] & ~dropped[found.earlier])
    return PAIR_DUPLICATES.conform(
        pl.DataFrame(
            {
                "pair_id": ids.gather(found.later),
                "of": ids.gather(found.earlier),
                "similarity": found.similarity,
                "batch": order["batch"].gather(found.later),
                "of_batch": order["batch"].gather(found.earlier),
            }
        )
    )


def _chunks(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    ids: pl.Series,
    order: pl.DataFrame,
    records: tuple[pl.LazyFrame, pl.LazyFrame] | None,
) -> Iterator[pl.DataFrame]:
    """``PAIR_TEXTS`` of the pairs: from the batches that brought them, where those have all texts of a pair."""
    batches = order.join(ids.to_frame("id"), on="id", how="semi")["batch"].unique()
    if records is not None and len(batches) < order["batch"].n_unique():
        said, answers = (table.filter(pl.col("batch").is_in(batches.to_list())) for table in records)
        asked = said.select("prompt_id").unique()
        answered = answers.select("completion_id").unique()
        whole = comparisons.join(ids.to_frame("pair_id").lazy(), on="pair_id", how="semi").join(
            asked, on="prompt_id", how="semi"
        )
        for side in ("chosen_id", "rejected_id"):
            whole = whole.join(answered, left_on=side, right_on="completion_id", how="semi")
        there = whole.select("pair_id").collect()["pair_id"]
        once = said.unique("prompt_id", keep="any"), answers.unique("completion_id", keep="any")
        yield from pair_chunks(comparisons, *once, rows=READ_ROWS, only=there)
        ids = ids.filter(~ids.is_in(there.implode()))
    if len(ids):
        yield from pair_chunks(comparisons, prompts, completions, rows=READ_ROWS, only=ids)


def pair_similarity(sets: Shingles, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """The least Jaccard similarity of the parts of pairs, (n, 3) places of prompt and two answers in ``sets``."""

    def of(one: int, other: int) -> NDArray[np.float64]:
        return jaccard(sets, left[:, one], right[:, other])

    straight = np.minimum(of(1, 1), of(2, 2))
    crossed = np.minimum(of(1, 2), of(2, 1))
    return np.minimum(of(0, 0), np.maximum(straight, crossed))


def _parts(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    ids: pl.Series,
    size: int,
    known: pl.DataFrame,
) -> tuple[Shingles, NDArray[np.int64], NDArray[np.uint64]]:
    """Shingle sets of texts, and for each pair of ``ids`` (sorted) the places of its three and its scene."""
    sets: list[Shingles] = []
    held: list[pl.Series] = []
    places: list[NDArray[np.int64]] = []
    scene: list[NDArray[np.uint64]] = []
    texts_before = 0
    for chunk in pair_chunks(comparisons, prompts, completions, rows=READ_ROWS, only=ids):
        texts = pair_texts(chunk)
        sets += shingled(texts.conversations, size, Shingles.sets)
        held.append(texts.ids)
        places.append(texts.places + texts_before)
        scene.append(scene_of(chunk["prompt_id"], known))
        texts_before += len(texts.conversations)
    order = pl.concat(held).arg_sort().to_numpy()
    return concat(sets), np.concatenate(places)[order], np.concatenate(scene)[order]
