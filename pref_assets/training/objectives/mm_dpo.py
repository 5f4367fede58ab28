"""Dynamic reward scaling: pairs whose scores lie further apart pull harder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class MMDPO(Objective):
    """MM-DPO (Zhang et al., "MM-RLHF", arXiv 2502.10391, section 4): DPO with beta(d) = beta (1 + w (1 - e^(-k d))) for
    each pair, d the gap of a reward model's scores, kept in [beta, (1 + w) beta].

    The formula leaves that interval for d < 0, so such a pair keeps beta. The released code does not run it; what it
    has instead are ablations here: ``linear``, its unused explicit path, beta (1 + w d) above a floor, and
    ``implicit``, what overwrites that: one beta for the step, from the policy's own margins. With soft labels both
    labels of a pair have its beta [choice]. ``sft`` adds the chosen side's negative log-likelihood per token. Needs a
    reference and, but for ``implicit``, a score of every pair.
    """

    type: Literal["mm_dpo"] = "mm_dpo"
    scaling: Literal["paper", "linear", "implicit"] = "paper"
    """Where a pair's beta comes from."""
    delta: ScoresName | None = None
    """The scores whose gap d is; not with `implicit`."""
    column: str = "score"
    """Which number d is: a column that changes its sign with the label, or a named detail that does."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference where nothing scales it."""
    w: float = Field(default=0.5, ge=0, le=100)
    """Largest share by which beta grows (`paper`), or weight of what scales it; 0.1 in the released script."""
    k: float = Field(default=0.5, gt=0, le=1000)
    """How fast beta grows with d (`paper`)."""
    least: float = Field(default=0.001, gt=0)
    """Smallest beta of `linear` and `implicit`, which have no other bound below."""
    share: float = Field(default=0.8, gt=0, lt=1)
    """`implicit`: share of the step's pairs drawn near the mean margin."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """`implicit`: of the draws."""
    sft: float = Field(default=0.0, ge=0, le=100)
    """Weight of the chosen side's likelihood; 0 to 1 in the paper, 0.25 in the released script."""

    @model_validator(mode="after")
    def _delta_has_a_use(self) -> "MMDPO":
        if (self.delta is None) != (self.scaling == "implicit"):
            why = "reads no score" if self.scaling == "implicit" else "needs the scores that d comes from"
            raise ValueError(f"delta: scaling `{self.scaling}` {why}")
        return self

    def refused(self) -> dict[ColumnName, str]:
        """A margin is taken off the logit, as in DPO."""
        others = super().refused()
        del others["margin"]
        return others

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``delta``: d."""
        return {} if self.delta is None else {"delta": ScoreColumn(self.delta, self.column)}

    def derived(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``beta`` of each pair."""
        import torch

        if self.delta is None:
            return {}
        return {"beta": self.betas(torch.as_tensor(columns["delta"], dtype=torch.float64)).numpy()}

    def batch_columns(self) -> tuple[str, ...]:
        return ("beta",) if self.scaling == "implicit" else ()

    def carried_start(self) -> "dict[str, torch.Tensor]":
        """``steps`` done, (1,), which the draws of `implicit` depend on."""
        import torch

        return {"steps": torch.zeros(1, dtype=torch.float64)} if self.scaling == "implicit" else {}

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """``beta``: that of the step, for each pair."""
        margins = pairs.chosen.ratio - pairs.rejected.ratio
        picked = draw_near_mean(margins, self.share, (self.seed, int(carried["steps"])))
        carried["steps"] += 1
        return {"beta": implicit_beta(margins, picked, self.beta, self.w, self.least).expand(len(margins))}

    def betas(self, delta: "torch.Tensor") -> "torch.Tensor":
        """beta of pairs with score gaps ``delta``, (n,), under `paper` or `linear`."""
        if self.scaling == "linear":
            return (self.beta * (1 + self.w * delta)).clamp(min=self.least)
        return scaled_beta(delta, self.beta, self.w, self.k)

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log S(beta(d) h - margin) - sft log-likelihood per token of chosen, (n,). ``values``: ``beta``."""
        from torch.nn.functional import logsigmoid

        columns = pairs.columns
        beta = columns["beta"] if self.scaling == "implicit" else self.betas(columns["delta"])
        chosen, rejected = pairs.chosen.ratio, pairs.rejected.ratio
        loss = -logsigmoid(beta * (chosen - rejected) - pairs.margin)
        if self.sft:
            loss = loss - self.sft * pairs.chosen.mean_logp
        return PairLosses(loss, (beta * chosen).detach(), (beta * rejected).detach(), {"beta": beta})


def scaled_beta(delta: "torch.Tensor", beta: float, w: float, k: float) -> "torch.Tensor":
    """beta (1 + w (1 - e^(-k d))) in [beta, (1 + w) beta], for d of any size; d < 0 counts as 0."""
    import torch

    return beta * (1 - w * torch.expm1(-k * delta.clamp(min=0)))


def implicit_beta(
    margins: "torch.Tensor", picked: "torch.Tensor", beta: float, w: float, least: float
) -> "torch.Tensor":
    """beta (1 + w (mean of the picked margins - mean of all)), at least ``least``; beta if none is picked. A scalar."""
    if not len(picked):
        return margins.new_tensor(beta)
    return (beta * (1 + w * (margins[picked].mean() - margins.mean()))).clamp(min=least)


def draw_near_mean(margins: "torch.Tensor", share: float, seed: tuple[int, int]) -> "torch.Tensor":
    """Indices of int(share n) pairs drawn without replacement, weighted by a Gaussian around the mean margin.

    The draw depends on the margins' order by size, not on the order they come in. The standard deviation is the
    sample's; where it is 0 all weights are equal.
    """
    import numpy as np
    import torch

    order = torch.argsort(margins, stable=True)
    values = margins[order].double().cpu().numpy()
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    logits = -0.5 * ((values - values.mean()) / spread) ** 2 if spread else np.zeros(len(values))
    # The largest of logit + Gumbel noise are a draw without replacement with weights e^logit.
    keys = logits + np.random.default_rng(seed).gumbel(size=len(values))
    picked = np.argsort(-keys, kind="stable")[: int(share * len(values))]
    return order[torch.from_numpy(picked.copy()).to(order.device)]
