"""Which group a pair belongs to: by where it comes from, how strong or long it is, its cluster, or its metadata."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl

from pref_assets.pool import Pool

By = Literal["source", "strength", "length", "cluster", "metadata"]
UNKNOWN = "unknown"


def sources_of(candidates: pl.DataFrame) -> pl.Series:
    """Names of the sources of each pair, several joined by ``+``."""
    names = pl.col("provenance").list.eval(pl.element().struct.field("source"))
    return candidates.select(
        names.list.drop_nulls().list.unique().list.sort().list.join("+").replace("", UNKNOWN).fill_null(UNKNOWN)
    )["provenance"]


def bins_of(values: pl.Series, bins: int) -> pl.Series:
    """The quantile bin of each number as ``[low, high]``; null is ``unknown``. Equal numbers share a bin, so there may
    be fewer bins."""
    known = values.drop_nulls()
    if not len(known):
        return pl.Series([UNKNOWN] * len(values), dtype=pl.String)
    inner = np.unique(np.quantile(known.to_numpy(), np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    place = pl.Series(np.searchsorted(inner, values.fill_null(0).to_numpy(), side="left"))
    frame = pl.DataFrame({"value": values, "place": place})
    ends = (pl.col("value").min().over("place"), pl.col("value").max().over("place"))
    known_places = frame.with_columns(place=pl.when(pl.col("value").is_not_null()).then("place"))
    return known_places.select(
        name=pl.when(pl.col("place").is_null()).then(pl.lit(UNKNOWN)).otherwise(pl.format("[{}, {}]", *ends))
    )["name"]


def lengths_of(pool: Pool, candidates: pl.DataFrame, unit: Literal["characters", "words"]) -> pl.DataFrame:
    """Length of each pair's answers: frame (pair_id, chosen, rejected), in the candidates' order.

    Raises:
        ValueError: the text of a completion is not there.
    """
    answers = pl.col("chosen", "rejected").str
    length = answers.len_chars() if unit == "characters" else answers.count_matches(r"\S+")
    return pool.texts(candidates).select("pair_id", length.cast(pl.Int64))


def clusters_of(pool: Pool, candidates: pl.DataFrame, name: str) -> pl.Series:
    """Cluster of each pair, or of its chosen completion where completions were clustered.

    Raises:
        ValueError: a pair is in no cluster.
    """
    table = pool.clusters[name]
    of_pairs = table.height and table["id"].is_in(pool.pairs["pair_id"].implode()).any()
    key = "pair_id" if of_pairs else "chosen_id"
    found = candidates.join(table.select("cluster", **{key: "id"}), on=key, how="left", maintain_order="left")
    absent = found.filter(pl.col("cluster").is_null())[key]
    if len(absent):
        raise ValueError(
            f"{len(absent)} {'pairs' if of_pairs else 'completions'} are in no cluster of {name!r}, e.g. "
            f"{absent.head(3).to_list()}; materialize the clusters again"
        )
    return found["cluster"]


def metadata_of(pool: Pool, candidates: pl.DataFrame, key: str) -> pl.Series:
    """What the metadata of each pair's prompt says under ``key``, as text; ``unknown`` where it says nothing.

    Raises:
        ValueError: no prompt's metadata has the key; says which keys there are.
    """
    prompts = pool.prompts.join(candidates, on="prompt_id", how="semi").sort("prompt_id")
    said = [_object(text) for text in prompts["metadata"]]
    if len(candidates) and not any(key in each for each in said):
        keys = sorted({name for each in said for name in each})
        raise ValueError(f"no prompt's metadata has {key!r}; keys: {', '.join(keys) or 'none'}")
    values = [_text(each.get(key)) for each in said]
    named = pl.DataFrame({"prompt_id": prompts["prompt_id"], "value": pl.Series(values, dtype=pl.String)})
    found = candidates.select("prompt_id").join(named, on="prompt_id", how="left", maintain_order="left")
    return found["value"].fill_null(UNKNOWN)


def _object(text: str | None) -> Mapping[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
