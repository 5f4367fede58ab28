"""What choosing the best of n answers earns: reward as a function of n."""

from math import comb, log
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.answers import PolicyAnswers, stored_answers, with_bases
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.draws import drawn_mean
from pref_assets.evaluation.intervals import Estimate
from pref_assets.evaluation.judges import RewardJudge, rewards
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS

Floats = NDArray[np.float64]
ANY = "any sampler"
"""Name of the row of a bound that holds for every model."""


class BestOfN(PolicyAnswers):
    """Mean reward of the best of n answers, for several n, of each policy and its reference.

    - ``best_of_<n>``: mean over prompts of the expected reward of the best of n, estimated without bias from all
      `samples` answers (every choice of n of them counts: Nakano et al. 2021, arXiv:2112.09332, appendix I);
    - ``gold_best_of_<n>``: the reward that `gold` gives to the answer which `judge` ranks first, whose fall with n is
      over-optimisation (Gao et al. 2022, arXiv:2210.10760);
    - ``kl_bound_best_of_<n>``: log n - (n - 1) / n nats, the most that the best of n moves away from one answer
      (Beirami et al. 2024, arXiv:2401.01879), whatever the model.

    Intervals: bootstrap over prompts. Needs reward models. Cost: `samples` answers a prompt and a reward for each.
    """

    type: Literal["best_of_n"] = "best_of_n"
    judge: RewardJudge
    """Whose reward ranks the answers."""
    gold: RewardJudge | None = None
    """Another reward model, to say what the choice is worth."""
    samples: int = Field(default=8, ge=1, le=1024)
    """Answers to each prompt."""
    n: list[int] = Field(default=[1, 2, 4, 8], min_length=1)
    """How many answers to choose from."""

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if min(self.n) < 1 or max(self.n) > self.samples:
            raise ValueError(f"`n` is {self.n}, but each must lie between 1 and `samples`, {self.samples}")
        return self

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        from pref_assets.features.store import Store

        prompts = self.test_prompts(inputs)["prompt_id"].to_list()
        store = Store(home.store)
        rows: list[dict[str, Any]] = []
        for who in with_bases(inputs.checkpoints):
            answers = stored_answers(home, who, prompts, self.draws()).sort("prompt_id", "draw")
            of = Margins(who.name, who.version, answers, baseline=who.version is None)
            shape = (len(prompts), self.samples)
            ranked, gold = (
                rewards(each, answers["completion_id"], inputs.others, store).to_numpy().reshape(shape)
                if each
                else None
                for each in (self.judge, self.gold)
            )
            assert ranked is not None
            for prefix, values in (("", ranked), ("gold_", gold)):
                if values is not None:
                    rows += self._curve(of, prefix, ranked, values)
        rows += [
            row(
                Margins(ANY, None, pl.DataFrame(), True),
                f"kl_bound_best_of_{n}",
                "all",
                Estimate(kl_bound(n), None, None, n),
            )
            for n in sorted(set(self.n))
        ]
        return EVALUATIONS.frame(rows)

    def _curve(self, of: Margins, prefix: str, ranked: Floats, values: Floats) -> list[dict[str, Any]]:
        found = []
        for n in sorted(set(self.n)):
            best = best_of(ranked, values, n)
            estimate = drawn_mean(best, np.arange(len(best)), self.seed, self.resamples).estimate()
            found.append(row(of, f"{prefix}best_of_{n}", "all", estimate))
        return found


def best_of(ranked: Floats, values: Floats, n: int) -> Floats:
    """Expected value of the answer that ranks first among n, drawn without repetition from each row, (prompts,).

    The answer of rank i from below is first in C(i - 1, n - 1) of the C(N, n) choices. Equal ranks share their places.

    Args:
        ranked, values: (prompts, N) what ranks answers, and what they are worth; the same array for the plain maximum.
        n: at most N.
    """
    total = ranked.shape[1]
    weights = np.array([comb(i, n - 1) / comb(total, n) for i in range(total)])
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    ordered = np.sort(ranked, axis=1)
    found = np.zeros(len(ranked))
    for place, line in enumerate(ranked):
        # The places that an answer's equals take together, shared evenly.
        first, last = (np.searchsorted(ordered[place], line, side=side) for side in ("left", "right"))
        found[place] = ((cumulative[last] - cumulative[first]) / (last - first)) @ values[place]
    return found


def expected_best(probabilities: Floats, rewards_of: Floats, n: int) -> float:
    """Expected reward of the best of n independent draws from a known distribution over answers, (k,) each."""
    order = np.argsort(rewards_of, kind="stable")
    reached = np.concatenate([[0.0], np.cumsum(probabilities[order])]) ** n
    return float(np.diff(reached) @ rewards_of[order])


def kl_bound(n: int) -> float:
    """Upper bound of KL(best of n || one answer) in nats; tight when no two answers have the same reward."""
    return log(n) - (n - 1) / n
