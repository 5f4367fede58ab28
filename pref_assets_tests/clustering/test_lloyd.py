import numpy as np
import pytest
import sklearn.cluster
from sklearn.metrics import adjusted_rand_score

from pref_assets.clustering.lloyd import distinct, fit_centres, lloyd, nearest, plus_plus, unit


def mixture(n: int, d: int, k: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (3 * rng.normal(size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 8192])
def test_nearest_is_brute_force(block: int) -> None:
    matrix, centres = mixture(200, 5, 4), mixture(9, 5, 9, seed=1)
    squared = np.square(matrix[:, None].astype(np.float64) - centres[None]).sum(axis=2)
    labels, found = nearest(matrix, centres, block)
    assert labels.tolist() == squared.argmin(axis=1).tolist()
    np.testing.assert_allclose(found, squared.min(axis=1), rtol=1e-4, atol=1e-4)


def test_lloyd_is_scikit_learn_from_the_same_start() -> None:
    matrix = mixture(1500, 12, 8)
    start = matrix[:8]
    theirs = sklearn.cluster.KMeans(8, init=start, n_init=1, max_iter=200, tol=0).fit(matrix)
    labels, squared, centres = lloyd(matrix, np.ones(1500, np.float32), start, 200, spherical=False, tolerance=0)
    assert adjusted_rand_score(labels, theirs.labels_) == 1
    assert float(squared.sum()) == pytest.approx(theirs.inertia_, rel=1e-5)
    np.testing.assert_allclose(centres, theirs.cluster_centers_, atol=1e-4)


def test_weights_count_as_copies() -> None:
    matrix = mixture(60, 3, 3)
    counts = np.random.default_rng(0).integers(1, 4, size=60)
    once = lloyd(matrix, counts.astype(np.float32), matrix[:3], 50, spherical=False, tolerance=0)
    many = lloyd(
        np.repeat(matrix, counts, axis=0),
        np.ones(counts.sum(), np.float32),
        matrix[:3],
        50,
        spherical=False,
        tolerance=0,
    )
    np.testing.assert_allclose(once[2], many[2], atol=1e-5)


def test_the_inertia_is_as_good_as_scikit_learn() -> None:
    """Within 3 % of the best of three starts of scikit-learn, on data with groups and without."""
    for matrix in (mixture(4000, 16, 20), np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)):
        theirs = sklearn.cluster.KMeans(20, n_init=3, random_state=0).fit(matrix).inertia_
        centres = fit_centres(
            matrix,
            np.ones(4000, np.float32),
            20,
            0,
            starts=3,
            start=2000,
            sample=3000,
            iterations=50,
            polish=5,
            spherical=False,
            tolerance=1e-4,
        )
        assert float(nearest(matrix, centres)[1].sum()) < 1.03 * theirs


def test_spherical_centres_have_unit_length_and_maximise_the_cosine() -> None:
    """Each centre is the normalised sum of its members, so no other unit vector has a larger sum of cosines."""
    matrix = unit(mixture(500, 6, 5))
    labels, _, centres = lloyd(matrix, np.ones(500, np.float32), matrix[:5], 200, spherical=True, tolerance=0)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    for cluster in range(5):
        total = matrix[labels == cluster].sum(axis=0)
        np.testing.assert_allclose(centres[cluster], total / np.linalg.norm(total), atol=1e-4)
    assert labels.tolist() == (matrix @ centres.T).argmax(axis=1).tolist()


def test_members_that_cancel_out_leave_the_centre_where_it_was() -> None:
    matrix = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    _, _, centres = lloyd(matrix, np.ones(2, np.float32), matrix[:1], 5, spherical=True, tolerance=0)
    assert centres.tolist() == [[1, 0]]


def test_an_empty_cluster_starts_anew_at_the_farthest_vector() -> None:
    matrix = np.array([[0.0], [1], [2], [50]], dtype=np.float32)
    start = np.array([[1.0], [1000]], dtype=np.float32)
    labels, squared, centres = lloyd(matrix, np.ones(4, np.float32), start, 20, spherical=False, tolerance=0)
    assert labels.tolist() == [0, 0, 0, 1]
    assert centres.tolist() == [[1], [50]]
    assert squared.tolist() == [1, 0, 1, 0]


def test_the_start_has_distinct_vectors_even_when_they_nearly_coincide() -> None:
    matrix = np.array([[1.0], [np.nextafter(np.float32(1), 2)], [5], [5.0000005]], dtype=np.float32)
    for seed in range(10):
        start = plus_plus(matrix, np.ones(4, np.float32), 4, np.random.default_rng(seed))
        assert len(np.unique(start)) == 4


def test_distinct() -> None:
    matrix = np.array([[1, 0.0], [0, 1], [1, -0.0], [0, 1], [0, 1]], dtype=np.float32)
    first, counts = distinct(matrix)
    assert (first.tolist(), counts.tolist()) == ([0, 1], [2, 3])
