"""DEITA's diversity filter beside the plain loop and a faiss index: CPU seconds, ratio, and whether the picks agree.

python benchmarks/deita.py [--rows 100000] [--width 384] [--keep 10000] [--threshold 0.26]

All three visit the same rows in the same order and must keep the same ones; where a cosine lies within float32 rounding
of the threshold, ways of summing may part, and the run says where and by how much. The index (`pip install faiss-cpu`,
left out where absent) looks up the nearest kept row of a block of 1,024, and the block's own rows are then settled in
order.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pref_assets.selection.deita import KEPT, greedy_filter

GROUPS, NOISE, BLOCK = 100, 2.0, 1024
ROUNDING = 1e-6  # of a float32 cosine of 384 terms


def mixture(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around random centres, (rows, width) float32."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(GROUPS, width))
    vectors = centres[rng.integers(GROUPS, size=rows)] + NOISE * rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def row_by_row(unit: np.ndarray, count: int, threshold: float) -> list[int]:
    """The definition: one row at a time against all kept rows, which lie packed in memory."""
    kept: list[int] = []
    packed = np.empty((count, unit.shape[1]), dtype=np.float32)
    for row, vector in enumerate(unit):
        if len(kept) == count:
            break
        if not kept or (packed[: len(kept)] @ vector).max() <= threshold:
            packed[len(kept)] = vector
            kept.append(row)
    return kept


def with_index(unit: np.ndarray, count: int, threshold: float) -> list[int]:
    """A flat inner-product index of the kept rows, asked for a block of rows at once."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(unit.shape[1])
    kept: list[int] = []
    for start in range(0, len(unit), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(unit)))
        if kept:
            rows = rows[index.search(unit[rows], 1)[0][:, 0] <= threshold]
        close = unit[rows] @ unit[rows].T > threshold
        alive = np.ones(len(rows), dtype=bool)
        taken: list[int] = []
        for place in range(len(rows)):
            if alive[place] and len(kept) + len(taken) < count:
                taken.append(place)
                alive[place + 1 :] &= ~close[place, place + 1 :]
        kept += rows[taken].tolist()
        if len(kept) == count:
            break
        index.add(unit[rows[taken]])
    return kept


def ours(unit: np.ndarray, count: int, threshold: float) -> list[int]:
    return np.flatnonzero(greedy_filter(unit, count, threshold, BLOCK)[0] == KEPT).tolist()


def agreement(picks: list[int], plain: list[int], unit: np.ndarray, threshold: float) -> str:
    """Where two lists of picks part. Raises ``AssertionError`` when that is not by rounding."""
    if picks == plain:
        return "identical"
    same = next(place for place, (a, b) in enumerate(zip(picks, plain, strict=False)) if a != b)
    row = min(picks[same], plain[same])  # one way kept it, the other did not
    off = abs(float((unit[plain[:same]].astype(np.float64) @ unit[row].astype(np.float64)).max()) - threshold)
    assert off < ROUNDING, f"pick {same + 1} differs at a cosine {off:g} off the threshold"
    return f"{same} identical, then a cosine {off:.0e} off the threshold"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--keep", type=int, default=10_000)
    parser.add_argument("--threshold", type=float, default=0.26)
    rows, width, keep, threshold = vars(parser.parse_args()).values()
    unit = mixture(rows, width)
    ways = {"row by row": row_by_row, "faiss flat index, blocked": with_index, "greedy_filter": ours}
    if importlib.util.find_spec("faiss") is None:
        print("faiss is not installed: left out")
        del ways["faiss flat index, blocked"]
    with threadpool_limits(1):
        found = {name: timed(lambda way=way: way(unit, keep, threshold)) for name, way in ways.items()}
    plain, plain_s = found["row by row"]
    print(f"{rows} x {width}, keep {keep} at most {threshold:g} alike, one thread, CPU seconds")
    print(f"{'what':28} {'CPU s':>8} {'faster':>8}  picks")
    for name, (picks, seconds) in found.items():
        said = f"{len(picks)} of the first {picks[-1] + 1}"
        said += f", {agreement(picks, plain, unit, threshold)}" if name != "row by row" else ""
        print(f"{name:28} {seconds:8.2f} {plain_s / seconds:7.1f}x  {said}")


if __name__ == "__main__":
    main()
