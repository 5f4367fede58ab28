"""Criteria and scenarios as numbers, mixtures over them, and what a scorer gains by reading them."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pref_assets.heads.simplex import softmax

Floats = NDArray[np.float64]
_WORD = re.compile(r"\w+(?:['’]\w+)?")


def context_vectors(contexts: Sequence[str | None], buckets: int) -> Floats:
    """Signed hashed bags of words, (n, buckets), of unit length; zero for no context.

    A word adds +1 or -1 to one bucket by its hash (Weinberger et al., arXiv:0902.2206). Case does not matter.
    """
    found = np.zeros((len(contexts), buckets))
    for row, context in enumerate(contexts):
        for word in _WORD.findall((context or "").lower()):
            digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
            found[row, (digest >> 1) % buckets] += 1 if digest & 1 else -1
    sizes = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, sizes, out=np.zeros_like(found), where=sizes > 0)


def mixed_preference(by_context: Floats, weights: Floats) -> Floats:
    """p(y1 > y2 | x) = sum_z p(z | x) p(y1 > y2 | x, z), (n,), of (n, Z) each (arXiv:2407.14916, section 3)."""
    result: Floats = (by_context * weights).sum(axis=1)
    return result


def context_posterior(margins: Floats, labels: Floats, prior: Floats) -> Floats:
    """Which of Z contexts a person has in mind, (Z,), by some of her labels: prior times likelihood, scaled to 1.

    Args:
        margins: (n, Z) log-odds of the first side under each context. labels: (n,) in [0, 1]. prior: (Z,).
    """
    likelihood = -(np.logaddexp(0, -margins) + (1 - labels[:, None]) * margins).sum(axis=0)
    return softmax(likelihood + np.log(prior))


def context_sensitivity(with_context: Floats, without: Floats) -> float:
    """Accuracy of margins (n,) that read the context less that of margins that do not; zero margins count half."""
    return _accuracy(with_context) - _accuracy(without)


def reversal_rate(first: Floats, second: Floats) -> float:
    """Share of comparisons whose predicted preference flips from one context to another: margins (n,) of the same side
    over the same other side. Null where there is none."""
    return float(np.mean(np.sign(first) * np.sign(second) < 0)) if len(first) else float("nan")


def _accuracy(margins: Floats) -> float:
    return float(np.mean(np.where(margins == 0, 0.5, margins > 0)))
