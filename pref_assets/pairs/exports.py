"""Pairs as rows of any pairwise format, ready for other tools; what is written here reads back to the same ids."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.readers.back import turns_of
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.record import OVERALL, UNKNOWN_ANNOTATOR, Answer, Rating, Record, Vote
from pref_assets.pairs.readers.unpaired import UnpairedSource

Row = dict[str, Any]


def pair_rows(
    style: Source,
    pairs: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    *,
    margin: bool = False,
    image: Callable[[str], str] = str,
    more: Mapping[str, Row] | None = None,
) -> Iterator[Row]:
    """Rows of a format for pairs, by prompt and pair id: one a pair, or one a side where the format is unpaired.

    A row holds the conversation, who wrote the answers where the format has a place for it, and the pair's label; the
    votes behind the label and the metadata of the prompt stay in the tables.

    Args:
        style: the format and how it is written; its ``location`` is not looked at.
        pairs, prompts, completions: ``PAIRS``, ``PROMPTS`` and ``COMPLETIONS``; read a range of prompts at a time.
        margin: adds how much better the chosen side is.
        image: what a row calls the image of a URI.
        more: further fields of a pair's rows, by its id; every pair has an entry.

    Raises:
        ValueError: a row has one of the further fields already, the format cannot hold a pair, or a margin is asked for
            and a pair has none; names the pair.
    """
    if across := pairs.filter(pl.col("prompt_id").is_null()).select("pair_id").head(1).collect()["pair_id"].to_list():
        raise ValueError(f"pair {across[0]} compares answers to two prompts")
    for chunk in pair_chunks(pairs, prompts, completions):
        for pair, record in _records(chunk, pairs, prompts, completions):
            record.images = [image(uri) for uri in record.images]
            try:
                for row in _rows(style, record, margin):
                    yield row if more is None else _with(row, more[pair])
            except NoWayBackError as error:
                raise ValueError(f"pair {pair}: {error}") from error


def _with(row: Row, more: Row) -> Row:
    if twice := sorted(row.keys() & more.keys()):
        raise NoWayBackError(f"its row has a field `{twice[0]}` already; write another format, or leave one out")
    return row | more


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Writes rows as ``.jsonl`` or ``.parquet`` and returns how many; the file appears whole or not at all.

    Raises:
        ValueError: the path ends otherwise, or a row has a value that a column of Parquet would change.
    """
    if path.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{path}: pairs are written as .jsonl or .parquet")
    lines = path.with_name(f".{path.name}.lines.tmp")
    whole = path.with_name(f".{path.name}.tmp")
    try:
        count = _write_lines(rows, lines, check=path.suffix == ".parquet")
        if path.suffix == ".parquet" and count:
            pl.scan_ndjson(lines, infer_schema_length=None).sink_parquet(whole)
            whole.replace(path)
        elif path.suffix == ".parquet":
            pl.DataFrame().write_parquet(path)
        else:
            lines.replace(path)
    finally:
        for temporary in (lines, whole):
            temporary.unlink(missing_ok=True)
    return count


def _write_lines(rows: Iterable[Row], path: Path, check: bool) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):
            if check and (name := next((name for name, value in row.items() if not _is_flat(value)), None)):
                raise ValueError(
                    f"row {count}: field `{name}` has parts that other rows lack, which Parquet would fill with nulls; "
                    "write .jsonl"
                )
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _is_flat(value: Any) -> bool:
    """Whether a value is plain, a list of texts, or a list of messages of text."""
    if isinstance(value, list):
        texts = all(isinstance(item, str) for item in value)
        return texts or all(
            isinstance(item, dict) and item.keys() == {"role", "content"} and isinstance(item["content"], str)
            for item in value
        )
    return value is None or isinstance(value, (str, int, float))


def _records(
    chunk: pl.DataFrame, pairs: pl.LazyFrame, prompts: pl.LazyFrame, completions: pl.LazyFrame
) -> Iterator[tuple[str, Record]]:
    """The chunk's pairs as records of two answers and the vote they came to."""
    in_range = pl.col("prompt_id").is_between(pl.lit(chunk["prompt_id"][0]), pl.lit(chunk["prompt_id"][-1]))
    labels = pairs.filter(in_range).select("pair_id", "p_chosen", "strength").collect()
    about = prompts.filter(in_range).select("prompt_id", "images", "context").collect()
    models = dict(completions.filter(in_range).select("completion_id", "model").collect().iter_rows())
    frame = chunk.join(labels, on="pair_id", how="left", maintain_order="left")
    frame = frame.join(about, on="prompt_id", how="left", maintain_order="left")
    for row in frame.iter_rows(named=True):
        answers = [Answer(turns_of(row[side]), models[row[f"{side}_id"]]) for side in ("chosen", "rejected")]
        vote = Vote(0, 1, "tie" if row["p_chosen"] == 0.5 else "a", strength=row["strength"])
        yield row["pair_id"], Record(turns_of(row["prompt"]), answers, [vote], row["images"], row["context"])


def _rows(style: Source, record: Record, margin: bool) -> list[Row]:
    [vote] = record.votes
    if margin and vote.strength is None:
        raise NoWayBackError("it has no strength to write as margin")
    vote.strength = vote.strength if margin else None
    vote.dimension = getattr(style, "dimension", OVERALL)
    if isinstance(style, UnpairedSource):
        return [style.row(side) for side in _unpaired(record, style.dimension)]
    return [style.row(record)]


def _unpaired(record: Record, dimension: str) -> Iterator[Record]:
    """The chosen side as a wanted answer, the rejected one as an unwanted one."""
    if record.votes[0].choice == "tie":
        raise NoWayBackError("the format says whether an answer is wanted, the pair is a tie")
    for answer, wanted in zip(record.answers, (1.0, 0.0), strict=True):
        answer.ratings = [Rating(dimension, wanted, UNKNOWN_ANNOTATOR)]
        yield Record(record.turns, [answer], images=record.images, context=record.context)
