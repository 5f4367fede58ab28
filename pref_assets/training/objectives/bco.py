"""Binary classifier optimization: each side on its own, with a running shift of rewards."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class BCO(Objective):
    """BCO (Jung et al. 2024, arXiv 2404.04656, eq. 10): a classifier whose logit is the implicit reward less a shift
    tells chosen from rejected sides.

    The shift is the mean reward over both sides of all pairs so far, this step's included; it is saved with the
    training state. TRL 1.10 had such a trainer; 1.16 has only `bco_pair` (`type: dpo`), which has no shift. The density
    ratio, for chosen and rejected sides of different prompts, has no use here: both sides of a pair have one prompt.
    """

    type: Literal["bco"] = "bco"
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""

    def carried_start(self) -> "dict[str, torch.Tensor]":
        """Sum of rewards and number of examples so far."""
        import torch

        return {name: torch.zeros((), dtype=torch.float64) for name in ("bco_rewards", "bco_examples")}

    def batch_columns(self) -> tuple[str, ...]:
        """The shift."""
        return ("shift",)

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """``shift``, (n,); adds the step's rewards to what is carried."""
        rewards = self.beta * (pairs.chosen.ratio.double() + pairs.rejected.ratio.double())
        carried["bco_rewards"].add_(rewards.sum())
        carried["bco_examples"].add_(2 * len(rewards))
        shift = carried["bco_rewards"] / carried["bco_examples"]
        return {"shift": shift.to(pairs.p_chosen).expand(len(rewards))}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """[-log S(beta r_chosen - shift) - log S(shift - beta r_rejected)] / 2 and implicit rewards, (n,); r is
        log pi - log ref."""
        from torch.nn.functional import logsigmoid

        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        shift = pairs.columns["shift"]
        loss = -(logsigmoid(chosen - shift) + logsigmoid(shift - rejected)) / 2
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"shift": shift})
