"""k-center and facility location beside the plain greedy and apricot: CPU seconds, ratio, and whether results agree.

python benchmarks/diversity.py [--rows 100000] [--width 384] [--picks 1000] [--dense 5000] [--dense-picks 500]

k-center picks 1,000 and, without the plain loop beside it, 10,000 of 100,000. Facility location is over all
similarities of 5,000 rows, with apricot's lazy greedy (`pip install apricot-select`, left out where absent; compiled
before it is timed) and the plain greedy on the same matrix; and over the nearest neighbours of 100,000, for which no
peer stands here. The plain greedy of facility location takes a tenth of the picks, and its time is scaled.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pref_assets.selection.coverage import cover, cover_dense
from pref_assets.selection.farthest import farthest_first
from pref_assets.selection.neighbours import nearest_in_cells

GROUPS, NOISE, MANY = 100, 2.0, 10_000
NEIGHBOURS, PROBES = 64, 4


def mixture(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around random centres, (rows, width) float32."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(GROUPS, width))
    vectors = centres[rng.integers(GROUPS, size=rows)] + NOISE * rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_k_center(unit: np.ndarray, count: int) -> list[int]:
    """Every row against every pick."""
    squared = np.einsum("nd,nd->n", unit, unit)
    nearest = np.full(len(unit), np.inf, dtype=np.float32)
    picks = [0]
    for _ in range(count - 1):
        last = picks[-1]
        np.minimum(nearest, squared + squared[last] - 2 * (unit @ unit[last]), out=nearest)
        nearest[last] = -1
        picks.append(int(nearest.argmax()))
    return picks


def plain_cover(similarity: np.ndarray, count: int) -> list[int]:
    """Every gain anew for every pick."""
    covered = np.zeros(len(similarity), dtype=np.float32)
    picks: list[int] = []
    for _ in range(count):
        gains = np.maximum(similarity - covered, 0).sum(axis=1)
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        np.maximum(covered, similarity[picks[-1]], out=covered)
    return picks


def apricots(similarity: np.ndarray, count: int) -> list[int]:
    from apricot import FacilityLocationSelection

    return FacilityLocationSelection(count, metric="precomputed", optimizer="lazy").fit(similarity).ranking.tolist()


def objective(similarity: np.ndarray, picks: list[int]) -> float:
    return float(similarity[picks].max(axis=0).sum(dtype=np.float64))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def k_center(unit: np.ndarray, picks: int) -> list[tuple[str, float, float | None, str]]:
    plain, plain_s = timed(lambda: plain_k_center(unit, picks))
    (ours, _), ours_s = timed(lambda: farthest_first(unit, picks))
    assert ours.tolist() == plain, "k-center: the picks differ"
    table = [
        (f"k-center {picks}, plain", plain_s, 1.0, ""),
        (f"k-center {picks}, farthest_first", ours_s, plain_s / ours_s, "identical picks"),
    ]
    many = min(MANY, len(unit))
    (ours, radius), seconds = timed(lambda: farthest_first(unit, many))
    assert ours[:picks].tolist() == plain[:many]
    return [*table, (f"k-center {many}, farthest_first", seconds, None, f"last at distance {radius[-1]:.3f}")]


def facility_location(unit: np.ndarray, dense: int, picks: int) -> list[tuple[str, float, float | None, str]]:
    similarity = np.maximum(unit[:dense] @ unit[:dense].T, 0)
    few = max(1, picks // 10)
    plain, plain_s = timed(lambda: plain_cover(similarity, few))
    plain_s *= picks / few
    (ours, _), ours_s = timed(lambda: cover_dense(similarity, picks))
    value = objective(similarity, ours.tolist())
    again = objective(similarity, ours[:few].tolist())
    assert np.isclose(objective(similarity, plain), again, rtol=1e-6), "facility location: plain greedy differs"
    table = [(f"facility location {picks} of {dense}, plain", plain_s, 1.0, f"{again:.3f} after {few}")]
    if importlib.util.find_spec("apricot") is None:
        print("apricot is not installed: left out")
    else:
        apricots(similarity[:64, :64].copy(), 3)  # compiles
        theirs, theirs_s = timed(lambda: apricots(similarity, picks))
        assert np.isclose(objective(similarity, theirs), value, rtol=1e-6), "facility location: apricot differs"
        said = f"{objective(similarity, theirs):.3f}"
        table.append((f"facility location {picks} of {dense}, apricot", theirs_s, plain_s / theirs_s, said))
    said = f"{value:.3f}, {again:.3f} after {few}"
    table.append((f"facility location {picks} of {dense}, cover_dense", ours_s, plain_s / ours_s, said))
    (rows, similar), near_s = timed(lambda: nearest_in_cells(unit, NEIGHBOURS, PROBES, 0))
    many = min(MANY, len(unit))
    (_, gains), cover_s = timed(lambda: cover(rows, similar, many))
    table.append((f"{NEIGHBOURS} neighbours of {len(unit)}, in {PROBES} cells", near_s, None, ""))
    return [*table, (f"facility location {many}, cover", cover_s, None, f"{gains.sum():.1f}, sparse")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument("--dense", type=int, default=5000)
    parser.add_argument("--dense-picks", type=int, default=500)
    rows, width, picks, dense, dense_picks = vars(parser.parse_args()).values()
    unit = mixture(rows, width)
    with threadpool_limits(1):
        table = [*k_center(unit, picks), *facility_location(unit, dense, dense_picks)]
    print(f"{rows} x {width}, one thread, CPU seconds")
    print(f"{'what':46} {'CPU s':>8} {'faster':>8}  result")
    for what, seconds, ratio, result in table:
        print(f"{what:46} {seconds:8.2f} {f'{ratio:.1f}x' if ratio else '':>8}  {result}")


if __name__ == "__main__":
    main()
