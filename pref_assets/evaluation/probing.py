"""Linear probes of representations: what a frozen model's states say of a dimension, by a linear layer alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ProbeResult:
    """Predicted classes of the test items, (m,), and the class that most training items have."""

    predicted: Ints
    majority: int


def classes(ratings: Floats, thresholds: Floats) -> Ints:
    """Class of each rating, (n,): how many thresholds lie below it."""
    return np.searchsorted(thresholds, ratings, side="left").astype(np.int64)


def cuts(ratings: Floats, count: int) -> Floats | None:
    """Thresholds, (count - 1,), that cut ratings into classes of about equal size, each of which occurs; null where the
    ratings have too few different values."""
    found = np.unique(np.quantile(ratings, np.arange(1, count) / count))
    if len(found) == count - 1 and len(np.unique(classes(ratings, found))) == count:
        return found
    # Few values, most items at one: cut between the values that split best.
    values, times = np.unique(ratings, return_counts=True)
    if len(values) < count:
        return None
    below = np.cumsum(times)[:-1] / len(ratings)
    picked: list[int] = []
    for k in range(1, count):
        # Leave a value for every class that is still to come.
        first, last = (picked[-1] + 1 if picked else 0), len(below) - (count - 1 - k)
        picked.append(first + int(np.argmin(np.abs(below[first:last] - k / count))))
    return np.asarray(values[picked], np.float64)


def probe(
    train: Floats, labels: Ints, groups: Ints, test: Floats, l2: tuple[float, ...], held_out: float, seed: int
) -> ProbeResult:
    """A softmax probe on standardised states, (n, d) and (m, d); states that do not vary count nothing.

    The penalty among ``l2`` with the least log loss on ``held_out`` of the groups (prompts), refitted on all.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    centre, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 1e-12, scale, np.inf)
    train, test = (train - centre) / scale, (test - centre) / scale
    majority = int(np.bincount(labels).argmax())
    count = int(groups.max()) + 1
    aside = np.isin(groups, np.random.default_rng(seed).permutation(count)[: max(1, round(held_out * count))])
    known = sorted(set(labels[~aside].tolist()))
    choice = max(l2)
    if len(known) == len(set(labels.tolist())) and aside.any():
        losses = {}
        for penalty in l2:
            fitted = LogisticRegression(C=1 / penalty, max_iter=1000).fit(train[~aside], labels[~aside])
            losses[penalty] = log_loss(labels[aside], fitted.predict_proba(train[aside]), labels=known)
        choice = min(losses, key=lambda penalty: (losses[penalty], -penalty))
    whole = LogisticRegression(C=1 / choice, max_iter=1000).fit(train, labels)
    return ProbeResult(whole.predict(test).astype(np.int64), majority)


def macro_f1(labels: Ints, predicted: Ints, count: int) -> float:
    """Mean over ``count`` classes of the harmonic mean of precision and recall; 0 for a class never right."""
    table = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    right, sizes = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    return float(np.mean(np.divide(2 * right, sizes, out=np.zeros(count), where=sizes > 0)))


def confidence(train: Floats, states: Floats, clusters: int, seed: int) -> Floats:
    """How well known the region of each state is, (m,), in (0, 1]: 1 / (1 + distance to the nearest of ``clusters``
    centres of k-means on the training states / the median training distance). States are standardised first."""
    from sklearn.cluster import KMeans

    centre, scale = train.mean(axis=0), train.std(axis=0)
    scale = np.where(scale > 1e-12, scale, np.inf)
    known, asked = (train - centre) / scale, (states - centre) / scale
    means = KMeans(min(clusters, len(known)), n_init=4, random_state=seed).fit(known)
    median = float(np.median(means.transform(known).min(axis=1)))
    distance = means.transform(asked).min(axis=1)
    return np.asarray(1 / (1 + distance / max(median, 1e-12)), np.float64)


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive item scores above a negative one, ties half; ``nan`` where either kind is absent."""
    n = int(positive.sum())
    if not 0 < n < len(positive):
        return float("nan")
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))
