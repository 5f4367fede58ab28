"""Preferences that need not be transitive: skew-symmetric scores, their embedding, and how cyclic they are."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def skew_scores(left: Floats, right: Floats, gate: Floats | None = None) -> Floats:
    """s(i > j) = sum_l g_l (v_i[2l] v_j[2l+1] - v_i[2l+1] v_j[2l]) of row against row, (n,).

    <R D v_i, D v_j> of the general preference embedding model (arXiv:2410.02197, section 3), with the gate g_l the
    square of D's diagonal. s(j > i) = -s(i > j), and s(i > i) = 0.

    Args:
        left, right: (n, 2k). gate: (n, k) or (k,), ones if left out.
    """
    blocks = left[:, 0::2] * right[:, 1::2] - left[:, 1::2] * right[:, 0::2]
    result: Floats = (blocks if gate is None else blocks * gate).sum(axis=1)
    return result


def skew_matrix(vectors: Floats, gate: Floats | None = None) -> Floats:
    """All scores s(i > j) among m responses to one prompt, (m, m); ``vectors`` (m, 2k), ``gate`` (k,)."""
    first, second = vectors[:, 0::2], vectors[:, 1::2]
    forward = (first if gate is None else first * gate) @ second.T
    result: Floats = forward - forward.T
    return result


def skew_embedding(scores: Floats) -> Floats:
    """Vectors (m, 2k), k = m // 2, whose `skew_matrix` is ``scores`` (m, m): every skew matrix has some.

    From the eigenvectors of the Hermitian matrix i S, whose eigenvalues come in pairs +-b: S is the sum of
    2 b (y x' - x y') over the positive ones, with eigenvectors x + i y. O(m^3).

    Raises:
        ValueError: the matrix is not skew-symmetric.
    """
    if not np.allclose(scores, -scores.T, atol=1e-9):
        raise ValueError("scores are not skew-symmetric: s(i > j) is not -s(j > i)")
    values, vectors = np.linalg.eigh(1j * scores)
    found = np.zeros((len(scores), 2 * (len(scores) // 2)))
    for block, column in enumerate(np.argsort(-values, kind="stable")[: len(scores) // 2]):
        scale = np.sqrt(max(0.0, 2 * values[column]))
        found[:, 2 * block] = scale * vectors[:, column].imag
        found[:, 2 * block + 1] = scale * vectors[:, column].real
    return found


def mean_scores(scores: Floats) -> Floats:
    """Mean score of each response against all m of its prompt, itself included, (m,): the target of GPO (eq. 11)."""
    result: Floats = scores.mean(axis=1)
    return result


def cyclic_share(scores: Floats) -> float:
    """Share of the triples of responses that beat one another in a circle; 0 for fewer than three.

    A tournament of m has C(m, 3) - sum_i C(wins_i, 2) circles (Kendall & Babington Smith, 1940). A score of zero, which
    that does not allow, is counted as a win of the earlier response.
    """
    m = len(scores)
    if m < 3:
        return 0.0
    upper = np.triu(np.ones((m, m), dtype=bool), 1)
    beats = (scores > 0) | ((scores == 0) & upper)
    wins = beats.sum(axis=1)
    triples = m * (m - 1) * (m - 2) / 6
    return float((triples - (wins * (wins - 1) / 2).sum()) / triples)


def curl_share(scores: Floats) -> float:
    """Share of the energy |S|^2 that no scalar reward explains: the curl of the Hodge split (Jiang et al., 2011).

    On all pairs of m responses the part with a reward is r_i - r_j with r the row means. 0 where all scores are zero.
    """
    energy = float((scores**2).sum())
    if energy == 0:
        return 0.0
    reward = scores.mean(axis=1)
    return float(((scores - (reward[:, None] - reward[None, :])) ** 2).sum() / energy)
