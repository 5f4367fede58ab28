"""Policy gradients on sampled answers, two answers a pair, each with an advantage of its own."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs, Sequences

if TYPE_CHECKING:
    import torch

CHOSEN, REJECTED = "chosen", "rejected"
NAMES = ("advantage", "share", "tokens", "sampler_logp", "reward")
"""What the rows say of each side, as ``<name>_chosen`` and ``<name>_rejected``: its advantage; its weight in the loss;
how many of its tokens the policy drew; their log-probability when it did; its reward."""


class PolicyGradient(Objective):
    """REINFORCE (Williams 1992), RLOO (arXiv:2402.14740) and GRPO (arXiv:2402.03300), by how the rows' advantages
    were made. Made by an `online` entry; it needs the columns that sampled rows bring.

    Of each answer, with s = log pi - log pi_sampler, its sum over the tokens that were drawn, or its mean with
    `per_token`: the loss is -A s, or with `clip` -min(e^s A, clip(e^s) A); plus `kl` times k3, the mean (or sum) of
    e^d - d - 1 with d = log ref - log pi of each token (k3 is never negative; Schulman 2020). [choice] The ratio is
    that of the whole answer, as in GSPO (arXiv:2507.18071): log-probabilities of the sampler are kept as sums. At the
    first step of a round, where s = 0, its gradient is GRPO's.
    """

    type: Literal["policy_gradient"] = "policy_gradient"
    per_token: bool = True
    """Means over tokens (GRPO), so that long answers count no more than short ones; otherwise sums (REINFORCE)."""
    clip: float | None = Field(default=0.2, gt=0, lt=1)
    """Ratios outside 1 - clip … 1 + clip stop pushing; null for the plain policy gradient."""
    kl: float = Field(default=0.04, ge=0)
    """Weight of the distance to the reference; above 0 needs `tokens: true` in its `reference_logps`."""

    @property
    def reference_tokens(self) -> bool:
        """k3 is a sum over tokens."""
        return self.kl > 0

    def refused(self) -> dict[ColumnName, str]:
        """Sampled rows bring none of them."""
        return {**super().refused(), "soft label": "answers have advantages, not labels", "tie": "the same"}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """The two answers' losses, each times its share; the rewards are those that the answers earned."""
        found = {
            side: self.answer_loss(sequences, **{name: pairs.columns[f"{name}_{side}"] for name in NAMES[:4]})
            for side, sequences in ((CHOSEN, pairs.chosen), (REJECTED, pairs.rejected))
        }
        shares = {side: pairs.columns[f"share_{side}"] for side in found}
        total = shares[CHOSEN] + shares[REJECTED]

        def mean(place: int) -> "torch.Tensor":
            chosen, rejected = (shares[side] * found[side][place].detach() for side in (CHOSEN, REJECTED))
            return (chosen + rejected) / total

        loss = found[CHOSEN][0] + found[REJECTED][0]
        rewards = {f"reward_{side}": pairs.columns[f"reward_{side}"] for side in found}
        return PairLosses(loss, **rewards, values={"kl": mean(1), "clipped": mean(2)})

    def answer_loss(
        self,
        answers: Sequences,
        advantage: "torch.Tensor",
        share: "torch.Tensor",
        tokens: "torch.Tensor",
        sampler_logp: "torch.Tensor",
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Of each answer, (n,): share times loss, k3, and whether its ratio is clipped. Columns are (n,)."""
        import torch

        width = answers.tokens.shape[1]
        drawn = torch.arange(width, device=tokens.device)[None] < tokens[:, None]
        size = tokens.clamp(min=1) if self.per_token else torch.ones_like(tokens)
        s = ((answers.tokens * drawn).sum(1) - sampler_logp) / size
        clipped = torch.zeros_like(s)
        if self.clip is None:
            loss = -advantage * s
        else:
            ratio = s.exp()
            bounded = ratio.clamp(1 - self.clip, 1 + self.clip)
            loss = -torch.minimum(ratio * advantage, bounded * advantage)
            clipped = (bounded * advantage < ratio * advantage).to(s)
        k3 = torch.zeros_like(s)
        if self.kl:
            assert answers.ref_tokens is not None
            d = (answers.ref_tokens - answers.tokens) * drawn
            k3 = (d.expm1() - d).sum(1) / size
            loss = loss + self.kl * k3
        return share * loss, k3, clipped
