"""From what a person types to the rows and pairs it names."""

import json
import re
from pathlib import PurePosixPath

import polars as pl

from pref_assets.lineage.model import AmbiguousQueryError, UnknownQueryError
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pairs.schema import COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, QUARANTINE, RAW, RECORD_COMPLETIONS
from pref_assets.pairs.texts import text_of

SHOWN = 10
"""Candidates that an error lists."""

_HEX = re.compile(r"[0-9a-f]{4,32}")
_POINTER = re.compile(r"(?P<file>.+):(?P<row>[0-9]+)")
_HELP = "ask for a pair id (4 or more characters), the start of a completion's text, or file:row"


def of_pair_id(tables: PipelineTables, prefix: str) -> list[str] | None:
    """The one pair, kept or dropped, whose id starts so; ``None`` when the query cannot be an id or there is none.

    Raises:
        AmbiguousQueryError: several pairs do.
    """
    if not _HEX.fullmatch(prefix):
        return None
    frames = [tables.scan("pairs", "pairs", PAIRS), tables.scan("pairs", "pair_drops", PAIR_DROPS)]
    found = pl.concat(
        [f.select("pair_id", "chosen_id").filter(pl.col("pair_id").str.starts_with(prefix)) for f in frames]
    )
    ids = found.collect().unique("pair_id").sort("pair_id")
    if ids.height > 1:
        texts = _texts(tables, ids["chosen_id"].to_list())
        candidates = [(row["pair_id"], _short(texts.get(row["chosen_id"], ""))) for row in ids.head(SHOWN).to_dicts()]
        raise AmbiguousQueryError(f"{ids.height} pairs have ids that start with {prefix!r}:", candidates)
    return ids["pair_id"].to_list() or None


def of_text(tables: PipelineTables, text: str) -> tuple[str, list[str]] | None:
    """The one completion whose text starts so (leading space aside), and the pairs it is in.

    Raises:
        AmbiguousQueryError: several completions do; the candidates are their pairs.
    """
    wanted = text.strip()
    completions = tables.scan("pairs", "completions", COMPLETIONS)
    prompts = tables.scan("pairs", "prompts", PROMPTS).select("prompt_id", prompt=text_of("messages"))
    found = (
        completions.select("completion_id", "prompt_id", text=text_of("messages").str.strip_chars())
        .filter(pl.col("text").str.starts_with(wanted))
        .join(prompts, on="prompt_id", how="left")
        .select("completion_id", "text", "prompt")
        .collect()
        .sort("text", "completion_id")
    )
    if found.height > 1:
        exact = found.filter(pl.col("text") == wanted)
        found = exact if exact.height == 1 else found
    if found.is_empty():
        return None
    pairs = of_completions(tables, found["completion_id"].to_list())
    if found.height > 1:
        candidates = []
        for completion, full, prompt in found.head(SHOWN).iter_rows():
            own = pairs.filter(pl.any_horizontal(pl.col("chosen_id", "rejected_id") == completion))["pair_id"].to_list()
            candidates.append((own[0] if own else f"(no pair) {completion}", f"{_short(full)}  (to: {_short(prompt)})"))
        raise AmbiguousQueryError(f"{found.height} completions start with {wanted!r}:", candidates)
    return found["completion_id"][0], pairs["pair_id"].to_list()


def of_completions(tables: PipelineTables, completions: list[str]) -> pl.DataFrame:
    """Pairs, kept or dropped, that hold any of the completions: (pair_id, chosen_id, rejected_id) sorted by id."""
    frames = [tables.scan("pairs", "pairs", PAIRS), tables.scan("pairs", "pair_drops", PAIR_DROPS)]
    columns = ["pair_id", "chosen_id", "rejected_id"]
    mine = pl.any_horizontal(pl.col("chosen_id", "rejected_id").is_in(completions))
    return pl.concat([f.select(columns).filter(mine) for f in frames]).collect().unique("pair_id").sort("pair_id")


def of_pointer(tables: PipelineTables, query: str) -> tuple[str, int] | None:
    """The location and row that ``file:row`` names; the file may be given by its last parts.

    ``None`` when the query does not look like a pointer, or names no file that was read.

    Raises:
        AmbiguousQueryError: several files end so.
        UnknownQueryError: the file was read, and has no such row.
    """
    match = _POINTER.fullmatch(query.strip())
    if match is None:
        return None
    file, number = match["file"], int(match["row"])
    sizes = _files(tables)
    uris = sorted(u for u in sizes["uri"] if u == file) or sorted(u for u in sizes["uri"] if u.endswith(f"/{file}"))
    if len(uris) > 1:
        candidates = [(f"{uri}:{number}", "") for uri in uris[:SHOWN]]
        raise AmbiguousQueryError(f"{len(uris)} files that were read end with {file!r}:", candidates)
    if not uris:
        return None
    here = (pl.col("uri") == uris[0]) & (pl.col("row") == number)
    if all(tables.scan("raw", name, RAW).filter(here).collect().is_empty() for name in tables.names("raw")):
        last = sizes.filter(pl.col("uri") == uris[0])["last"][0]
        what = "that line is blank" if 1 <= number <= last else f"its last row is {last}"
        raise UnknownQueryError(f"{uris[0]} was read, but has no row {number}: {what}")
    return uris[0], number


def _files(tables: PipelineTables) -> pl.DataFrame:
    """Every file that was read: (uri, last row)."""
    frames = [tables.scan("raw", name, RAW).select("uri", "row") for name in tables.names("raw")]
    if not frames:
        return pl.DataFrame(schema={"uri": pl.String, "last": pl.Int64})
    return pl.concat(frames).group_by("uri").agg(last=pl.col("row").max()).collect().sort("uri")


def refused_with(tables: PipelineTables, text: str) -> list[tuple[str, int]]:
    """Quarantined rows whose payload holds the text, for completions that never became one: (uri, row)."""
    quoted = json.dumps(text.strip(), ensure_ascii=False)[1:-1]
    holds = pl.any_horizontal(pl.col("payload").str.contains(t, literal=True) for t in (quoted, json.dumps(text)[1:-1]))
    rows: list[tuple[str, int]] = []
    for name in tables.names("records", "_quarantine"):
        found = tables.scan("records", name, QUARANTINE).filter(holds).select("uri", "row").unique().sort("uri", "row")
        rows += list(found.collect().iter_rows())
    return rows


def of_row(tables: PipelineTables, uri: str, number: int) -> tuple[list[str], list[str]]:
    """Completions that the row held, and the pairs, kept or dropped, that it voted on or whose two sides it held."""
    here = (pl.col("uri") == uri) & (pl.col("row") == number)
    completions: set[str] = set()
    for name in tables.names("records", "_completions"):
        frame = tables.scan("records", name, RECORD_COMPLETIONS).filter(here).select("completion_id").collect()
        completions.update(frame["completion_id"])
    both = pl.all_horizontal(pl.col("chosen_id", "rejected_id").is_in(sorted(completions)))
    element = pl.element().struct
    voted = pl.col("provenance").list.eval((element.field("uri") == uri) & (element.field("row") == number)).list.any()
    frames = [tables.scan("pairs", "pairs", PAIRS), tables.scan("pairs", "pair_drops", PAIR_DROPS)]
    pairs = pl.concat([f.filter(voted | both).select("pair_id") for f in frames]).collect()
    return sorted(completions), pairs["pair_id"].unique().sort().to_list()


def unknown(tables: PipelineTables, query: str) -> UnknownQueryError:
    """The error for a query that names nothing."""
    files = _files(tables)
    names = [PurePosixPath(uri).name for uri in files["uri"].head(SHOWN)]
    more = f" and {files.height - SHOWN} more" if files.height > SHOWN else ""
    return UnknownQueryError(
        f"nothing in pipeline {tables.pipeline!r} answers to {query!r}; {_HELP}. "
        f"Files that were read: {', '.join(names) or 'none'}{more}"
    )


def _texts(tables: PipelineTables, completions: list[str]) -> dict[str, str]:
    frame = tables.scan("pairs", "completions", COMPLETIONS).filter(pl.col("completion_id").is_in(completions))
    return dict(frame.select("completion_id", text_of("messages")).collect().iter_rows())


def _short(text: str, width: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
