"""Sampling of answers, the same whatever the batch: each answer has random numbers of its own."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.models.seen_generation import generate_seen
from pref_assets.models.vision import Seen, Sight
from pref_assets.pairs.messages import chat, shown_images
from pref_assets.settings import Settings

Conversation = Sequence[dict[str, str]]


class Sampling(Settings):
    """How answers are drawn."""

    max_new_tokens: int = Field(default=48, ge=1)
    """Answers are cut after this many tokens."""
    temperature: float = Field(default=0.9, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus: the smallest set of most likely tokens that holds this probability."""
    seed: int = Field(default=0, ge=0)
    """Seed of every draw."""
    batch_size: int = Field(default=64, ge=1)
    """Answers that grow together; changes speed and memory only."""


def generate(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """One answer for each conversation (turns as the tables hold them, last turn the user's), in the order given.

    ``tokenizer`` may be the `Sight` of a model that sees.

    The same conversation may be given several times for several answers. The random numbers of an answer depend on
    the seed, the conversation and how many times it occurred before, never on its neighbours, so neither the batch
    size nor the rest of the list changes an answer (up to float rounding of the logits).
    """
    return [each.text for each in draw_answers(model, tokenizer, conversations, sampling, on_progress)]


@dataclass(frozen=True)
class Drawn:
    """An answer, how many tokens the model drew for it (its stop token included), and whether it stopped by itself."""

    text: str
    n_tokens: int
    finished: bool


def draw_answers(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Drawn]:
    """As ``generate``, with what is known of each answer."""
    occurrence: dict[str, int] = defaultdict(int)
    draws = []
    for conversation in conversations:
        text = json.dumps([[turn["role"], turn["content"]] for turn in conversation])
        draws.append(_uniforms(sampling, text, occurrence[text]))
        occurrence[text] += 1
    prompts, seen = _prompts(tokenizer, conversations)
    tokenizer = tokenizer.tokenizer if isinstance(tokenizer, Sight) else tokenizer
    tokens = generate_ids(model, tokenizer, prompts, draws, sampling, on_progress, seen)
    stop = _stop_ids(model, tokenizer)
    ended = [ids[-1] in stop for ids in tokens]
    said = [ids[:-1] if done else ids for ids, done in zip(tokens, ended, strict=True)]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
    return [Drawn(text, len(ids), done) for text, ids, done in zip(texts, tokens, ended, strict=True)]


def generate_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[NDArray[np.float64]],
    sampling: Sampling,
    on_progress: Callable[[int, int], None] | None = None,
    seen: Sequence[Seen | None] | None = None,
) -> list[list[int]]:
    """Token ids of one answer for each prompt, in the order given; the last is the stop token where one was drawn.

    Args:
        model: a causal language model in eval mode.
        tokenizer: gives the stop tokens and the padding.
        prompts: token ids of each, n of them; equal ones share the computation of the prompt.
        draws: random numbers in [0, 1) of each answer, one a token, (max_new_tokens,) each.
        sampling: how they are drawn; its seed is not used.
        on_progress: called with (answers done, n).
        seen: of a model that sees, the images of each prompt; else null.
    """
    if seen is not None:
        choose = partial(_choose, sampling=sampling)
        limits = sampling.max_new_tokens, sampling.batch_size
        return generate_seen(model, tokenizer, prompts, seen, draws, choose, *limits, on_progress)
    # Longest first: memory is tried at its worst at once, and equal conversations meet in one batch.
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    stop = _stop_ids(model, tokenizer)
    for start in range(0, len(order), sampling.batch_size):
        batch = order[start : start + sampling.batch_size]
        noise = np.stack([draws[i] for i in batch])
        asked = [list(prompts[i]) for i in batch]
        tokens = _generate_batch(model, asked, noise, sampling, stop, tokenizer.pad_token_id)
        for i, ids in zip(batch, tokens, strict=True):
            answers[i] = ids
        if on_progress:
            on_progress(start + len(batch), len(order))
    return answers


def _prompts(reader: Any, conversations: Sequence[Conversation]) -> tuple[list[list[int]], list[Seen | None] | None]:
    """Token ids of each conversation up to where the assistant begins, and its images if the model sees.

    Raises:
        SightError: an image cannot be opened, or has no place.
    """
    if isinstance(reader, Sight):
        found = [reader.prompt(reader.render(asked, ask=True), shown_images(asked)) for asked in conversations]
        return [ids for ids, _ in found], [seen for _, seen in found]
    return _encode(reader, conversations), None


def _encode(tokenizer: Any, conversations: Sequence[Conversation]) -> list[list[int]]:
    texts = []
    for conversation in conversations:
        messages, tools = chat(conversation)
        texts.append(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True))
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def _uniforms(sampling: Sampling, conversation: str, occurrence: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), one a token."""
    name = f"{sampling.seed}\0{occurrence}\0{conversation}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).random(sampling.max_new_tokens)


def _stop_ids(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {i for i in (*ids, tokenizer.eos_token_id) if i is not None}


def _generate_batch(
    model: Any, prompts: list[list[int]], noise: NDArray[np.float64], sampling: Sampling, stop: set[int], pad: int
) -> list[list[int]]:
    """Token ids of each answer, the stop token last. Equal prompts share one pass; finished rows leave."""
    import torch
    from transformers import DynamicCache

    distinct = sorted(set(map(tuple, prompts)))
    place = {prompt: i for i, prompt in enumerate(distinct)}
    width = max(map(len, distinct))
    device = model.device
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in distinct], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in distinct], device=device)
    uniforms = torch.from_numpy(noise).to(device)
    answers: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    with torch.inference_mode():
        cache = DynamicCache()
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = _forward(model, ids, mask, positions, cache)
        copies = torch.tensor([place[tuple(p)] for p in prompts], device=device)
        cache.batch_select_indices(copies)
        mask, logits, positions = mask[copies], logits[copies], positions[copies, -1:]
        for step in range(sampling.max_new_tokens):
            chosen = _choose(logits, uniforms[rows, step], sampling)
            going = [i for i, token in enumerate(chosen.tolist()) if token not in stop]
            for row, token in zip(rows, chosen.tolist(), strict=True):
                answers[row].append(token)
            if not going or step + 1 == sampling.max_new_tokens:
                break
            if len(going) < len(rows):
                alive = torch.tensor(going, device=device)
                cache.batch_select_indices(alive)
                mask, positions, chosen = mask[alive], positions[alive], chosen[alive]
                rows = [rows[i] for i in going]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            positions = positions + 1
            logits = _forward(model, chosen[:, None], mask, positions, cache)
    return answers


def _forward(model: Any, ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
    """Logits of the last position, (rows, vocabulary)."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]


def _choose(logits: Any, uniforms: Any, sampling: Sampling) -> Any:
    """The next token of each row: the most likely, or by inversion of the cumulative distribution at ``uniforms``."""
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        outside = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = probabilities.scatter(-1, tokens, ordered.masked_fill(outside, 0.0))
    # In the order of the vocabulary: sorted by probability, near-ties would swap with the rounding of the logits.
    cumulative = probabilities.cumsum(-1)
    index = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    return index[:, 0].clamp(max=logits.shape[-1] - 1)
