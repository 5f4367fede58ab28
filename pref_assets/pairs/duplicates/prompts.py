"""Prompts that nearly repeat an earlier one."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.arrivals import in_order
from pref_assets.pairs.duplicates.index import as_column
from pref_assets.pairs.duplicates.lsh import Places, groups
from pref_assets.pairs.duplicates.minhash import bands, signatures
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.shingles import Shingles, concat, jaccard
from pref_assets.pairs.duplicates.similar import similar
from pref_assets.pairs.duplicates.texts import prompt_chunks, scene_marks, scene_of, scenes, shingled
from pref_assets.pairs.schema import PROMPT_DUPLICATES

_SCENE = ("images",)
"""The same words about another image are another prompt; under another criterion they are not, for they leak."""


def prompt_duplicates(
    prompts: pl.LazyFrame, arrival: pl.DataFrame, settings: NearDuplicates, store: Store | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prompts that nearly repeat an earlier one, and the group of every such prompt.

    A prompt joins the group of the earlier prompt that is most similar to it, of the first among equals. Groups are
    never joined, so more data moves no prompt. Prompts with other images are never similar.

    Args:
        prompts: ``RECORD_PROMPTS`` rows of all batches.
        arrival: source, batch, sequence: the order in which batches came.
        store: where hashes of prompts and similarities are kept; only missing ones are computed.

    Returns:
        ``PROMPT_DUPLICATES`` (for each prompt the most similar one of every group that it resembles), and a frame
        (prompt_id, group_id) of the prompts whose group is another prompt's.

    Raises:
        ArrivalError: a row's batch is not in ``arrival``.
    """
    order = in_order(prompts.rename({"prompt_id": "id"}), arrival)
    ids, known = order["id"], scenes(prompts, _SCENE)

    def hashed(missing: pl.Series) -> Iterator[pl.DataFrame]:
        batches = order.join(missing.to_frame("id"), on="id", how="semi")["batch"].unique()
        of_these = prompts.filter(pl.col("batch").is_in(batches.to_list()))  # so that old batches are not read
        for chunk in prompt_chunks(of_these, missing):
            parts = shingled(
                chunk["messages"], settings.shingle, lambda part: (bands(signatures(part, settings), settings), part)
            )
            marks = np.concatenate([part[0] for part in parts]) ^ scene_marks(chunk["prompt_id"], known)
            counts = np.concatenate([part[1].counts for part in parts])
            yield chunk.select(id="prompt_id", bands=as_column(marks), shingles=pl.Series(counts))

    def compared(named: pl.Series, left: Places, right: Places) -> NDArray[np.float64]:
        scene = scene_of(named, known)
        return jaccard(_sets(prompts, named, settings.shingle), left, right) * (scene[left] == scene[right])

    found = similar("prompt", ids, settings, store, hashed, compared)
    group = groups(found.later, found.earlier, found.similarity, len(ids))
    evidence = pl.DataFrame(
        {
            "prompt_id": ids.gather(found.later),
            "of": ids.gather(found.earlier),
            "similarity": found.similarity,
            "batch": order["batch"].gather(found.later),
            "of_batch": order["batch"].gather(found.earlier),
            "later": found.later,
            "earlier": found.earlier,
            "group": group[found.earlier],
        }
    )
    nearest = evidence.sort("later", "similarity", "earlier", descending=[False, True, False])
    nearest = nearest.unique(["later", "group"], keep="first", maintain_order=True)
    moved = np.flatnonzero(group != np.arange(len(group)))
    frame = pl.DataFrame({"prompt_id": ids.gather(moved), "group_id": ids.gather(group[moved])})
    return PROMPT_DUPLICATES.conform(nearest.select(list(PROMPT_DUPLICATES.columns))), frame


def _sets(prompts: pl.LazyFrame, ids: pl.Series, size: int) -> Shingles:
    """Shingle sets of the prompts, in the order of ``ids``, which is sorted."""
    parts = [shingled(chunk["messages"], size, Shingles.sets) for chunk in prompt_chunks(prompts, ids)]
    return concat([each for part in parts for each in part])
