"""Which tokens of two completions set them apart, and log-ratios over some tokens only."""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from pref_assets.training.objectives.kernel import Pairs, Sequences

if TYPE_CHECKING:
    import torch

Marks = tuple[list[bool], list[bool]]
"""For each token of two completions, whether it is marked."""


def edited(one: Sequence[int], other: Sequence[int]) -> Marks:
    """Marks tokens that an edit of one completion into the other removes, adds or replaces.

    Ratcliff and Obershelp's matching (``difflib``), the same whichever comes first. Time is quadratic in the longer
    completion at worst; what both begin and end with costs nothing.
    """
    swap = (len(other), list(other)) < (len(one), list(one))
    short, long = (list(other), list(one)) if swap else (list(one), list(other))
    start = shared_start(short, long)
    end = shared_start(short[start:][::-1], long[start:][::-1])
    inner_short, inner_long = (each[start : len(each) - end] for each in (short, long))
    marks = [False] * len(short), [False] * len(long)
    for tag, a, b, c, d in SequenceMatcher(None, inner_short, inner_long, autojunk=False).get_opcodes():
        if tag != "equal":
            marks[0][start + a : start + b] = [True] * (b - a)
            marks[1][start + c : start + d] = [True] * (d - c)
    return (marks[1], marks[0]) if swap else marks


def after_divergence(one: Sequence[int], other: Sequence[int]) -> Marks:
    """Marks tokens from the first one on in which the completions differ."""
    start = shared_start(one, other)
    return [i >= start for i in range(len(one))], [i >= start for i in range(len(other))]


def shared_start(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def marked(pairs: Pairs, mark: Callable[[Sequence[int], Sequence[int]], Marks]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Marks of both sides of each pair, boolean (n, T) each, False past the end."""
    import torch

    sides = pairs.chosen.ids, pairs.rejected.ids
    found = [torch.zeros(ids.shape, dtype=torch.bool) for ids in sides]
    rows = zip(*([[i for i in row if i >= 0] for row in ids.tolist()] for ids in sides), strict=True)
    for row, tokens in enumerate(rows):
        for masks, marks in zip(found, mark(*tokens), strict=True):
            masks[row, : len(marks)] = torch.tensor(marks, dtype=torch.bool)
    return found[0].to(sides[0].device), found[1].to(sides[1].device)


def weighted_ratio(side: Sequences, weights: "torch.Tensor") -> "torch.Tensor":
    """Sum over tokens of weight (log policy - log reference), (n,), for weights (n, T).

    Raises:
        ValueError: the reference's log-probabilities of tokens are not there.
    """
    if side.ref_tokens is None:
        raise ValueError("no reference log-probability of each token; set `tokens: true` in its reference_logps")
    return (weights.to(side.tokens.dtype) * (side.tokens - side.ref_tokens)).sum(1)
