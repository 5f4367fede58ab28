"""A pool in which everything is known of every pair, and ways to spoil it, for sweeps over all methods of a union."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from pref_assets.heads import Bt, CrossFit
from pref_assets.pairs.schema import CLUSTERS, PAIR_SCORES
from pref_assets.pool import Pool, Vectors
from pref_assets.proving.worlds import PLANTED, PlantedWorld
from pref_assets.scoring import BradleyTerry
from pref_assets.settings import Settings

TRAIN = 80
SCORES = ("known", "other")
"""Score tables with a number in every column, and in every detail that some selector asks for."""
NUMBERS = ("score", "spread", "p_correct", "score_chosen", "score_rejected")
Frame = pl.DataFrame


def known_pool(train: int = TRAIN, seed: int = 0) -> Pool:
    """``train`` pairs with 20 of validation and 40 of test: texts, votes, vectors and reference log-probabilities
    ``planted``, scores ``known`` and ``other``, clusters ``topics`` of completions, and the reward models ``heads``
    (linear) and ``bt``."""
    world = PlantedWorld(train=max(train, 40), validation=20, test=40, topics=4, topic_decay=0.5, flips=0.2).plant(seed)
    pool, place = world.pool, world.pool.pairs.with_row_index("place")
    pool = pool.only(place.filter((pl.col("split") != "train") | (pl.col("place") < train))["pair_id"])
    topics = world.truth.select("pair_id", "topic").join(pool.pairs, on="pair_id", maintain_order="left")
    clusters = pl.concat([topics.select(id=f"{side}_id", cluster="topic") for side in ("chosen", "rejected")])
    heads = BradleyTerry(embeddings=PLANTED, members=3, folds=3)
    return replace(
        pool,
        scores={name: _scores(pool.pairs, [seed, number]) for number, name in enumerate(SCORES)},
        clusters={"topics": CLUSTERS.conform(clusters.with_columns(distance=pl.lit(0.5)))},
        reward_models={
            "heads": heads.fit(world.pool.pairs, pool.embeddings[PLANTED]),
            "bt": Bt(embeddings=PLANTED, cross_fit=CrossFit(folds=2, members=2)).fit_all(world.pool),
        },
    )


def _scores(pairs: Frame, seed: list[int]) -> Frame:
    rng = np.random.default_rng([*seed, 3])
    margin = rng.normal(0.5, 1, len(pairs))
    probability = 1 / (1 + np.exp(-margin))
    details = {
        **{name: rng.uniform(0.1, 1, len(pairs)) for name in ("std", "quadratic", "linear", "p_win")},
        "pass_rate": rng.choice([0.25, 0.5, 0.75], len(pairs)),
        "images": rng.choice([2.0, 3.0], len(pairs)),
        "pseudo_perplexity": rng.uniform(1.2, 3, len(pairs)),
    }
    return PAIR_SCORES.frame(
        {
            "pair_id": pair_id,
            "score": margin[row],
            "spread": 0.1 + probability[row],
            "p_correct": probability[row],
            "score_chosen": margin[row] / 2,
            "score_rejected": -margin[row] / 2,
            "category": "known",
            "details": [{"name": name, "value": float(values[row])} for name, values in details.items()],
        }
        for row, pair_id in enumerate(pairs["pair_id"])
    )


def without_train(pool: Pool) -> Pool:
    """The pool with its held-out pairs alone."""
    return pool.only(pool.pairs.filter(pl.col("split") != "train")["pair_id"])


def one_train(pool: Pool) -> Pool:
    """The pool with one train pair, and the held-out ones."""
    held_out = pool.pairs.filter(pl.col("split") != "train")["pair_id"]
    return pool.only([pool.candidates()["pair_id"][0], *held_out])


def nothing(pool: Pool) -> Pool:
    """A pool in which the tables have no rows; entries are there."""
    return replace(
        pool,
        pairs=pool.pairs.clear(),
        completions=pool.completions.clear(),
        prompts=pool.prompts.clear(),
        scores=_each(pool.scores, pl.DataFrame.clear),
        clusters=_each(pool.clusters, pl.DataFrame.clear),
        reference_logps=_each(pool.reference_logps, pl.DataFrame.clear),
        embeddings={name: Vectors([], each.matrix[:0], np.zeros(0, np.int64)) for name, each in _banks(pool)},
    )


def equal_vectors(pool: Pool, value: float = 1.0) -> Pool:
    """The pool with one vector for everything; zeros if ``value`` is 0."""
    return with_matrices(pool, lambda each: np.full_like(each.matrix, value))


def twins(pool: Pool) -> Pool:
    """The pool with every vector there twice: completions of neighbouring rows share one."""
    return with_matrices(pool, lambda each: each.matrix[np.arange(len(each.ids)) // 2 * 2])


def constant_scores(pool: Pool, value: float = 0.5) -> Pool:
    """The pool with one value in every number of every score."""
    return replace(pool, scores=_each(pool.scores, lambda table: _told(table, pl.lit(True), value)))


def one_cluster(pool: Pool) -> Pool:
    """The pool with everything in one cluster."""
    return replace(pool, clusters=_each(pool.clusters, lambda table: table.with_columns(cluster=pl.lit(0, pl.Int64))))


def lone_clusters(pool: Pool) -> Pool:
    """The pool with a cluster for every item."""
    numbered = pl.col("id").rank("ordinal").cast(pl.Int64)
    return replace(pool, clusters=_each(pool.clusters, lambda table: table.with_columns(cluster=numbered)))


def spoilt_scores(pool: Pool, name: str, how: str, pair_ids: list[str]) -> Pool:
    """The pool with scores ``name`` of these pairs ``missing``, ``null``, ``nan`` or ``inf``."""
    hit, table = pl.col("pair_id").is_in(pair_ids), pool.scores[name]
    if how == "missing":
        table = table.filter(~hit)
    else:
        table = _told(table, hit, {"null": None, "nan": float("nan"), "inf": float("inf")}[how])
    return replace(pool, scores={**pool.scores, name: table})


def spoilt_vectors(pool: Pool, name: str, how: str, ids: list[str]) -> Pool:
    """The pool with vectors ``name`` of these completions ``missing``, or with a ``nan`` or ``inf`` in them."""
    bank = pool.embeddings[name]
    rows = [place for place, each in enumerate(bank.ids) if each in set(ids)]
    if how == "missing":
        kept = np.setdiff1d(np.arange(len(bank.ids)), rows)
        counts = None if bank.n_tokens is None else bank.n_tokens[kept]
        spoilt = Vectors([bank.ids[row] for row in kept], bank.matrix[kept], counts)
    else:
        matrix = bank.matrix.copy()
        matrix[rows, 0] = {"nan": np.nan, "inf": np.inf}[how]
        spoilt = Vectors(bank.ids, matrix, bank.n_tokens)
    return replace(pool, embeddings={**pool.embeddings, name: spoilt})


def without_clusters(pool: Pool, name: str, ids: list[str]) -> Pool:
    """The pool with these items in no cluster of ``name``."""
    return replace(pool, clusters={**pool.clusters, name: pool.clusters[name].filter(~pl.col("id").is_in(ids))})


def other_test_split(pool: Pool) -> Pool:
    """The pool with the ``test`` pairs turned around and everything known of them changed."""
    test = pl.col("split") == "test"
    hidden = pool.pairs.filter(test)
    sides = set(hidden["chosen_id"]) | set(hidden["rejected_id"])
    pairs = pool.pairs.with_columns(
        chosen_id=pl.when(test).then("rejected_id").otherwise("chosen_id"),
        rejected_id=pl.when(test).then("chosen_id").otherwise("rejected_id"),
        p_chosen=pl.when(test).then(0.7).otherwise("p_chosen"),
    )
    ids = hidden["pair_id"].to_list()
    scores = _each(pool.scores, lambda table: _told(table, pl.col("pair_id").is_in(ids), 0.99))

    def moved(bank: Vectors) -> np.ndarray:
        rows = np.array([each in sides for each in bank.ids])
        return np.where(rows[:, None], 7 - 3 * bank.matrix, bank.matrix)

    return with_matrices(replace(pool, pairs=pairs, scores=scores), moved)


def with_matrices(pool: Pool, matrix: Callable[[Vectors], np.ndarray]) -> Pool:
    """The pool with other vectors of the same completions."""
    found = {name: Vectors(e.ids, np.asarray(matrix(e), dtype=np.float32), e.n_tokens) for name, e in _banks(pool)}
    return replace(pool, embeddings=found)


def refused(error: ValueError, *, count: int | None = None, names: list[str] | None = None) -> None:
    """Asserts that an error is one of ours, for people, and says how many and names one of ``names``."""
    assert type(error).__module__ == "builtins", f"{type(error)} comes from inside: {error}"
    assert type(error) is ValueError, error
    assert len(str(error)) > 20, error
    if count is not None:
        assert re.search(rf"\b{count}\b", str(error)), f"does not say how many ({count}): {error}"
    if names is not None:
        assert any(name in str(error) for name in names), f"names none of {names}: {error}"


def named(settings: Settings, stage: str) -> list[str]:
    """Names of the entries of a stage that settings refer to."""
    return sorted({ref.name for ref in settings.references() if ref.stage == stage})


def types_of(union: Any) -> set[str]:
    """Names of the types of a discriminated union."""
    return set(TypeAdapter(union).json_schema()["discriminator"]["mapping"])


def _told(table: Frame, hit: pl.Expr, value: float | None) -> Frame:
    """The table with ``value`` in place of every number, named ones too, of the rows that are hit."""
    literal = pl.lit(value, pl.Float64)
    name = pl.element().struct.field("name")
    details = pl.col("details").list.eval(pl.struct(name=name, value=literal))
    return table.with_columns(
        *(pl.when(hit).then(literal).otherwise(column).alias(column) for column in NUMBERS),
        details=pl.when(hit).then(details).otherwise("details"),
    )


def _each(tables: Mapping[str, Frame], change: Callable[[Frame], Frame]) -> dict[str, Frame]:
    return {name: change(table) for name, table in tables.items()}


def _banks(pool: Pool) -> list[tuple[str, Vectors]]:
    return list(pool.embeddings.items())
