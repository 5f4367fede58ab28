"""The proving ground: every selector on worlds with planted truth, at several noise levels, budgets and seeds."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field, StringConstraints

from pref_assets.clustering import ClustererConfig
from pref_assets.heads import RewardModelConfig
from pref_assets.pairs.schema import TRIALS
from pref_assets.pool import Pool
from pref_assets.proving.trial import Bench
from pref_assets.proving.worlds import PLANTED, PlantedWorld
from pref_assets.scoring import MeasuredScorer, Scorer, ScorerConfig
from pref_assets.selection import Selector, SelectorConfig, Sequence
from pref_assets.selection.budget import Budget, BudgetField
from pref_assets.settings import Settings
from pref_assets.training.worker import Silent

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)]
OWN = "own"
"""Budget of a method that decides by itself how much to keep."""
_WORLDS = 64
"""Planted worlds kept in memory while methods are tried one after another."""
_STAGES = ("clusters", "reward_models", "scores")


class ProvingSpec(Settings):
    """What is tried on what. The blocks are those of a pipeline file; embeddings and reference log-probabilities are
    the world's own and are called `planted`."""

    blocks: ClassVar[tuple[str, ...]] = (*_STAGES, "subsets")
    given: ClassVar[Mapping[str, tuple[str, ...]]] = {"embeddings": (PLANTED,), "reference_logps": (PLANTED,)}
    """Names that entries may refer to without an entry of that name."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]
    """Name of the proving ground: the first part of every asset key."""
    description: str = ""
    """What it asks, in a sentence."""
    worlds: dict[Name, PlantedWorld] = Field(min_length=1)
    """Where the truth is known because it was planted."""
    flips: list[Annotated[float, Field(ge=0, le=0.5)]] = Field(default=[0.0, 0.2, 0.4], min_length=1)
    """Shares of train labels planted wrong; every world is planted with each of them."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    """Seeds of worlds and methods; intervals are over them."""
    budgets: list[BudgetField] = Field(default=["25%", "50%"], validate_default=True, min_length=1)
    """Budgets for every method that has one; the budget in its entry is replaced."""
    l2: float = Field(default=1.0, gt=0)
    """Penalty of the head that every subset trains, |w|^2 / 2 against the summed loss."""
    draws: int = Field(default=5, ge=1)
    """Random subsets of the same size that the control is the mean of."""
    clusters: dict[Name, ClustererConfig] = Field(default_factory=dict)
    """Groups that selectors use."""
    reward_models: dict[Name, RewardModelConfig] = Field(default_factory=dict)
    """Heads that scorers use."""
    scores: dict[Name, ScorerConfig] = Field(default_factory=dict)
    """Scores that selectors use; those that are measured are measured in this process, and nothing is stored."""
    subsets: dict[Name, SelectorConfig] = Field(min_length=1)
    """The selectors and cleaners on trial."""

    def of_method(self, method: str) -> "ProvingSpec":
        """The same with one method, and no more entries than it needs: what its trials depend on."""
        wanted, needed = [self.subsets[method]], {stage: dict[str, Any]() for stage in _STAGES}
        while wanted:
            for ref in wanted.pop().references():
                if ref.stage in needed and ref.name not in needed[ref.stage]:
                    entry = getattr(self, ref.stage)[ref.name]
                    needed[ref.stage][ref.name] = entry
                    wanted.append(entry)
        return self.model_copy(update={**needed, "subsets": {method: self.subsets[method]}})


class Ground:
    """One planted world, and what methods need to know of it, computed when first asked for."""

    def __init__(self, world: PlantedWorld, seed: int, l2: float, draws: int) -> None:
        planted = world.plant(seed)
        self.pool = planted.pool
        self.bench = Bench(self.pool, PLANTED, seed, planted.truth, l2, draws)
        self._computed: dict[tuple[str, str, str], Any] = {}

    def pool_for(self, spec: ProvingSpec, settings: Settings) -> Pool:
        """The pool with every entry that ``settings`` refers to, and those that its reward models read."""
        found: dict[str, dict[str, Any]] = {stage: {} for stage in _STAGES}
        named = settings.references()
        heads = [spec.reward_models[ref.name] for ref in named if ref.stage == "reward_models"]
        for ref in [*named, *(ref for head in heads for ref in head.references())]:
            if ref.stage in found:
                found[ref.stage][ref.name] = self._entry(spec, ref.stage, ref.name)
        return replace(
            self.pool, clusters=found["clusters"], reward_models=found["reward_models"], scores=found["scores"]
        )

    def _entry(self, spec: ProvingSpec, stage: str, name: str) -> Any:
        settings = getattr(spec, stage)[name]
        key = (stage, name, spec_digest(spec, settings))
        if key not in self._computed:
            pool = self.pool_for(spec, settings)
            if stage == "clusters":
                self._computed[key] = settings.cluster(pool).assignments
            elif stage == "reward_models":
                self._computed[key] = settings.fit_all(pool)
            else:
                self._computed[key] = _scored(settings, pool)
        return self._computed[key]


def spec_digest(spec: ProvingSpec, settings: Settings) -> str:
    """Digest of an entry with everything it refers to."""
    inner = [
        spec_digest(spec, getattr(spec, ref.stage)[ref.name]) for ref in settings.references() if ref.stage in _STAGES
    ]
    return settings.digest() + "".join(inner)


_ground = lru_cache(maxsize=_WORLDS)(Ground)


def trials(spec: ProvingSpec, method: str) -> pl.DataFrame:
    """``TRIALS`` of one method on every world, noise level, seed and budget.

    A method that refuses a pool has a row that says why; nothing else is measured of it there.
    """
    rows: list[dict[str, Any]] = []
    settings = spec.subsets[method]
    for name, world in spec.worlds.items():
        for flips in spec.flips:
            for seed in spec.seeds:
                ground = _ground(world.model_copy(update={"flips": flips}), seed, spec.l2, spec.draws)
                prepared = _prepared(ground, spec, settings)
                for budget, tried in budgeted(settings, spec.budgets, seed, len(ground.pool.candidates())):
                    head: dict[str, Any] = {"method": method, "type": settings.type, "budget": budget, "world": name}
                    head |= {"flips": flips, "seed": seed}
                    if isinstance(prepared, Pool):
                        rows += tried_rows(head, ground.bench, prepared, tried)
                    else:
                        rows.append(refused(head, prepared))
    return TRIALS.frame(rows)


def budgeted(settings: Selector, budgets: list[Budget], seed: int, candidates: int) -> Iterator[tuple[str, Selector]]:
    """The selector with the seed and each budget, a share as the number of pairs it is of all candidates; of a
    sequence the last step has the budget. Cleaners, whose budget may be left out, come without one too."""
    seeded = settings.model_copy(update={"seed": seed})
    inner = seeded.steps[-1] if isinstance(seeded, Sequence) else seeded
    takes_one = "budget" in type(inner).model_fields
    if not takes_one or getattr(inner, "budget", None) is None:
        yield OWN, seeded
    for budget in budgets if takes_one else ():
        as_it_is = budget.tokens is not None or getattr(inner, "unit", "pairs") != "pairs"
        counted = budget if as_it_is else Budget(count=budget.resolve(candidates))
        limited = inner.model_copy(update={"budget": counted})
        if isinstance(seeded, Sequence):
            yield str(budget.text()), seeded.model_copy(update={"steps": [*seeded.steps[:-1], limited]})
        else:
            yield str(budget.text()), limited


def _scored(settings: Scorer, pool: Pool) -> pl.DataFrame:
    """The scores of a pool; what has to be measured is measured here and now."""
    if not isinstance(settings, MeasuredScorer):
        return settings.score(pool)
    items, measured = settings.items(pool), list[pl.DataFrame]()
    if items.is_empty():
        return settings.combine(pool, items)
    settings.measure(items, settings.sources(pool), measured.append, Silent())
    return settings.combine(pool, items.select("id").join(pl.concat(measured), on="id", maintain_order="left"))


def _prepared(ground: Ground, spec: ProvingSpec, settings: Selector) -> Pool | Exception:
    """The pool with what the selector needs, or why that cannot be had there."""
    try:
        return ground.pool_for(spec, settings)
    except (ValueError, FloatingPointError) as error:
        return error


def refused(head: dict[str, Any], error: Exception) -> dict[str, Any]:
    """The row of ``TRIALS`` that says why a method has no result."""
    return {**head, "metric": "accuracy", "value": None, "problem": str(error)[:500]}


def tried_rows(head: dict[str, Any], bench: Bench, pool: Pool, method: Selector) -> list[dict[str, Any]]:
    """Rows of ``TRIALS`` of one trial."""
    try:
        found = bench.measure(method, pool)
    except (ValueError, FloatingPointError) as error:
        return [refused(head, error)]
    return [{**head, "metric": name, "value": value} for name, value in found.items()]
