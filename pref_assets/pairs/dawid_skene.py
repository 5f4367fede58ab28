"""How reliable annotators are, learnt from pairs that several of them judged.

The model of Dawid and Skene (1979, https://doi.org/10.2307/2346806): a pair truly is better on side a, better on side
b, or a tie; what an annotator says depends on the truth alone. Which side is called a is arbitrary, so the chances are
kept the same when the sides change places: an annotator is right, wrong or undecided about a pair with a better side,
and calls a true tie a tie or takes either side. Without that constraint the label would depend on the order of ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

WORKER = ("annotator", "dimension")
MODEL = ("log_right", "log_wrong", "log_undecided", "log_tie", "log_no_tie", "log_prior_side", "log_prior_tie")
"""Logarithms of an annotator's chances; the last two are the share of pairs with either better side, and of ties."""
_CODE = {"a": 0, "b": 1, "tie": 2}
FITTED = pl.Schema({**dict.fromkeys(WORKER, pl.String), **dict.fromkeys(("weight", *MODEL), pl.Float64)})
_FLOOR = 1e-10
"""Smallest expected count, so that no chance is nought."""
_DIGITS = 9
_RIGHT, _WRONG, _UNDECIDED, _TIE, _NO_TIE = range(5)

Counts = np.ndarray
"""float64[annotators, 5]: votes that were right, wrong, undecided, and on true ties a tie, and a side."""


@dataclass(frozen=True)
class DawidSkeneFit:
    """Fits the model by expectation maximisation from the shares of votes. The order of votes changes nothing.

    Attributes:
        smoothing: votes of an average annotator added to each annotator's own.
        iterations: most steps.
        tolerance: largest change of a posterior at which it has converged.
    """

    smoothing: float
    iterations: int
    tolerance: float

    def fit(self, votes: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """The chances of every annotator on every dimension, as ``FITTED``; ``weight`` is log(right / wrong), the
        log-odds that one such vote gives. An annotator who never judged a pair with others is an average one.

        Args:
            votes: parts with completion_a, completion_b, annotator, dimension and choice.

        Raises:
            ValueError: there are votes, but no pair has two of them.
        """
        coded = _coded(votes)
        if coded.workers.is_empty():
            return pl.DataFrame(schema=FITTED)
        if not coded.n_pairs:
            raise ValueError(
                "no pair has two votes, so the reliability of annotators (votes: dawid_skene) cannot be learnt; "
                "use `type: majority`"
            )
        posterior = _shares(coded)
        for _ in range(self.iterations):
            before = posterior
            counts = _expected(coded, posterior)
            posterior = _posterior(coded, np.log(self._chances(counts)), posterior.mean(axis=0))
            if np.abs(posterior - before).max() < self.tolerance:
                break
        chances = self._chances(_expected(coded, posterior))
        return _frame(coded.workers, chances, posterior.mean(axis=0))

    def _chances(self, counts: Counts) -> np.ndarray:
        """float64[annotators, 5]: right, wrong, undecided sum to one, and tie, no tie (either side) do."""
        pooled = counts.sum(axis=0, keepdims=True) + 1
        average = np.concatenate([_normal(pooled[:, :_TIE]), _normal(pooled[:, _TIE:])], axis=1)
        mixed = counts + self.smoothing * average
        seen = counts.sum(axis=1, keepdims=True) > 0
        mixed = np.maximum(np.where(seen, mixed, average), _FLOOR)
        return np.concatenate([_normal(mixed[:, :_TIE]), _normal(mixed[:, _TIE:])], axis=1)


def evidence() -> list[pl.Expr]:
    """Sums over the votes of a pair, each joined with its annotator's ``MODEL``: log-likelihoods of the truths."""

    def given(a: str, b: str, tie: str) -> pl.Expr:
        choice = pl.col("choice")
        return pl.when(choice == "a").then(a).when(choice == "b").then(b).otherwise(tie).sum()

    return [
        given("log_right", "log_wrong", "log_undecided").alias("log_a"),
        given("log_wrong", "log_right", "log_undecided").alias("log_b"),
        (given("log_no_tie", "log_no_tie", "log_tie") - np.log(2) * (pl.col("choice") != "tie").sum()).alias("log_t"),
        pl.col("log_prior_side", "log_prior_tie").min(),
    ]


def sides(sums: pl.DataFrame) -> pl.DataFrame:
    """The sums with weight_a and weight_b: the posterior of each side, and half of a tie's."""
    logs = [
        pl.col("log_a") + pl.col("log_prior_side"),
        pl.col("log_b") + pl.col("log_prior_side"),
        pl.col("log_t") + pl.col("log_prior_tie"),
    ]
    top = pl.max_horizontal(logs)
    a, b, tie = ((log - top).exp() for log in logs)
    counts = (pl.col("counted") > 0).cast(pl.Float64)
    total = a + b + tie
    return sums.with_columns(weight_a=counts * (a + tie / 2) / total, weight_b=counts * (b + tie / 2) / total)


@dataclass(frozen=True)
class _Coded:
    """Votes on pairs with at least two, ordered by pair: int64[votes] of pairs, annotators and choices."""

    workers: pl.DataFrame
    pair: np.ndarray
    worker: np.ndarray
    choice: np.ndarray

    @property
    def n_pairs(self) -> int:
        return int(self.pair[-1]) + 1 if self.pair.size else 0


def _coded(votes: Iterable[pl.DataFrame]) -> _Coded:
    names = pl.DataFrame(schema=dict.fromkeys(WORKER, pl.String))
    parts = []
    for part in votes:
        names = pl.concat([names, part.select(WORKER)]).unique(maintain_order=True)
        numbered = part.join(names.with_row_index("worker"), on=WORKER, how="left")
        # Of the ids only an order and their difference matter: eight bytes of each are kept.
        ids = [pl.col(f"completion_{side}").hash().alias(side) for side in "ab"]
        choice = pl.col("choice").replace_strict(_CODE, return_dtype=pl.Int8)
        parts.append(numbered.select(*ids, "worker", choice))
    workers = names.sort(WORKER)
    if not parts or workers.is_empty():
        return _Coded(workers, *[np.empty(0, np.int64)] * 3)
    places = names.join(workers.with_row_index("place"), on=WORKER, how="left", maintain_order="left")["place"]
    frame = pl.concat(parts).with_columns(
        worker=pl.col("worker").replace_strict(pl.int_range(len(places), eager=True), places)
    )
    frame = frame.filter(pl.len().over("a", "b") > 1).sort("a", "b", "worker", "choice")
    pair = frame.select(pl.struct("a", "b").rle_id()).to_series()
    return _Coded(workers, *(s.cast(pl.Int64).to_numpy() for s in (pair, frame["worker"], frame["choice"])))


def _shares(coded: _Coded) -> np.ndarray:
    """float64[pairs, 3]: share of the votes for a, for b and for a tie, where the fit starts."""
    votes = np.bincount(coded.pair * len(_CODE) + coded.choice, minlength=coded.n_pairs * len(_CODE))
    votes = votes.reshape(-1, len(_CODE))
    return votes / votes.sum(axis=1, keepdims=True)


def _expected(coded: _Coded, posterior: np.ndarray) -> Counts:
    """What each annotator's votes are expected to have been, given the posterior of every pair."""
    belief = posterior[coded.pair]
    for_tie = coded.choice == _CODE["tie"]
    said = np.where(coded.choice == _CODE["b"], belief[:, 1], belief[:, 0])
    unsaid = np.where(coded.choice == _CODE["b"], belief[:, 0], belief[:, 1])
    counts = np.zeros((coded.workers.height, _NO_TIE + 1))
    columns = {
        _RIGHT: np.where(for_tie, 0, said),
        _WRONG: np.where(for_tie, 0, unsaid),
        _UNDECIDED: np.where(for_tie, said + unsaid, 0),
        _TIE: np.where(for_tie, belief[:, 2], 0),
        _NO_TIE: np.where(for_tie, 0, belief[:, 2]),
    }
    for column, weights in columns.items():
        counts[:, column] = np.bincount(coded.worker, weights, minlength=len(counts))
    return counts


def _posterior(coded: _Coded, logs: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """float64[pairs, 3]: chances of a, b and a tie, given the annotators' log-chances and the share of each truth."""
    own = logs[coded.worker]
    for_tie = coded.choice == _CODE["tie"]
    for_b = coded.choice == _CODE["b"]
    given_a = np.where(for_tie, own[:, _UNDECIDED], np.where(for_b, own[:, _WRONG], own[:, _RIGHT]))
    given_b = np.where(for_tie, own[:, _UNDECIDED], np.where(for_b, own[:, _RIGHT], own[:, _WRONG]))
    given_tie = np.where(for_tie, own[:, _TIE], own[:, _NO_TIE] - np.log(2))
    side, tie = _log_prior(prior)
    sums = [np.bincount(coded.pair, given, minlength=coded.n_pairs) for given in (given_a, given_b, given_tie)]
    truths = np.stack([sums[0] + side, sums[1] + side, sums[2] + tie], axis=1)
    truths = np.exp(truths - truths.max(axis=1, keepdims=True))
    return _normal(truths)


def _log_prior(prior: np.ndarray) -> tuple[float, float]:
    """Of either better side, and of a tie."""
    return float(np.log(max((prior[0] + prior[1]) / 2, _FLOOR))), float(np.log(max(prior[2], _FLOOR)))


def _normal(rows: np.ndarray) -> np.ndarray:
    return rows / rows.sum(axis=1, keepdims=True)


def _frame(workers: pl.DataFrame, chances: np.ndarray, prior: np.ndarray) -> pl.DataFrame:
    logs = np.log(chances).round(_DIGITS)
    side, tie = (round(value, _DIGITS) for value in _log_prior(prior))
    named = dict(zip(MODEL, logs.T, strict=False))
    return workers.with_columns(
        pl.Series("weight", (logs[:, _RIGHT] - logs[:, _WRONG]).round(_DIGITS)),
        *(pl.Series(name, column) for name, column in named.items()),
        log_prior_side=pl.lit(side),
        log_prior_tie=pl.lit(tie),
    ).select(FITTED.names())
