"""Synthetic preference data with planted duplicates, for benchmarks: as many pairs as asked for, in bounded memory."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import polars as pl

PROMPT_WORDS, ANSWER_WORDS = 60, 120
VOCABULARY = 20_000
EXACT, NEAR = 0.02, 0.03
"""Shares of rows that repeat an earlier row exactly, or with some words replaced."""
REPLACED = (0.0, 0.06)
"""Least and largest share of words that a near duplicate replaces."""
CHUNK = 10_000


@dataclass(frozen=True)
class Planted:
    """Truth of one row: what it is (``new``, ``exact`` or ``near``) and the row it repeats, from 1."""

    kind: str
    of: int


def vocabulary(rng: np.random.Generator) -> list[str]:
    """Distinct made-up words of two to four syllables."""
    syllables = [c + v for c in "bcdfghklmnprstvz" for v in "aeiou"]
    words = dict.fromkeys(
        "".join(syllables[i] for i in rng.integers(len(syllables), size=rng.integers(2, 5)))
        for _ in range(3 * VOCABULARY)
    )
    return list(words)[:VOCABULARY]


def rows(n: int, seed: int, start: int = 0) -> Iterator[tuple[bytes, Planted]]:
    """JSON lines in TRL's standard format and their truth. Rows repeat rows of their own chunk only."""
    rng = np.random.default_rng(seed)
    words = np.array(vocabulary(np.random.default_rng(0)), dtype=object)
    weights = 1 / np.arange(10, len(words) + 10)
    cumulative = np.cumsum(weights / weights.sum())
    width = PROMPT_WORDS + 2 * ANSWER_WORDS
    for first in range(0, n, CHUNK):
        size = min(CHUNK, n - first)
        tokens = np.minimum(np.searchsorted(cumulative, rng.random((size, width))), len(words) - 1)
        kinds = rng.random(size)
        of = np.zeros(size, dtype=int)
        lengths = rng.integers(80, 101, size=(size, 3)) / 100
        for row in np.flatnonzero(kinds < EXACT + NEAR):
            if row == 0:
                kinds[0] = 1.0
                continue
            source = int(rng.integers(row))
            of[row] = start + first + source + 1
            tokens[row], lengths[row] = tokens[source], lengths[source]
            if kinds[row] >= EXACT:
                changed = rng.random(width) < rng.uniform(*REPLACED)
                tokens[row, changed] = rng.integers(len(words), size=int(changed.sum()))
        for row in range(size):
            text = words[tokens[row]]
            cut = [int(PROMPT_WORDS * lengths[row, 0]), *(int(ANSWER_WORDS * share) for share in lengths[row, 1:])]
            parts = (text[: cut[0]], text[PROMPT_WORDS:][: cut[1]], text[PROMPT_WORDS + ANSWER_WORDS :][: cut[2]])
            names = ("prompt", "chosen", "rejected")
            line = orjson.dumps({name: " ".join(part) for name, part in zip(names, parts, strict=True)})
            kind = "new" if not of[row] else ("exact" if kinds[row] < EXACT else "near")
            yield line, Planted(kind, int(of[row]))


def write(path: Path, n: int, seed: int) -> pl.DataFrame:
    """Writes ``n`` rows as JSON lines; the truth as frame(row, kind, of), rows from 1."""
    truth: list[tuple[int, str, int]] = []
    with path.open("wb") as stream:
        for number, (line, planted) in enumerate(rows(n, seed), 1):
            stream.write(line + b"\n")
            truth.append((number, planted.kind, planted.of))
    return pl.DataFrame(truth, schema={"row": pl.Int64, "kind": pl.String, "of": pl.Int64}, orient="row")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(write(given.out, given.rows, given.seed)["kind"].value_counts().sort("kind"))
