"""Answers of models that see: through the model's own `generate`, which knows where its images belong."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.models.vision import Seen, vision_inputs

Choose = Callable[[Any, Any], Any]
"""The next token of each row, (rows,), from logits (rows, vocabulary) and random numbers (rows,)."""


def generate_seen(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    seen: Sequence[Seen | None],
    draws: Sequence[NDArray[np.float64]],
    choose: Choose,
    max_new_tokens: int,
    batch_size: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """Token ids of one answer for each prompt, in the order given; the last is the stop token if one was drawn. The
    token that stands for an image is never drawn.

    Args:
        prompts: token ids of each, as a `Sight` gives them.
        seen: the images of each.
        draws: random numbers in [0, 1) of each answer, one a token.

    Raises:
        SightError: an image cannot be opened.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        noise = np.stack([draws[i] for i in batch])
        asked = [(prompts[i], seen[i]) for i in batch]
        found = _batch(model, tokenizer, asked, noise, choose, max_new_tokens)
        for i, ids in zip(batch, found, strict=True):
            answers[i] = ids
        if on_progress:
            on_progress(start + len(batch), len(order))
    return answers


def _batch(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[Sequence[int], Seen | None]],
    noise: NDArray[np.float64],
    choose: Choose,
    max_new_tokens: int,
) -> list[list[int]]:
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    pad = tokenizer.pad_token_id
    width = max(len(ids) for ids, _ in prompts)
    left = [width - len(ids) for ids, _ in prompts]
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * n + list(each) for n, (each, _) in zip(left, prompts, strict=True)], device=device)
    mask = torch.tensor([[0] * n + [1] * (width - n) for n in left], device=device)
    uniforms = torch.from_numpy(noise).to(device)
    placeholder = torch.tensor([model.config.image_token_id], device=device)

    class Chosen(LogitsProcessor):
        """Leaves one token possible: the one that this answer's own random number picks."""

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            # A drawn placeholder would be a place without an image when the answer is read again.
            scores = scores.index_fill(1, placeholder, -torch.inf)
            picked = choose(scores, uniforms[:, input_ids.shape[1] - width])
            return torch.full_like(scores, -torch.inf).scatter(1, picked[:, None], 0.0)

    with torch.inference_mode():
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            **vision_inputs([each for _, each in prompts], width, model, left=left),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            logits_processor=LogitsProcessorList([Chosen()]),
        )
    stop = model.generation_config.eos_token_id
    stops = {*(stop if isinstance(stop, list) else [stop]), tokenizer.eos_token_id}
    return [_until(row, stops) for row in found[:, width:].tolist()]


def _until(ids: list[int], stops: set[int | None]) -> list[int]:
    """Up to and with the first stop token."""
    for place, each in enumerate(ids):
        if each in stops:
            return ids[: place + 1]
    return ids
