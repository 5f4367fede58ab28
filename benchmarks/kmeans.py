"""k-means beside faiss and scikit-learn: CPU seconds, ratio and inertia, on the same vectors in one process.

python benchmarks/kmeans.py [--rows 100000] [--width 384] [--clusters 100] [--seeds 3] [--threads 1]

faiss-cpu is needed for its rows only; without it they are left out and the table says so.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from pref_assets.clustering import KMeans
from pref_assets.clustering.lloyd import distinct, nearest
from pref_assets.pool import Vectors

GROUPS, SPREAD = 100, 0.35
TEXTS = pl.DataFrame(schema={"id": pl.String, "text": pl.String})
Centres = Callable[[np.ndarray, int, int], np.ndarray]


def mixture(rows: int, width: int, seed: int) -> np.ndarray:
    """Unit vectors (rows, width) of groups that overlap, float32."""
    rng = np.random.default_rng(seed)
    centres = SPREAD * rng.normal(size=(GROUPS, width))
    matrix = (centres[rng.integers(GROUPS, size=rows)] + rng.normal(size=(rows, width))).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def ours(**settings: int) -> Centres:
    """The centres alone, as the peers find them; duplicates are looked for as always."""

    def centres(matrix: np.ndarray, k: int, seed: int) -> np.ndarray:
        return KMeans.model_validate({"embeddings": "e", "k": k, "seed": seed, **settings}).centres(matrix)

    return centres


def sklearn_kmeans(matrix: np.ndarray, k: int, seed: int) -> np.ndarray:
    return TheirKMeans(k, n_init=1, max_iter=20, random_state=seed).fit(matrix).cluster_centers_.astype(np.float32)


def sklearn_minibatch(matrix: np.ndarray, k: int, seed: int) -> np.ndarray:
    method = MiniBatchKMeans(k, batch_size=4096, n_init=3, random_state=seed)
    return method.fit(matrix).cluster_centers_.astype(np.float32)


def faiss_kmeans(points: int, starts: int = 1) -> Centres:
    """faiss with at most so many points a centre; 256 is its default."""

    def centres(matrix: np.ndarray, k: int, seed: int) -> np.ndarray:
        import faiss

        method = faiss.Kmeans(matrix.shape[1], k, niter=20, seed=seed + 1, max_points_per_centroid=points, nredo=starts)
        method.train(matrix)
        return method.centroids

    return centres


def whole(matrix: np.ndarray, k: int, seed: int) -> None:
    """All that the asset does: distances, labels, sizes, silhouette."""
    vectors = Vectors([f"{row:07}" for row in range(len(matrix))], matrix)
    KMeans(embeddings="e", k=k, seed=seed).fit(vectors, TEXTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 100_000), ("width", 384), ("clusters", 100), ("seeds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    methods: dict[str, Centres] = {
        "pref_assets, defaults": ours(),
        "pref_assets, one start, sample only": ours(starts=1, polish=0),
        "scikit-learn KMeans, 20 steps": sklearn_kmeans,
        "scikit-learn MiniBatchKMeans": sklearn_minibatch,
    }
    try:
        import faiss

        faiss.omp_set_num_threads(given.threads)
        methods |= {"faiss, default (256 a centre)": faiss_kmeans(256), "faiss, best of 3": faiss_kmeans(256, 3)}
        methods |= {"faiss, all points": faiss_kmeans(given.rows)}
    except ImportError:
        print("faiss is not installed: its rows are left out")
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    inertia: dict[str, list[float]] = {name: [] for name in methods}
    extra: list[float] = []
    with threadpool_limits(given.threads):
        for seed in range(given.seeds):
            matrix = mixture(given.rows, given.width, seed)
            for name, method in methods.items():
                start = time.process_time()
                centres = method(matrix, given.clusters, seed)
                seconds[name].append(time.process_time() - start)
                inertia[name].append(float(nearest(matrix, np.ascontiguousarray(centres))[1].sum(dtype=np.float64)))
            start = time.process_time()
            whole(matrix, given.clusters, seed)
            extra.append(time.process_time() - start)
            assert len(distinct(matrix)[0]) == given.rows
    first = next(iter(methods))
    best = np.min([inertia[name] for name in methods], axis=0)
    print(
        f"{given.rows} x {given.width}, k = {given.clusters}, {given.seeds} seeds, {given.threads} thread(s), medians"
    )
    print(f"{'what':38} {'CPU s':>7} {'ratio':>6} {'inertia':>9} {'above best':>10}")
    for name in methods:
        cost = float(np.median(seconds[name]))
        above = float(np.mean(np.array(inertia[name]) / best - 1))
        ratio = cost / float(np.median(seconds[first]))
        print(f"{name:38} {cost:7.2f} {ratio:5.1f}x {np.median(inertia[name]):9.0f} {above:10.2%}")
    print(f"{'pref_assets, the whole asset':38} {np.median(extra):7.2f}")


if __name__ == "__main__":
    main()
