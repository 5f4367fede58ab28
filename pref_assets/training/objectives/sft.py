"""Supervised fine-tuning on the chosen side: what best-of-n and rejection sampling do with an answer."""

from typing import ClassVar, Literal

from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs


class SFT(Objective):
    """Negative log-likelihood of the chosen answer; the rejected one is not looked at. With the best of n answers of
    the policy this is best-of-n distillation, with all accepted ones rejection sampling (STaR, arXiv:2203.14465; RAFT,
    arXiv:2304.06767); on the chosen answers of a data set it is Pref-FT of "Preference Fine-Tuning of LLMs Should
    Leverage Suboptimal, On-Policy Data" (arXiv:2404.14367).
    """

    type: Literal["sft"] = "sft"
    reference_free: ClassVar[bool] = True
    chosen_only: ClassVar[bool] = True
    per_token: bool = True
    """The mean over the answer's tokens, which gives every answer the same weight; otherwise their sum."""

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log pi(chosen), divided by the number of its tokens with ``per_token``; rewards are log-probabilities."""
        chosen = pairs.chosen.mean_logp if self.per_token else pairs.chosen.logp
        rejected = pairs.rejected.mean_logp if self.per_token else pairs.rejected.logp
        return PairLosses(-chosen, chosen.detach(), rejected.detach())
