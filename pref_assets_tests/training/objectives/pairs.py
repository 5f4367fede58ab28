"""Pairs made of plain numbers."""

from collections.abc import Sequence

import torch

from pref_assets.training.objectives.kernel import Pairs, Sequences, sequences_of

Numbers = float | Sequence[float]


def tensor(values: Numbers, n: int = 1) -> torch.Tensor:
    """(n,) float64."""
    return torch.tensor([values] * n if isinstance(values, (int, float)) else list(values), dtype=torch.float64)


def side(logp: Numbers, ref: Numbers = 0.0, n_tokens: Numbers = 1) -> Sequences:
    """Completions of which only sums are known."""
    n = len(logp) if isinstance(logp, Sequence) else 1
    return sequences_of(tensor(logp, n), tensor(ref, n), tensor(n_tokens, n))


def make_pairs(
    chosen: Numbers,
    rejected: Numbers,
    ref_chosen: Numbers = 0.0,
    ref_rejected: Numbers = 0.0,
    p: Numbers = 1.0,
    n_chosen: Numbers = 1,
    n_rejected: Numbers = 1,
    margin: Numbers = 0.0,
    columns: dict[str, Numbers] | None = None,
    parts: dict[str, Sequences] | None = None,
) -> Pairs:
    """Pairs of given log-probabilities, each a number or a list of n."""
    n = len(chosen) if isinstance(chosen, Sequence) else 1
    return Pairs(
        side(chosen, ref_chosen, n_chosen),
        side(rejected, ref_rejected, n_rejected),
        tensor(p, n),
        tensor(margin, n),
        {name: tensor(values, n) for name, values in (columns or {}).items()},
        parts or {},
    )
