"""One trial: a selector on one pool, and what the same reward head learns from what it kept."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool, seeded_hash
from pref_assets.proving.head import Floats, fit_head
from pref_assets.proving.worlds import FAULTS
from pref_assets.scoring.bradley_terry import margin_vectors
from pref_assets.selection import Selector

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """Measures subsets of one pool.

    Attributes:
        pool: with its ``train`` pairs as candidates and ``test`` pairs to measure on.
        embeddings: name of the vectors that the head reads.
        seed: of the controls.
        truth: what was planted (``TRUTH``); ``None`` for real data.
        l2: penalty of the head.
        draws: random subsets of the same size that the control is the mean of.
    """

    pool: Pool
    embeddings: str
    seed: int
    truth: pl.DataFrame | None = None
    l2: float = 1.0
    draws: int = 5
    _controls: dict[int, dict[str, float]] = field(default_factory=dict)

    def measure(self, method: Selector, pool: Pool | None = None) -> dict[str, float]:
        """What the method kept and what a head learns from it, beside the controls, by name of the metric. ``pool``
        holds the same pairs and whatever the method needs to know of them.

        ``kept`` (pairs) and ``seconds`` (of selecting); ``accuracy`` on the test pairs and ``accuracy_random`` (same
        number, mean over ``draws``), ``accuracy_all`` (every train pair); ``coverage``: mean over all train pairs of
        the best cosine to a kept one. With planted truth also ``accuracy_oracle`` (as many clean pairs at most),
        ``accuracy_topics`` (mean over topics) with its controls, ``wrong_labels`` (share of kept weight whose label to
        train with is wrong), ``recall_<fault>`` and ``precision_<fault>`` of turning down or, for a flip, relabelling,
        and ``topics`` (effective number of topics kept, as a share of all).

        Raises:
            ValueError: the method refuses the pool.
        """
        start = time.perf_counter()
        decisions = method.select(pool or self.pool)
        seconds = time.perf_counter() - start
        kept = decisions.filter("selected").select("pair_id", "weight", "p_chosen", "margin").sort("pair_id")
        if kept.is_empty():
            raise ValueError("nothing was kept")
        rows = np.searchsorted(self._ids, kept["pair_id"].to_numpy())
        found = {"kept": float(len(rows)), "seconds": seconds, "coverage": self._coverage(rows)}
        label = kept["p_chosen"].fill_null(pl.Series(self._p_chosen[rows])).to_numpy().astype(np.float64)
        weight = kept["weight"].to_numpy().astype(np.float64)
        found |= self._learnt(rows, label, weight, kept["margin"].fill_null(0.0).to_numpy().astype(np.float64))
        found |= self.controls(len(rows))
        return found if self.truth is None else found | self._faults(rows, label, weight)

    def controls(self, n: int) -> dict[str, float]:
        """Accuracies of the controls for ``n`` pairs: all, random, and oracle where the truth is known."""
        if n not in self._controls:
            groups = {"all": [np.arange(len(self._ids))], "random": list(self._random(n))}
            if self._clean is not None:
                groups["oracle"] = [self._clean[np.argsort(self._hash("oracle")[self._clean])][:n]]
            found: dict[str, float] = {}
            for name, subsets in groups.items():
                learnt = [self._learnt(rows, self._p_chosen[rows]) for rows in subsets]
                found |= {f"{m}_{name}": float(np.mean([each[m] for each in learnt])) for m in learnt[0]}
            self._controls[n] = found
        return self._controls[n]

    def _random(self, n: int) -> Iterator[Rows]:
        for draw in range(self.draws):
            yield np.argsort(self._hash(f"control {draw}"))[:n]

    def _learnt(
        self, rows: Rows, p_chosen: Floats, weights: Floats | None = None, margins: Floats | None = None
    ) -> dict[str, float]:
        weights = np.ones(len(rows)) if weights is None else weights
        head = fit_head(
            self._train[rows], p_chosen, weights, np.zeros(len(rows)) if margins is None else margins, self.l2
        )
        scores = self._test @ head
        label, weight = self._test_label
        right = np.where(scores == 0, 0.5, ((scores > 0) == label).astype(float))
        found = {"accuracy": float(right @ weight)}
        if self._test_topic is not None:
            parts = [self._test_topic == topic for topic in np.unique(self._test_topic[weight > 0])]
            found["accuracy_topics"] = float(np.mean([np.average(right[part], weights=weight[part]) for part in parts]))
        return found

    def _coverage(self, rows: Rows) -> float:
        best = [(self._chosen[s : s + 2048] @ self._chosen[rows].T).max(axis=1) for s in range(0, len(self._ids), 2048)]
        return float(np.concatenate(best).mean())

    def _faults(self, rows: Rows, label: Floats, weight: Floats) -> dict[str, float]:
        truth = self._truth
        flip = truth["flip"].to_numpy()
        acted = np.ones(len(self._ids), dtype=bool)
        acted[rows] = label < 0.5
        wrong = flip[rows] != (label < 0.5)
        found = {"wrong_labels": float(np.average(wrong & ~truth["tie"].to_numpy()[rows], weights=weight))}
        for fault in FAULTS:
            planted = truth[fault].to_numpy()
            hit = int((acted & planted).sum())
            if planted.any():
                found[f"recall_{fault}"] = hit / int(planted.sum())
            if acted.any():
                found[f"precision_{fault}"] = hit / int(acted.sum())
        _, counts = np.unique(truth["topic"].to_numpy()[rows], return_counts=True)
        shares = counts / counts.sum()
        every = truth["topic"].n_unique()
        return found | {"topics": float(np.exp(-(shares * np.log(shares)).sum()) / every)}

    @cached_property
    def _candidates(self) -> pl.DataFrame:
        return self.pool.candidates()

    @cached_property
    def _ids(self) -> NDArray[np.str_]:
        return self._candidates["pair_id"].to_numpy().astype(str)

    @cached_property
    def _p_chosen(self) -> Floats:
        return self._candidates["p_chosen"].to_numpy().astype(np.float64)

    @cached_property
    def _train(self) -> Floats:
        return margin_vectors(self._candidates, self.pool.embeddings[self.embeddings])

    @cached_property
    def _held_out(self) -> pl.DataFrame:
        found = self.pool.pairs.filter(split="test").sort("pair_id")
        if found.is_empty() or self._candidates.is_empty():
            raise ValueError("a trial needs train pairs to select from and test pairs to measure on")
        return found

    @cached_property
    def _test(self) -> Floats:
        return margin_vectors(self._held_out, self.pool.embeddings[self.embeddings])

    @cached_property
    def _test_label(self) -> tuple[NDArray[np.bool_], Floats]:
        """Whether the chosen side of each test pair is the better one, and weights that sum to 1: how far the label is
        from a tie, which says nothing of accuracy. The truth is the label where it is known."""
        weight = np.abs(2 * self._held_out["p_chosen"].to_numpy() - 1)
        right = np.ones(len(weight), dtype=bool)
        if self.truth is not None:
            known = self._held_out.select("pair_id").join(self.truth, on="pair_id", how="left", maintain_order="left")
            right, weight = ~known["flip"].to_numpy(), np.where(known["tie"].to_numpy(), 0.0, 1.0)
        if not weight.any():
            raise ValueError("a trial needs test pairs that are no ties")
        return right, np.asarray(weight / weight.sum())

    @cached_property
    def _chosen(self) -> NDArray[np.float32]:
        rows = self.pool.embeddings[self.embeddings].rows(self._candidates["chosen_id"].to_list())
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(norms == 0, 1, norms), dtype=np.float32)

    @cached_property
    def _truth(self) -> pl.DataFrame:
        assert self.truth is not None
        return self._candidates.select("pair_id").join(self.truth, on="pair_id", how="left", maintain_order="left")

    @cached_property
    def _test_topic(self) -> NDArray[np.int64] | None:
        if self.truth is None:
            return None
        placed = self._held_out.select("pair_id").join(self.truth, on="pair_id", how="left", maintain_order="left")
        return placed["topic"].to_numpy()

    @cached_property
    def _clean(self) -> Rows | None:
        if self.truth is None:
            return None
        faulty = np.any([self._truth[fault].to_numpy() for fault in FAULTS], axis=0)
        return np.flatnonzero(~faulty)

    def _hash(self, purpose: str) -> NDArray[np.uint64]:
        return seeded_hash(self._ids.tolist(), self.seed, f"proving {purpose}").to_numpy()
