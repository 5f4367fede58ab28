"""Which pairs hold texts of which benches."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from pref_assets.features.store import Store
from pref_assets.pairs.decontamination.benches import BenchTexts, bench_texts
from pref_assets.pairs.decontamination.matching import BenchIndex
from pref_assets.pairs.decontamination.settings import Decontamination
from pref_assets.pairs.duplicates.index import computed
from pref_assets.pairs.duplicates.texts import READ_ROWS, sliced
from pref_assets.pairs.duplicates.words import ALGORITHM, words
from pref_assets.pairs.schema import CONTAMINATION
from pref_assets.settings import digest

_KIND = "contamination"
_COLUMNS = {
    "findings": pl.List(pl.Struct({"text": pl.Int64, "kind": pl.String, "similarity": pl.Float64, "detail": pl.String}))
}


def contamination(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    settings: Decontamination,
    store: Store | None = None,
) -> pl.DataFrame:
    """``CONTAMINATION``: the bench texts found in pairs, with the words they share.

    A bench row is counted from 1 over the files of the bench in order. Where several texts of a row are found in the
    same part, the most similar is named.

    Args:
        comparisons, prompts, completions: the tables of those names.
        store: where findings are kept by prompt and completion, for these benches and settings; only missing ones are
            computed.

    Raises:
        BenchError, LocationError, UnreadableError: a bench cannot be read.
    """
    benches = bench_texts(settings)
    texts = _long_enough(benches, settings)
    if texts.is_empty():
        return CONTAMINATION.empty()
    index = BenchIndex.of(texts["text"], settings)
    key = digest([ALGORITHM, benches.fingerprint, settings.model_dump(mode="json", exclude={"benches"})])
    pairs = comparisons.select("pair_id", "chosen_id", "rejected_id").collect(engine="streaming")
    sides = pl.concat([pairs.select(completion_id=f"{side}_id") for side in ("chosen", "rejected")]).unique()
    answers = completions.select("completion_id", "prompt_id").join(sides.lazy(), on="completion_id", how="semi")
    owner = answers.collect(engine="streaming")
    found = [
        _findings(prompts, "prompt_id", owner.select("prompt_id").unique(), index, settings, store, key),
        _findings(completions, "completion_id", owner, index, settings, store, key),
    ]
    return _of_pairs(pairs, owner, found[0], found[1], texts)


def _long_enough(benches: BenchTexts, settings: Decontamination) -> pl.DataFrame:
    found = words(benches.frame["text"])
    return benches.frame.filter(np.diff(found.offsets) >= settings.min_words)


def _findings(
    table: pl.LazyFrame,
    name: str,
    items: pl.DataFrame,
    index: BenchIndex,
    settings: Decontamination,
    store: Store | None,
    key: str,
) -> pl.DataFrame:
    """Frame (id, text, kind, similarity, detail) of the prompts or completions in which something was found."""

    def searched(missing: pl.Series) -> Iterator[pl.DataFrame]:
        todo = items.join(missing.alias(name).to_frame(), on=name, how="semi").sort("prompt_id")
        for part in todo.iter_slices(READ_ROWS):
            in_range = pl.col("prompt_id").is_between(pl.lit(part["prompt_id"][0]), pl.lit(part["prompt_id"][-1]))
            read = table.select(*dict.fromkeys([name, "prompt_id", "messages"])).filter(in_range)
            chunk = read.join(part.select(name).lazy(), on=name, how="semi").collect(engine="streaming")
            yield _searched(chunk.sort(name), name, index, settings)

    held = computed(store, _KIND, key, items[name], searched, _COLUMNS)
    return held.filter(pl.col("findings").list.len() > 0).explode("findings").unnest("findings")


def _searched(chunk: pl.DataFrame, name: str, index: BenchIndex, settings: Decontamination) -> pl.DataFrame:
    shifted, before = [], 0
    for size, found in sliced(chunk["messages"], lambda part: (len(part), index.find(part, settings))):
        shifted.append(found.with_columns(pl.col("conversation") + before))
        before += size
    listed = (
        pl.concat(shifted)
        .sort("conversation", "text", "kind")
        .group_by("conversation")
        .agg(findings=pl.struct("text", "kind", "similarity", "detail"))
    )
    ids = chunk.select(id=name).with_row_index("conversation").with_columns(pl.col("conversation").cast(pl.Int64))
    found = ids.join(listed, on="conversation", how="left")
    return found.select("id", pl.col("findings").fill_null(pl.lit([], _COLUMNS["findings"])))


def _of_pairs(
    pairs: pl.DataFrame, owner: pl.DataFrame, in_prompts: pl.DataFrame, in_answers: pl.DataFrame, texts: pl.DataFrame
) -> pl.DataFrame:
    """Findings in texts as findings in the parts of pairs."""
    parts = []
    for side in ("chosen", "rejected"):
        ids = pairs.select("pair_id", id=f"{side}_id")
        parts.append(ids.join(in_answers, on="id").with_columns(part=pl.lit(side)))
        asked = ids.join(owner, left_on="id", right_on="completion_id").select("pair_id", id="prompt_id")
        parts.append(asked.join(in_prompts, on="id").with_columns(part=pl.lit("prompt")))
    places = texts.select("bench", "bench_row").with_row_index("text").with_columns(pl.col("text").cast(pl.Int64))
    found = pl.concat(parts).join(places, on="text").sort("similarity", "text", "id", descending=[True, False, False])
    found = found.unique(CONTAMINATION.key, keep="first", maintain_order=True)
    return CONTAMINATION.conform(found.select(list(CONTAMINATION.columns)))
