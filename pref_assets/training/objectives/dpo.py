"""Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290) and its variants for noisy labels."""

from typing import Literal

from pydantic import Field, model_validator

from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs

LossType = Literal["sigmoid", "robust", "ipo"]


class DPO(Objective):
    """DPO with soft labels: the loss is the mean over both labels, weighted by how likely each is."""

    type: Literal["dpo"] = "dpo"
    loss_type: LossType = "sigmoid"
    """`sigmoid` (eq. 7 of DPO), `robust` (unbiased under a known flip rate, arXiv 2403.00409 eq. 13),
    `ipo` (arXiv 2310.12036 eq. 17, log-probabilities per token as TRL has it)."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference; in `ipo` its inverse is twice the target margin."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels. With `sigmoid` this is conservative DPO; `ipo` does not use it."""

    @model_validator(mode="after")
    def _smoothing_has_a_use(self) -> "DPO":
        if self.loss_type == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing has no meaning with loss_type `ipo`; leave it at 0 or use `robust`")
        return self

    def refused(self) -> dict[ColumnName, str]:
        """`ipo` has a target margin of its own, 1 / (2 beta)."""
        others = super().refused()
        if self.loss_type != "ipo":
            del others["margin"]
            return others
        return {**others, "margin": "`ipo` has one of its own; use `sigmoid` or `robust`"}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """Loss and implicit rewards of each pair, stable for any margin.

        With r = log pi - log ref, h = r_chosen - r_rejected, e = ``label_smoothing`` and S the logistic function:

        * ``sigmoid``: -(1-e) log S(z) - e log S(-z), z = beta h - margin (arXiv:2402.10571 calls it an offset)
        * ``robust``: [-(1-e) log S(z) + e log S(-z)] / (1 - 2e)
        * ``ipo``: (h - 1/(2 beta))^2, with r divided by the number of completion tokens, without a margin
        """
        from torch.nn.functional import logsigmoid

        chosen, rejected, e = pairs.chosen.ratio, pairs.rejected.ratio, self.label_smoothing
        if self.loss_type == "ipo":
            h = chosen / pairs.chosen.n_tokens - rejected / pairs.rejected.n_tokens
            loss = (h - 1 / (2 * self.beta)) ** 2
        else:
            z = self.beta * (chosen - rejected) - pairs.margin
            right, wrong = -logsigmoid(z), -logsigmoid(-z)
            sign = -1 if self.loss_type == "robust" else 1
            loss = ((1 - e) * right + sign * e * wrong) / (1 - 2 * e if self.loss_type == "robust" else 1)
        return PairLosses(loss, (self.beta * chosen).detach(), (self.beta * rejected).detach())
