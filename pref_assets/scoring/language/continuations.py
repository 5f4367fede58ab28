"""Log-probabilities of many continuations of one text, which the model reads once."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.training.data import Encoded, buckets
from pref_assets.training.logprobs import sequence_logps, shares_prompts, token_logps

Ids = Sequence[int]


def continuation_logps(
    model: Any, texts: Sequence[Ids], continuations: Sequence[Ids], batch_tokens: int
) -> NDArray[np.float64]:
    """Sum of log p(token | text, earlier tokens) of every continuation of every text, in nats.

    A text is read once. Its continuations stand in one row behind it where the architecture allows
    (`logprobs.shares_prompts`); elsewhere they continue from its cached keys and values.

    Args:
        model: a causal language model.
        texts: ``n`` token sequences of at least two tokens.
        continuations: ``k`` sequences of at least one token.
        batch_tokens: tokens, padding included, that go through the model together; a row above it goes alone.

    Returns:
        Shape (n, k).

    Raises:
        ValueError: a text or a continuation is too short.
    """
    if min(map(len, texts), default=2) < 2 or min(map(len, continuations), default=1) < 1:
        raise ValueError("a text needs two tokens and a continuation one")
    if not shares_prompts(model):
        return np.array([_from_cache(model, text, continuations, batch_tokens) for text in texts])
    return _in_rows(model, texts, continuations, batch_tokens)


def _in_rows(model: Any, texts: Sequence[Ids], continuations: Sequence[Ids], batch_tokens: int) -> NDArray[np.float64]:
    """The numbers of all texts, (n, k), a row of the model's input for each."""
    import torch

    found = np.zeros((len(texts), len(continuations)))
    k, total = len(continuations), sum(map(len, continuations))
    for batch in buckets([len(text) + total for text in texts], batch_tokens):
        encoded = [Encoded((*texts[i], *each), len(texts[i]), truncated=False) for i in batch for each in continuations]
        with torch.inference_mode():
            sums = sequence_logps(model, encoded, [range(row * k, (row + 1) * k) for row in range(len(batch))])
        found[batch] = sums.double().cpu().numpy().reshape(len(batch), k)
    return found


def _from_cache(model: Any, text: Ids, continuations: Sequence[Ids], batch_tokens: int) -> NDArray[np.float64]:
    """The numbers of one text, (k,). Its last token is read with the continuations: it predicts their first."""
    import torch
    from transformers import DynamicCache

    found = np.zeros(len(continuations))
    order = sorted(range(len(continuations)), key=lambda i: (-len(continuations[i]), i))
    rows = max(1, batch_tokens // (len(text) + len(continuations[order[0]])))
    device = model.device
    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        model(input_ids=torch.tensor([text[:-1]], device=device), past_key_values=cache, use_cache=True)
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            width = len(continuations[batch[0]])
            read = torch.zeros(len(batch), width, dtype=torch.long)
            targets = torch.full((len(batch), width), -1)
            for row, i in enumerate(batch):
                n = len(continuations[i])
                read[row, :n] = torch.tensor([text[-1], *continuations[i][:-1]])
                targets[row, :n] = torch.tensor(continuations[i])
            own = copy.deepcopy(cache)
            own.batch_repeat_interleave(len(batch))
            targets = targets.to(device)
            # Padding stands on the right, where no token of a continuation looks; so no mask is needed.
            logits = model(input_ids=read.to(device), past_key_values=own, use_cache=True).logits
            known = targets >= 0
            numbers = torch.zeros(targets.shape, device=device)
            numbers[known] = token_logps(logits[known].float(), targets[known])[:, 0]
            found[batch] = numbers.sum(1).double().cpu().numpy()
    return found
