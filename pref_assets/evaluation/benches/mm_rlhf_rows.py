"""Rows of MM-RLHF's reward bench and of what its released evaluation writes: pairs about images or videos."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pref_assets.evaluation.benches.formats import BenchRowError, bench_rows
from pref_assets.evaluation.benches.paired import PAIR_REWARDS, category_of
from pref_assets.pairs.images import Images
from pref_assets.pairs.locations import find_files
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.schema import MESSAGES, completion_id, content_id, prompt_id

CATEGORIES = ("mcq", "long", "short", "safety", "video")
"""The bench's categories, the first folders of its images."""
_PAIRED: dict[str, pl.DataType | type[pl.DataType]] = {
    "pair_id": pl.String,
    "group": pl.String,
    "category": pl.String,
    "prompt_id": pl.String,
    "prompt": MESSAGES,
    "images": pl.List(pl.String),
    "chosen_id": pl.String,
    "chosen": MESSAGES,
    "rejected_id": pl.String,
    "rejected": MESSAGES,
    "chosen_reason": pl.String,
    "rejected_reason": pl.String,
}
PAIRED = pl.Schema(_PAIRED)
"""A pair of the bench: ``group`` is its row's ``id``, ``images`` are ``media://`` uris (of a video, its frames),
reasons what annotators said of each answer."""


@dataclass(frozen=True)
class Pair:
    """A row of the bench.

    Attributes:
        group: the row's ``id``, which names a prompt, not a pair.
        path: of its image or video as written; null for none.
        prompt, chosen, rejected: texts.
        category: see ``category``.
    """

    group: str
    path: str | None
    prompt: str
    chosen: str
    rejected: str
    category: str

    @property
    def pair_id(self) -> str:
        """Names the pair by its content, so that a row read twice is found."""
        return content_id("bench pair", self.group, self.path, self.prompt, self.chosen, self.rejected)


def read_pairs(
    location: str, image_folder: str | None, categories: Sequence[str] | None, media: MediaStore
) -> tuple[pl.DataFrame, int]:
    """The bench's pairs as ``PAIRED``, sorted by id, each once, and how many rows only repeated one.

    Args:
        location: ``dpo_pairs``-like rows; see ``formats.read_bench``.
        image_folder: folder or zip archive of the images; null keeps prompts without them.
        categories: known first folders; null for any.
        media: where images are stored.

    Raises:
        BenchRowError: a row lacks an id or a text, its image is missing or broken, or there is no row.
        ImagesError: there is no such folder of images.
    """
    images = Images(image_folder, media)
    found: dict[str, dict[str, Any]] = {}
    read = 0
    for where, row in bench_rows(location):
        pair = parsed(row, where, categories)
        read += 1
        try:
            uris = images.stored([pair.path]) if image_folder is not None and pair.path else []
        except BadRowError as error:
            raise BenchRowError(f"{where}: {error} ({error.code})") from error
        prompt = [{"role": "user", "content": pair.prompt}]
        asked = prompt_id(prompt, uris)
        sides = {side: [{"role": "assistant", "content": getattr(pair, side)}] for side in ("chosen", "rejected")}
        ids = {f"{side}_id": completion_id(asked, said) for side, said in sides.items()}
        about = {"group": pair.group, "category": pair.category, "prompt_id": asked, "prompt": prompt, "images": uris}
        said = {name: row.get(name) for name in ("chosen_reason", "rejected_reason")}
        for name, reason in said.items():
            if not isinstance(reason, str | None):
                raise BenchRowError(f"{where}: `{name}` is {type(reason).__name__}, expected a string or null")
        new = {"pair_id": pair.pair_id, **about, **sides, **ids, **said}
        if found.setdefault(pair.pair_id, new) != new:
            raise BenchRowError(f"{where}: this pair of id {pair.group!r} has other reasons further up; keep one row")
    if not found:
        raise BenchRowError(f"{location}: no rows")
    return pl.DataFrame([found[name] for name in sorted(found)], schema=PAIRED), read - len(found)


def read_results(location: str, categories: Sequence[str] | None) -> tuple[pl.DataFrame, int]:
    """Rewards that another program gave, as ``PAIR_REWARDS`` sorted by id, and how many rows only repeated one.

    The rows are the bench's with ``rewards: [of chosen, of rejected]``, as MM-RLHF's released evaluation writes them:
    JSON lines, in which a reward may be ``NaN`` or null.

    Raises:
        BenchRowError: a row is no JSON object, lacks a field, or a pair has two different rewards.
        LocationError: there is no such file.
    """
    found: dict[str, dict[str, Any]] = {}
    read = 0
    for where, row in _lines(location):
        pair = parsed(row, where, categories)
        rewards = row.get("rewards")
        if not isinstance(rewards, list) or len(rewards) != 2 or not all(map(_reward, rewards)):
            raise BenchRowError(f"{where}: `rewards` is {rewards!r}, expected [reward of chosen, reward of rejected]")
        chosen, rejected = (None if each is None else float(each) for each in rewards)
        about = {"pair_id": pair.pair_id, "group": pair.group, "category": pair.category}
        new = {**about, "chosen": chosen, "rejected": rejected}
        read += 1
        # As text, in which NaN is NaN.
        if repr(found.setdefault(pair.pair_id, new)) != repr(new):
            raise BenchRowError(f"{where}: this pair of id {pair.group!r} has other rewards further up; keep one row")
    if not found:
        raise BenchRowError(f"{location}: no rows")
    return pl.DataFrame([found[name] for name in sorted(found)], schema=PAIR_REWARDS), read - len(found)


def parsed(row: dict[str, Any], where: str, categories: Sequence[str] | None) -> Pair:
    """A row's fields. A null image is none. Raises ``BenchRowError``."""
    group = row.get("id")
    if not isinstance(group, str | int) or isinstance(group, bool) or group == "":
        raise BenchRowError(f"{where}: `id` is {group!r}, expected the prompt's id, by which ACC+ groups pairs")
    texts = {name: row.get(name) for name in ("prompt", "chosen", "rejected")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise BenchRowError(f"{where}: `{name}` is {type(text).__name__}, expected a string")
    paths = {name: row.get(name) or None for name in ("image", "video")}
    for name, path in paths.items():
        if path is not None and not isinstance(path, str):
            raise BenchRowError(f"{where}: `{name}` is {type(path).__name__}, expected a path or null")
    path = paths["image"] or paths["video"]
    return Pair(str(group), path, **texts, category=category_of(path, categories))  # type: ignore[arg-type]


def _reward(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _lines(location: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of JSON lines with its place; unlike data, results may hold NaN."""
    for uri, path in find_files(location):
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{uri}, row {number}"
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise BenchRowError(f"{where}: no JSON ({error}); a run that was killed may have cut it") from error
                if not isinstance(row, dict):
                    raise BenchRowError(f"{where}: {type(row).__name__}, expected an object")
                yield where, row
