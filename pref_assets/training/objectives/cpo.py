"""Contrastive preference optimization without a reference, and the losses that share its form."""

from typing import ClassVar, Literal

from pydantic import Field

from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs


class CPO(Objective):
    """CPO (Xu et al. 2024, arXiv 2401.08417): a pair's loss without a reference plus the chosen side's likelihood."""

    type: Literal["cpo"] = "cpo"
    reference_free: ClassVar[bool] = True
    beta: float = Field(default=0.1, gt=0, le=100)
    """Scale of the difference of log-probabilities."""

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log S(beta (log pi_chosen - log pi_rejected)), (n,)."""
        from torch.nn.functional import logsigmoid

        chosen, rejected = pairs.chosen.logp, pairs.rejected.logp
        loss = -logsigmoid(self.beta * (chosen - rejected))
        return PairLosses(loss, (self.beta * chosen).detach(), (self.beta * rejected).detach())
