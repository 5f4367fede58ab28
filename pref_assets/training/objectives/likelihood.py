"""The likelihood term that several objectives add: cross-entropy of the chosen side, per token of the step."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pref_assets.training.objectives.kernel import Pairs, Sequences


def tokens_scale(pairs: "Pairs", *, soft_labels: bool) -> "torch.Tensor":
    """n over the n pairs' tokens on their better side, (n,): the mean over pairs of -log pi times this is the mean
    cross-entropy per token.

    Which side is better is weighed by ``p_chosen`` with ``soft_labels``; otherwise it is the chosen one.
    """
    import torch

    p = pairs.p_chosen if soft_labels else torch.ones_like(pairs.p_chosen)
    tokens = p * pairs.chosen.n_tokens + (1 - p) * pairs.rejected.n_tokens
    return (len(tokens) / tokens.sum()).expand(len(tokens))


def token_cross_entropy(sequences: "Sequences", scale: "torch.Tensor") -> "torch.Tensor":
    """Each sequence's share, (n,), of the mean cross-entropy per token; ``scale`` comes from ``tokens_scale``."""
    return -sequences.logp * scale
