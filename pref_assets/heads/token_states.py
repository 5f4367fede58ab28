"""States of a frozen language model on the tokens that set two answers apart."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pref_assets.training.objectives.token_weights import edited

Floats = NDArray[np.float64]
Scope = Literal["edited", "all"]
_MOST_KEPT = 100_000
"""Sums kept in a process; 300 MB at width 384."""


def token_labels(rejected: Sequence[int], better: Sequence[int]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Labels of the tokens of a rejected answer and of its edited form (Xu et al., arXiv:2406.02756): -1 for those that
    the edit removes or replaces, +1 for those that it adds or puts in their place, 0 for those that stay."""
    worse_marks, better_marks = edited(rejected, better)
    return -np.array(worse_marks, np.int8), np.array(better_marks, np.int8)


@dataclass(frozen=True)
class Reader:
    """A frozen model that gives every token a state, and how it reads texts. Runs one text at a time, so that a state
    depends on its text alone."""

    model: Any
    tokenizer: Any
    max_length: int

    def ids(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def states(self, prompt: Sequence[int], answer: Sequence[int]) -> Floats:
        """States (len(answer), d) of the answer's tokens after the prompt. Where both are longer than ``max_length``
        the prompt loses its start, and an answer that is longer by itself its end, whose tokens have states of zero."""
        import torch

        first = [id_ for id_ in (self.tokenizer.cls_token_id,) if id_ is not None]
        last = [self.tokenizer.sep_token_id] if self.tokenizer.sep_token_id is not None else []
        room = self.max_length - len(first) - len(last)
        read = list(answer[:room])
        before = list(prompt[max(0, len(prompt) - (room - len(read))) :]) if room > len(read) else []
        ids = [*first, *before, *read, *last]
        found = np.zeros((len(answer), self.model.config.hidden_size))
        if not read:
            return found
        with torch.inference_mode():
            batch = torch.tensor([ids], device=self.model.device)
            states = self.model(input_ids=batch).last_hidden_state[0].double().cpu().numpy()
        start = len(first) + len(before)
        found[: len(read)] = states[start : start + len(read)]
        return found


@cache
def reader(reference: str, max_length: int) -> Reader:
    """The model in eval mode and float32, on the best device; loaded once in a process.

    Raises:
        ModelNotFoundError: the model is not there.
        ValueError: it cannot read ``max_length`` tokens.
    """
    import torch
    from transformers import AutoModel

    from pref_assets.models.loading import load_tokenizer, local_path, pick_device

    model = AutoModel.from_pretrained(local_path(reference), dtype=torch.float32)
    limit = getattr(model.config, "max_position_embeddings", max_length)
    if max_length > limit:
        raise ValueError(f"max_length {max_length}: {reference} reads at most {limit} tokens")
    return Reader(model.to(pick_device()).eval(), load_tokenizer(reference), max_length)


class _Sums:
    """Sums of states by what they were made from. Every fold and member of a head asks for the same ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], tuple[Floats, Floats, int, int]] = OrderedDict()

    def of(
        self, reference: str, max_length: int, scope: Scope, texts: tuple[str, str, str]
    ) -> tuple[Floats, Floats, int, int]:
        key = (reference, max_length, scope, *texts)
        if key not in self._kept:
            self._kept[key] = _sums(reader(reference, max_length), scope, texts)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]


_SUMS = _Sums()


def marked_sums(
    reference: str, max_length: int, scope: Scope, texts: Sequence[tuple[str, str, str]]
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Sums of the states of marked tokens of both answers, (n, d) each, and how many were marked, (n, 2).

    Args:
        scope: marks the tokens that an edit of one answer into the other touches, or all.
        texts: (prompt, chosen, rejected) of each pair.

    Two forward passes for a pair, once in a process; an edit is found in quadratic time of its length at worst.
    """
    found = [_SUMS.of(reference, max_length, scope, each) for each in texts]
    width = reader(reference, max_length).model.config.hidden_size
    chosen, rejected = (np.array([each[side] for each in found], np.float64).reshape(-1, width) for side in (0, 1))
    counts = np.array([each[2:] for each in found], np.int64).reshape(-1, 2)
    return chosen, rejected, counts


def _sums(found: Reader, scope: Scope, texts: tuple[str, str, str]) -> tuple[Floats, Floats, int, int]:
    prompt, chosen, rejected = (found.ids(text) for text in texts)
    marks = edited(chosen, rejected) if scope == "edited" else ([True] * len(chosen), [True] * len(rejected))
    sums = []
    for answer, marked in zip((chosen, rejected), marks, strict=True):
        rows = np.flatnonzero(np.array(marked, bool))
        sums.append(
            found.states(prompt, answer)[rows].sum(axis=0) if len(rows) else np.zeros(found.model.config.hidden_size)
        )
    return sums[0], sums[1], sum(marks[0]), sum(marks[1])
