"""Losses of log-probabilities without a reference: CPO, SimPO and AlphaPO."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pref_assets.training.objectives.dpo_losses import smoothed
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs, Sequences
from pref_assets.training.objectives.likelihood import token_cross_entropy, tokens_scale

if TYPE_CHECKING:
    import torch

CPOLossType = Literal["sigmoid", "hinge", "ipo", "simpo", "alphapo"]
PER_TOKEN: frozenset[CPOLossType] = frozenset({"ipo", "simpo", "alphapo"})


class CPO(Objective):
    """CPO (Xu et al. 2024, arXiv 2401.08417, eq. 5): a loss of the pair without a reference, plus the cross-entropy of
    the chosen side; SimPO (arXiv 2405.14734, eq. 6) and AlphaPO (arXiv 2501.03884, eq. 5) share its form.

    Numbers are those of TRL 1.16. The cross-entropy is the mean over the chosen sides' tokens of the step. SimPO as
    published is `loss_type: simpo` with `cpo_alpha: 0`.
    """

    type: Literal["cpo"] = "cpo"
    reference_free: ClassVar[bool] = True
    loss_type: CPOLossType = "sigmoid"
    """`sigmoid` (CPO), `hinge` (SLiC), `ipo`, `simpo`, `alphapo`; the last three of log-probabilities per token."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Scale of the difference of log-probabilities; in `ipo` its inverse is twice the target. SimPO takes 2 to 10."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels; `hinge` and `ipo` have no place for it."""
    cpo_alpha: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy of the chosen side; `alphapo` has none."""
    simpo_gamma: float = Field(default=0.5, ge=0)
    """Margin that `simpo` and `alphapo` demand between the rewards."""
    alpha: float = 0.0
    """Shape of the reward (1 - p^-alpha) / alpha of a token's mean probability p; 0 is log p. AlphaPO takes 0.25."""

    @model_validator(mode="after")
    def _settings_have_a_meaning(self) -> "CPO":
        if self.label_smoothing and self.loss_type in ("hinge", "ipo"):
            raise ValueError(f"label_smoothing has no meaning with loss_type {self.loss_type}; leave it at 0")
        if self.loss_type == "alphapo" and (self.cpo_alpha or not self.alpha):
            raise ValueError("alphapo needs alpha other than 0, and cpo_alpha: 0; `simpo` may have a likelihood term")
        if self.alpha and self.loss_type not in PER_TOKEN:
            raise ValueError(
                f"alpha shapes log-probabilities per token, {self.loss_type} takes their sum; use simpo or alphapo"
            )
        return self

    def refused(self) -> dict[ColumnName, str]:
        """`ipo` has a target of its own."""
        found = super().refused()
        if self.loss_type == "ipo":
            return {**found, "margin": "`ipo` has one of its own, 1 / (2 beta); use `sigmoid` or `simpo`"}
        del found["margin"]
        return found

    def batch_columns(self) -> tuple[str, ...]:
        """The number of tokens behind the cross-entropy."""
        return ("likelihood_scale",) if self.cpo_alpha else ()

    @property
    def statistics_of_lengths(self) -> bool:
        """Only tokens are counted."""
        return True

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """The column of ``batch_columns``, (n,)."""
        return {"likelihood_scale": tokens_scale(pairs, soft_labels=self.soft_labels)}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """Loss and rewards beta s of each pair, (n,); s is log pi, per token and shaped where the loss says so.

        With h = s_chosen - s_rejected, z = beta h - margin, e = ``label_smoothing``, S the logistic function:

        * ``sigmoid``, ``simpo``, ``alphapo``: -(1-e) log S(z') - e log S(-z'), z' less by ``simpo_gamma`` in the last
          two
        * ``hinge``: max(0, 1 - z)
        * ``ipo``: (h - 1/(2 beta))^2

        plus ``cpo_alpha`` times the cross-entropy of the chosen side.
        """
        chosen, rejected = self._score(pairs.chosen), self._score(pairs.rejected)
        z = self.beta * (chosen - rejected) - pairs.margin
        if self.loss_type == "ipo":
            loss = (chosen - rejected - 1 / (2 * self.beta)) ** 2
        elif self.loss_type == "hinge":
            loss = (1 - z).relu()
        else:
            loss = smoothed(z - (0.0 if self.loss_type == "sigmoid" else self.simpo_gamma), self.label_smoothing)
        if self.cpo_alpha:
            loss = loss + self.cpo_alpha * token_cross_entropy(pairs.chosen, pairs.columns["likelihood_scale"])
        return PairLosses(loss, (self.beta * chosen).detach(), (self.beta * rejected).detach())

    def _score(self, side: Sequences) -> "torch.Tensor":
        """(n,)."""
        import torch

        logp = side.mean_logp if self.loss_type in PER_TOKEN else side.logp
        return -torch.expm1(-self.alpha * logp) / self.alpha if self.alpha else logp
