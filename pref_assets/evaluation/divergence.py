"""How far a policy has moved from its reference: KL divergence, estimated from the policy's own answers."""

from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.answers import Answerer, PolicyAnswers, base, policy, stored_answers
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.draws import Drawn, drawn, drawn_mean
from pref_assets.evaluation.intervals import group_numbers
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.settings import digest

Floats = NDArray[np.float64]

TOKEN_LOGPS = "token_logps"
"""Kind of the store: id (completion), logps (one a token, nats); the key is the model and the longest answer."""


class Divergence(PolicyAnswers):
    """KL(policy || reference) over whole answers, in nats, from answers that the policy draws itself.

    - ``kl``: mean over answers of sum_t log p_t - log r_t (k1), unbiased;
    - ``kl_k3``: mean of sum_t r_t / p_t - 1 - log(r_t / p_t), each term of which is at least 0: the same expectation
      (Schulman 2020, "Approximating KL divergence") with less variance where the two are close;
    - ``kl_per_token``: k1 over all tokens, which answers of other lengths do not change.

    Intervals resample prompts. Answers are cut after `max_new_tokens`, so this is the divergence of that many tokens;
    the end of an answer counts as a token where it was reached. Choice: an answer is read as its text again, whose
    tokens may rarely be others than were drawn.

    Needs temperature 1 and no nucleus, else the answers are not the policy's own. Cost: one answer a draw, and a pass
    of policy and reference over each.
    """

    type: Literal["kl"] = "kl"

    batch_tokens: int = Field(default=2048, ge=64, le=1_000_000)
    """Tokens, padding included, that go through a model at once; changes no number."""

    @model_validator(mode="after")
    def _own_answers(self) -> Self:
        if self.sampling.temperature != 1 or self.sampling.top_p != 1:
            raise ValueError("`kl` needs answers drawn from the policy itself: `sampling` temperature 1 and top_p 1")
        return self

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        prompts = self.test_prompts(inputs)["prompt_id"].to_list()
        rows: list[dict[str, Any]] = []
        for checkpoint in inputs.checkpoints:
            who = policy(checkpoint)
            answers = stored_answers(home, who, prompts, self.draws()).sort("prompt_id", "draw")
            own, reference = (self.stored(each, answers, home) for each in (who, base(checkpoint)))
            of = Margins(who.name, who.version, answers)
            groups = group_numbers(answers["prompt_id"].to_list())
            for metric, values in (("kl", k1(own, reference)), ("kl_k3", k3(own, reference))):
                rows.append(row(of, metric, "all", drawn_mean(values, groups, self.seed, self.resamples).estimate()))
            tokens = np.array([len(each) for each in own], np.float64)
            rate = _rate(k1(own, reference), tokens, groups, self.seed, self.resamples)
            rows.append(row(of, "kl_per_token", "all", rate.estimate()))
        return EVALUATIONS.frame(rows)

    def stored(self, who: Answerer, answers: pl.DataFrame, home: Home) -> list[Floats]:
        """Log-probabilities of each answer's tokens under a model."""
        from pref_assets.features.store import Store

        key = token_key(who.model, self.sampling)
        distinct = answers["completion_id"].unique().sort().to_list()
        found = dict(Store(home.store).read(TOKEN_LOGPS, key, distinct).select("id", "logps").iter_rows())
        return [np.array(found[each], np.float64) for each in answers["completion_id"]]


def _rate(values: Floats, sizes: Floats, groups: NDArray[np.int64], seed: int, resamples: int) -> Drawn:
    """Sum of values over sum of sizes, resampling groups."""
    totals, whole = np.bincount(groups, weights=values), np.bincount(groups, weights=sizes)
    return drawn(lambda of: float(totals[of].sum() / whole[of].sum()), len(totals), seed, resamples, len(values))


def k1(policy_logps: list[Floats], reference: list[Floats]) -> Floats:
    """(n,) sum over tokens of log p - log r, from (tokens,) log-probabilities of each of n answers."""
    return np.array([float((p - r).sum()) for p, r in zip(policy_logps, reference, strict=True)])


def k3(policy_logps: list[Floats], reference: list[Floats]) -> Floats:
    """(n,) sum over tokens of r / p - 1 - log(r / p)."""
    return np.array([float((np.expm1(r - p) - (r - p)).sum()) for p, r in zip(policy_logps, reference, strict=True)])


def token_key(model: str, sampling: Sampling) -> str:
    """Store key of log-probabilities of tokens: whose, and after how many tokens answers are cut, which decides whether
    the end was reached."""
    return digest({"model": model, "max_new_tokens": sampling.max_new_tokens})
