"""What evaluations measure on: held-out pairs, the truth about them where it is known, and named slices."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pref_assets.pairs.schema import content_id
from pref_assets.pairs.splits import TEST
from pref_assets.pairs.texts import text_of

TRUTH = pl.Schema(
    [
        ("prompt_id", pl.String()),
        ("completion_id", pl.String()),
        ("overall_true", pl.Float64()),
        ("faults", pl.List(pl.String)),
        ("family", pl.List(pl.String)),
    ]
)
"""Columns of a truth file: ``completion_id`` is null where a fault concerns the whole prompt."""


class NothingHeldOutError(ValueError):
    """There is nothing to measure on; the message says what the split or the source lacks."""


def held_out(pairs: pl.DataFrame, completions: pl.DataFrame, truth: pl.DataFrame | None = None) -> pl.DataFrame:
    """The pairs of the test split that have a winner, sorted by id.

    Args:
        pairs, completions: the tables of those names.
        truth: a ``TRUTH`` frame; null leaves ``label_right`` null and the lists empty.

    Returns:
        pair_id; group (the prompt, of the chosen side where they differ); chosen_id; rejected_id; length_difference
        (characters of chosen minus rejected); label_right (whether the truth prefers the chosen side; null where it is
        silent or indifferent); families and faults (lists), and truth_known (whether the truth speaks of both sides).

    Raises:
        NothingHeldOutError: no pair of the test split has a winner.
    """
    length = text_of("messages").str.len_chars().cast(pl.Int64)
    sides = completions.select(id="completion_id", prompt="prompt_id", length=length)
    test = pairs.filter(pl.col("split") == TEST, pl.col("p_chosen") != 0.5)
    if test.is_empty():
        found = dict(pairs.group_by("split").len().sort("split").iter_rows())
        raise NothingHeldOutError(
            f"no pair to measure on: the split {TEST!r} holds no pair with a winner (pairs by split: {found}); "
            "give it a share under `pairs: splits`"
        )
    for side in ("chosen", "rejected"):
        test = test.join(_prefixed(sides, side), on=f"{side}_id", how="left")
    absent = test.filter(pl.any_horizontal(pl.col("chosen_length", "rejected_length").is_null()))
    if not absent.is_empty():
        raise ValueError(f"pair {absent['pair_id'][0]} names a completion that the completions table does not hold")
    test = test.select(
        "pair_id",
        pl.coalesce("prompt_id", "chosen_prompt").alias("group"),
        "chosen_id",
        "rejected_id",
        (pl.col("chosen_length") - pl.col("rejected_length")).alias("length_difference"),
    )
    return with_truth(test, TRUTH.to_frame() if truth is None else truth).sort("pair_id")


def _prefixed(frame: pl.DataFrame, side: str) -> pl.DataFrame:
    return frame.rename({name: f"{side}_{name}" for name in frame.columns})


def with_truth(test: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """What a ``TRUTH`` frame says of pairs (pair_id, group, chosen_id, rejected_id, length_difference), in the columns
    that ``held_out`` describes."""
    completions = (
        truth.drop_nulls("completion_id")
        .group_by(id="completion_id")
        .agg(true=pl.col("overall_true").max(), faults=pl.col("faults").explode().drop_nulls().unique())
    )
    prompts = truth.group_by("prompt_id").agg(
        pl.col("faults").filter(pl.col("completion_id").is_null()).explode().drop_nulls().unique(),
        pl.col("family").explode().drop_nulls().unique().sort().alias("families"),
    )
    for side in ("chosen", "rejected"):
        test = test.join(_prefixed(completions, side), on=f"{side}_id", how="left")
    test = test.join(prompts.rename({"prompt_id": "group"}), on="group", how="left")
    gap = pl.col("chosen_true") - pl.col("rejected_true")
    lists = [pl.col(name).fill_null([]) for name in ("faults", "chosen_faults", "rejected_faults")]
    return test.select(
        *("pair_id", "group", "chosen_id", "rejected_id", "length_difference"),
        pl.when(gap != 0).then(gap > 0).alias("label_right"),
        pl.col("families").fill_null([]),
        pl.concat_list(lists).list.unique().list.sort().alias("faults"),
        gap.is_not_null().alias("truth_known"),
    )


def slices(test: pl.DataFrame) -> pl.DataFrame:
    """Named parts of the held-out pairs, as frame(subset, pair_id).

    ``all``; ``family:<f>`` by constraint family of the prompt; ``fault:<code>`` where a fault was planted in the prompt
    or a side; ``fault:none`` where the truth is known and no fault was planted. A pair may lie in several.
    """
    families = test.explode("families").drop_nulls("families")
    faults = test.explode("faults").drop_nulls("faults")
    clean = test.filter(pl.col("truth_known"), pl.col("faults").list.len() == 0)
    parts = [
        test.select(pl.lit("all").alias("subset"), "pair_id"),
        families.select(("family:" + pl.col("families")).alias("subset"), "pair_id"),
        faults.select(("fault:" + pl.col("faults")).alias("subset"), "pair_id"),
        clean.select(pl.lit("fault:none").alias("subset"), "pair_id"),
    ]
    return pl.concat(parts)


def read_truth(files: Sequence[Path]) -> pl.DataFrame:
    """Truth files (JSON lines, optionally gzipped) as one ``TRUTH`` frame.

    Raises:
        ValueError: a line is no JSON object or lacks a field; names file, line and field.
    """
    rows = []
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                    rows.append({name: row[name] for name in TRUTH})
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise ValueError(
                        f"{path.name}:{number}: not a truth row ({type(error).__name__}: {error}); "
                        f"it needs {', '.join(TRUTH)}"
                    ) from error
    return pl.DataFrame(rows, schema=TRUTH)


def sample(ids: pl.DataFrame, column: str, count: int, seed: int) -> pl.DataFrame:
    """At most ``count`` rows, the same whatever the row order, and mostly the same when rows are added.

    Rows are ordered by a hash of the seed and the id, so that a row that was drawn stays drawn unless new rows hash
    below it: their cached results are used again.
    """
    order = ids.get_column(column).map_elements(lambda value: content_id("sample", seed, value), return_dtype=pl.String)
    return ids.with_columns(order.alias("_order")).sort("_order").head(count).drop("_order").sort(column)
