"""Selection and clustering beside the plain way of doing the same: CPU seconds, ratio, and whether results agree.

python benchmarks/selection.py [--rows 20000] [--width 384]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from pref_assets.clustering import KMeans
from pref_assets.selection import Vectors
from pref_assets.selection.deita import KEPT, greedy_filter

THRESHOLD, KEEP, CLUSTERS = 0.16, 4000, 50


def naive_filter(unit: np.ndarray, count: int, threshold: float) -> list[int]:
    """The definition: one row at a time against all kept rows."""
    kept: list[int] = []
    packed = np.empty((count, unit.shape[1]), dtype=np.float32)
    for row, vector in enumerate(unit):
        if len(kept) == count:
            break
        if not kept or (packed[: len(kept)] @ vector).max() <= threshold:
            packed[len(kept)] = vector
            kept.append(row)
    return kept


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=384)
    rows, width = vars(parser.parse_args()).values()
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(rows, width)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)

    naive, naive_s = timed(lambda: naive_filter(unit, KEEP, THRESHOLD))
    (state, _, _), ours_s = timed(lambda: greedy_filter(unit, KEEP, THRESHOLD, 1024))
    ours = np.flatnonzero(state == KEPT).tolist()
    table = [("deita filter, row by row", naive_s, 1.0, f"{len(naive)} kept")]
    table += [("deita filter, blocked", ours_s, naive_s / ours_s, f"identical picks: {ours == naive}")]

    centres = rng.normal(size=(CLUSTERS, width))
    mixture = (centres[rng.integers(CLUSTERS, size=rows)] + 6 * rng.normal(size=(rows, width))).astype(np.float32)
    vectors = Vectors([f"{row:06}" for row in range(rows)], mixture)
    texts = pl.DataFrame(schema={"id": pl.String, "text": pl.String})
    method = KMeans(embeddings="e", k=CLUSTERS, normalize=False, silhouette_sample=10)
    import sklearn.cluster

    plain = sklearn.cluster.KMeans(CLUSTERS, n_init=1, max_iter=method.iterations, random_state=0)
    _, plain_s = timed(lambda: plain.fit(mixture))
    clustering, ours_s = timed(lambda: method.fit(vectors, texts))
    table += [("k-means, scikit-learn on all rows", plain_s, 1.0, f"inertia {plain.inertia_:.0f}")]
    inertia = clustering.quality["inertia"]
    table += [("k-means, sample then polish", ours_s, plain_s / ours_s, f"inertia {inertia:.0f}")]

    print(f"{rows} x {width}, one process, CPU seconds")
    print(f"{'what':36} {'CPU s':>8} {'faster':>8}  result")
    for what, seconds, ratio, result in table:
        print(f"{what:36} {seconds:8.2f} {ratio:7.1f}x  {result}")


if __name__ == "__main__":
    main()
