"""Importance weights of DSIR beside the authors' package: CPU seconds, ratio, and whether the weights are equal.

python benchmarks/dsir.py [--rows 4000] [--large 100000] [--words 120]

Needs `pip install data-selection`, which the project itself does not use. ``large`` is weighed by this project alone.
"""

import argparse
import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, MESSAGES, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring import DsirWeight

VOCABULARY, TARGET = 20_000, 2000


def texts_of(rows: int, words: int, seed: int, skew: float) -> list[str]:
    """Random words, the n-th most frequent with probability proportional to 1 / n^skew."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, VOCABULARY + 1) ** skew
    names = np.array([f"word{i}" for i in range(VOCABULARY)])
    drawn = rng.choice(VOCABULARY, size=(rows, words), p=share / share.sum())
    return [" ".join(names[row]) + ", and so on." for row in drawn]


def pool_of(texts: list[str]) -> Pool:
    """One train pair for each text as its prompt, in the order of the texts."""
    ids = [f"{i:07}" for i in range(len(texts))]
    frame = pl.DataFrame({"id": ids, "text": texts})
    messages = pl.concat_list(pl.struct(role=pl.lit("user"), content="text")).cast(MESSAGES)

    def table(schema: Any, **columns: Any) -> pl.DataFrame:
        empty = {name: pl.lit(None, dtype) for name, dtype in schema.schema.items() if name not in columns}
        return schema.conform(frame.select(**columns, **empty))

    answers = [table(COMPLETIONS, completion_id=pl.lit(side) + pl.col("id"), prompt_id="id") for side in "cr"]
    return Pool(
        pairs=table(
            PAIRS,
            pair_id="id",
            prompt_id="id",
            chosen_id=pl.lit("c") + pl.col("id"),
            rejected_id=pl.lit("r") + pl.col("id"),
            split=pl.lit("train"),
        ),
        completions=pl.concat(answers).with_columns(messages=pl.lit([], MESSAGES)),
        prompts=table(PROMPTS, prompt_id="id", messages=messages),
    )


def theirs(folder: Path, raw: Path, target: Path) -> np.ndarray:
    """(n,) log weights by the package, in one process."""
    from data_selection import HashedNgramDSIR

    package = HashedNgramDSIR([str(raw)], [str(target)], cache_dir=str(folder / "cache"), num_proc=1)
    with contextlib.redirect_stderr(io.StringIO()):
        package.fit_importance_estimator(num_tokens_to_fit="all")
        package.compute_importance_weights()
    return np.load(folder / "cache" / "log_importance_weights" / "0.npy")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=120)
    rows, large, words = vars(parser.parse_args()).values()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw, target = folder / "raw.jsonl", folder / "target.jsonl"
        texts = texts_of(rows, words, 0, 1.0)
        raw.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        target.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts_of(TARGET, words, 1, 0.8)))
        method = DsirWeight(target={"type": "file", "location": str(target), "texts": ["text"]})

        expected, their_s = timed(lambda: theirs(folder, raw, target))
        scores, our_s = timed(lambda: method.score(pool_of(texts)))
        gap = float(np.abs(scores["score"].to_numpy() - expected).max())
        table = [(f"data-selection, {rows:,} texts", their_s, rows / their_s, 1.0, "")]
        table += [
            (f"dsir_weight, {rows:,} texts", our_s, rows / our_s, their_s / our_s, f"largest difference {gap:.1e}")
        ]
        many = pool_of(texts_of(large, words, 2, 1.0))
        _, large_s = timed(lambda: method.score(many))
        speed = (their_s / rows) / (large_s / large)
        table += [(f"dsir_weight, {large:,} texts", large_s, large / large_s, speed, "")]

    print(f"{words} words a text, {TARGET:,} target texts, 1- and 2-grams, 10,000 buckets, one process, CPU seconds")
    print(f"{'what':32} {'CPU s':>8} {'texts/s':>9} {'faster':>8}  result")
    for what, seconds, rate, ratio, result in table:
        print(f"{what:32} {seconds:8.2f} {rate:9,.0f} {ratio:7.1f}x  {result}")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if gap > 1e-9:
        sys.exit("the weights differ")


if __name__ == "__main__":
    main()
