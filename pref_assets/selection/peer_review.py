"""Two linear reward heads that choose one another's training pairs: the numerical core of ``crm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Review = Literal["peer", "self", "none"]
_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8
"""Adam's decay rates and floor (arXiv:1412.6980)."""


@dataclass(frozen=True)
class Course:
    """How two heads learn: `crm` documents the fields."""

    noise_rate: float
    review: Review
    epochs: int
    ramp_epochs: int
    batch_pairs: int
    learning_rate: float
    l2: float
    curriculum: float
    seed: int

    def kept_share(self, epoch: int) -> float:
        """What reviewers pass on in an epoch (from 0): all at first, 1 - ``noise_rate`` from ``ramp_epochs`` on."""
        return 1 - self.noise_rate * min(1.0, (epoch + 1) / max(1, self.ramp_epochs))

    def batches(self, margins: Floats, epoch: int) -> Iterator[Rows]:
        """Rows of each batch of an epoch, every row once.

        Shuffled; with a ``curriculum`` c > 0, in the order of c times the rank of the mean margin (the largest first)
        plus 1 - c times chance. So the mean margin of a batch falls slowly while each batch still holds pairs of all
        kinds, of which the reviewers' share can be taken; c = 1 is the global order, under which it cannot.
        """
        n = len(margins)
        chance = np.random.default_rng([self.seed, epoch]).permutation(n)
        order = chance
        if self.curriculum:
            rank = np.empty(n)
            rank[np.argsort(-margins, kind="stable")] = np.arange(n)
            order = np.argsort(self.curriculum * rank + (1 - self.curriculum) * np.argsort(chance), kind="stable")
        for start in range(0, n, self.batch_pairs):
            yield order[start : start + self.batch_pairs]


def first_heads(width: int, seed: int, scale: float = 0.01) -> Floats:
    """Two different starts, (width, 2)."""
    return np.random.default_rng([seed, width]).normal(scale=scale, size=(width, 2))


def train_peers(differences: Floats, p_chosen: Floats, start: Floats, course: Course) -> Floats:
    """Both heads after the course, (d, 2).

    In every batch each head ranks the pairs by its own loss -p log s(R) - (1 - p) log s(-R); the part with the smallest
    losses trains the other head (``peer``), itself (``self``), or everything trains both (``none``). One Adam step a
    batch on the mean loss of that part plus l2/(2n) |w|^2.

    Args:
        differences: (n, d), e(chosen) - e(rejected). p_chosen: (n,) in [0, 1]. start: (d, 2).

    Raises:
        FloatingPointError: the heads left the range of floats.
    """
    n = len(differences)
    heads = start.copy()
    first, second = np.zeros_like(heads), np.zeros_like(heads)
    step = 0
    for epoch in range(course.epochs):
        share = course.kept_share(epoch)
        for rows in course.batches((differences @ heads).mean(axis=1) if course.curriculum else p_chosen, epoch):
            x, target = differences[rows], p_chosen[rows, None]
            margins = _times(x, heads)
            mask = _reviewed(losses(margins, target), max(1, round(share * len(rows))), course.review)
            pull = mask * (_sigmoid(margins) - target) / mask.sum(axis=0)
            gradient = _times(x.T, pull) + course.l2 / n * heads
            step += 1
            first = _BETA_1 * first + (1 - _BETA_1) * gradient
            second = _BETA_2 * second + (1 - _BETA_2) * gradient**2
            scale = np.sqrt(second / (1 - _BETA_2**step)) + _TINY
            heads = heads - course.learning_rate * first / (1 - _BETA_1**step) / scale
    if not np.isfinite(heads).all():
        raise FloatingPointError("crm: the heads diverged; lower the learning rate")
    return heads


def losses(margins: Floats, p_chosen: Floats) -> Floats:
    """-p log s(R) - (1 - p) log s(-R) for margins (n, h) and labels (n, 1)."""
    found: Floats = np.logaddexp(0, -margins) + (1 - p_chosen) * margins
    return found


def lowest(values: Floats, count: int) -> NDArray[np.bool_]:
    """Which rows hold the ``count`` smallest values of each column, (n, h); equal ones by row."""
    places = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    return np.asarray(places < count)


def _times(matrix: Floats, columns: Floats) -> Floats:
    """matrix @ columns, a column at a time, so that two heads together are bit for bit what each is alone."""
    return np.stack([matrix @ np.ascontiguousarray(column) for column in columns.T], axis=1)


def _reviewed(loss: Floats, count: int, review: Review) -> NDArray[np.bool_]:
    """What trains each head, (b, 2)."""
    if review == "none":
        return np.ones_like(loss, dtype=bool)
    mine = lowest(loss, count)
    return mine[:, ::-1] if review == "peer" else mine


def _sigmoid(values: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0, -values))
    return found
