"""Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290) and the losses that share its form."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pref_assets.training.objectives.dpo_losses import (
    LOSSES,
    OF_DIFFERENCES,
    SORTED,
    WITH_MARGIN,
    WITH_SMOOTHING,
    LossType,
    Terms,
)
from pref_assets.training.objectives.f_divergence import FDivergence, score
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs, Sequences
from pref_assets.training.objectives.likelihood import token_cross_entropy, tokens_scale

if TYPE_CHECKING:
    import torch


class DPO(Objective):
    """DPO with soft labels, and the fourteen other losses that TRL has under it: the loss is the mean over both
    labels, weighted by how likely each is.

    Numbers are those of TRL 1.16 except that `sigmoid` knows `label_smoothing`, which TRL ignores there. Where TRL
    depends on the batch (`aot`, `aot_unpaired`, `sft`) the batch is the whole step, whatever goes through the model at
    once; the first two cost a second forward pass when that is more than one part.
    """

    type: Literal["dpo"] = "dpo"
    loss_type: LossType | tuple[LossType, ...] = "sigmoid"
    """One loss, or several that are added (MPO, arXiv 2411.10442: `[sigmoid, bco_pair, sft]`); each is defined and
    cited in `training/objectives/dpo_losses.py`."""
    loss_weights: tuple[float, ...] | None = None
    """A weight for each of several losses; left out, all are 1."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference; in `ipo` its inverse is twice the target margin."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels, in `sigmoid` (conservative DPO), `robust`, `exo_pair` (at least something; its
    authors take 0.001), `aot` and `aot_unpaired`."""
    f_divergence: FDivergence = "reverse_kl"
    """What keeps the policy close to the reference (f-DPO, arXiv 2309.16240); others than `reverse_kl` only with
    losses of the difference of two scores."""
    f_alpha: float = Field(default=0.5, ge=0, le=10)
    """Order of `alpha_divergence`: 1 is the reverse KL, 0 the forward KL."""
    discopop_tau: float = Field(default=0.05, gt=0)
    """Temperature at which `discopop` passes from one of its two parts to the other."""
    ld_alpha: float | None = Field(default=None, ge=0, le=1)
    """Weight of the tokens beyond the shorter side's length (LD-DPO, arXiv 2409.06411); left out or 1, all tokens count
    alike. Needs `tokens: true` in the reference."""
    use_weighting: bool = False
    """Weigh pairs by how likely the policy is to write both sides (WPO, arXiv 2406.11827, eq. 2)."""

    @model_validator(mode="after")
    def _settings_have_a_meaning(self) -> "DPO":
        names = ", ".join(self.loss_types)
        if not self.loss_types or len(set(self.loss_types)) < len(self.loss_types):
            raise ValueError(f"loss_type names no loss or one twice: [{names}]")
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_types):
            raise ValueError(f"loss_weights has {len(self.loss_weights)} weights for the losses {names}")
        if self.label_smoothing and not set(self.loss_types) & WITH_SMOOTHING:
            raise ValueError(f"label_smoothing has no meaning with loss_type {names}; leave it at 0 or use `robust`")
        if "exo_pair" in self.loss_types and not self.label_smoothing:
            raise ValueError("exo_pair needs label_smoothing above 0; its authors take 0.001")
        if self.f_divergence != "reverse_kl" and (others := sorted(set(self.loss_types) - OF_DIFFERENCES)):
            raise ValueError(f"f_divergence {self.f_divergence} has no meaning with {', '.join(others)}")
        if self.use_weighting and (others := sorted(set(self.loss_types) & SORTED)):
            raise ValueError(f"use_weighting weighs pairs, which {', '.join(others)} takes apart")
        return self

    @property
    def loss_types(self) -> tuple[LossType, ...]:
        """The losses by name."""
        return (self.loss_type,) if isinstance(self.loss_type, str) else self.loss_type

    def refused(self) -> dict[ColumnName, str]:
        """Margins where the loss has none to add to; uncertain labels where sides of different pairs are compared."""
        found = super().refused()
        if alone := sorted(set(self.loss_types) - WITH_MARGIN - {"sft"}):
            named = " and ".join(f"`{name}`" for name in alone)
            found["margin"] = f"{named} is no function of a difference of rewards alone; use `sigmoid` or `robust`"
        elif set(self.loss_types) != {"sft"}:
            del found["margin"]
        if mixing := sorted(set(self.loss_types) & SORTED):
            why = f"`{mixing[0]}` sorts the step's pairs, so that each side must have one label; set soft_labels: false"
            found |= {"soft label": why, "tie": why}
        return found

    @property
    def reference_tokens(self) -> bool:
        """Tokens are weighted under the reference too."""
        return self.ld_alpha is not None

    @property
    def stats(self) -> tuple[str, ...]:
        """The policy's chance of writing each token again."""
        return ("log_p2",) if self.use_weighting else ()

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """Loss and implicit rewards of each pair, (n,), stable for any margin; `dpo_losses` has the formulas."""
        import torch

        terms = self._terms(pairs)
        weights = self.loss_weights or (1.0,) * len(self.loss_types)
        loss = torch.zeros_like(terms.z)
        for name, weight in zip(self.loss_types, weights, strict=True):
            loss = loss + weight * LOSSES[name](terms)
        if self.use_weighting:
            loss = loss * _own_chance(pairs.chosen) * _own_chance(pairs.rejected)
        return PairLosses(loss, (self.beta * terms.chosen).detach(), (self.beta * terms.rejected).detach())

    def _terms(self, pairs: Pairs) -> Terms:
        (chosen, ref_chosen), (rejected, ref_rejected) = self._logps(pairs)
        ratios = chosen - ref_chosen, rejected - ref_rejected
        s_chosen, s_rejected = (score(ratio, self.f_divergence, self.f_alpha) for ratio in ratios)
        mean = s_chosen / pairs.chosen.n_tokens - s_rejected / pairs.rejected.n_tokens
        wanted = "sft" in self.loss_types
        return Terms(
            z=self.beta * (s_chosen - s_rejected) - pairs.margin,
            mean_z=self.beta * mean - pairs.margin,
            mean_difference=mean,
            chosen=ratios[0],
            rejected=ratios[1],
            difference=chosen - rejected,
            likelihood=token_cross_entropy(pairs.chosen, pairs.columns["sft_scale"]) if wanted else None,
            columns=pairs.columns,
            beta=self.beta,
            smoothing=self.label_smoothing,
            tau=self.discopop_tau,
        )

    def _logps(self, pairs: Pairs) -> "list[tuple[torch.Tensor, torch.Tensor]]":
        """Log-probabilities of chosen and rejected under policy and reference; the tail weighs ``ld_alpha``."""
        sides = (pairs.chosen, pairs.rejected)
        if self.ld_alpha is None:
            return [(side.logp, side.ref) for side in sides]
        shared = pairs.chosen.n_tokens.minimum(pairs.rejected.n_tokens)
        found = []
        for side in sides:
            assert side.ref_tokens is not None
            weights = _tail_weights(side, shared, self.ld_alpha)
            found.append(((weights * side.tokens).sum(1), (weights * side.ref_tokens).sum(1)))
        return found

    def batch_columns(self) -> tuple[str, ...]:
        """What sorting the step's pairs, or counting their tokens, tells each of them."""
        names: dict[LossType, tuple[str, ...]] = {
            "aot": ("aot_reference",),
            "aot_unpaired": ("aot_rejected", "aot_chosen"),
            "sft": ("sft_scale",),
        }
        return tuple(column for name in self.loss_types for column in names.get(name, ()))

    @property
    def statistics_of_lengths(self) -> bool:
        """`sft` counts tokens; the others sort log-probabilities."""
        return not set(self.loss_types) & SORTED

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """The columns of ``batch_columns``, (n,)."""
        found = {}
        if "sft" in self.loss_types:
            found["sft_scale"] = tokens_scale(pairs, soft_labels=self.soft_labels)
        if self.statistics_of_lengths:
            return found
        (chosen, ref_chosen), (rejected, ref_rejected) = self._logps(pairs)
        if "aot" in self.loss_types:
            found["aot_reference"] = _of_same_rank(chosen - rejected, ref_chosen - ref_rejected)
        if "aot_unpaired" in self.loss_types:
            found["aot_rejected"] = _of_same_rank(chosen - ref_chosen, rejected - ref_rejected)
            found["aot_chosen"] = _of_same_rank(rejected - ref_rejected, chosen - ref_chosen)
        return found


def _tail_weights(side: Sequences, shared: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """1 for the first ``shared`` tokens of a side, ``alpha`` for those after them, 0 past its end, (n, T)."""
    import torch

    places = torch.arange(side.tokens.shape[1], device=side.tokens.device)
    weights = torch.where(places[None] < shared[:, None], 1.0, alpha)
    return (weights * side.mask).to(side.tokens)


def _of_same_rank(values: "torch.Tensor", others: "torch.Tensor") -> "torch.Tensor":
    """For each of the values, (n,), the one of ``others`` with the same rank."""
    return others.sort().values[values.argsort(stable=True).argsort()]


def _own_chance(side: Sequences) -> "torch.Tensor":
    """exp of the mean over tokens of log p - log sum p^2, (n,), without gradient."""
    excess = (side.tokens - side.stats["log_p2"]) * side.mask
    return (excess.sum(1) / side.n_tokens.clamp(min=1)).exp().detach()
