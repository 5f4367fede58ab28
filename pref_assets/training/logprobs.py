"""Log-probabilities of completions, computed once each and the same under any batching."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.models.vision import Seen, sees, vision_inputs
from pref_assets.training.data import Encoded, buckets
from pref_assets.training.errors import TrainingDataError

if TYPE_CHECKING:
    import torch

PerToken = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Numbers of completion tokens, float32 (tokens, width), from the logits that predict them, float32 (tokens,
vocabulary), and their ids, (tokens,)."""

SHARING_ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral", "smollm3")
"""Model types whose attention takes any mask and any position ids; each is tested against plain sequences."""
SHARING_FAMILIES = ("llava", "llava_onevision", "smolvlm", "internvl")
"""Families that see, around such a language model, that are tested to take both: images of a prompt are read once for
all its completions. Others (positions in three dimensions, images seen in both directions) have a row a completion."""


def completion_logps(
    model: Any,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum of log p(token | what precedes it) over each completion, in nats.

    Completions of one prompt share its computation where the architecture allows; batches hold rows of similar length
    and at most ``batch_tokens`` tokens, padding included. On a CPU some two thousand are fastest: larger activations
    leave the cache.

    Args:
        model: a causal language model; runs on its own device without gradients.
        encoded: ``n`` sequences.
        on_progress: called with (sequences done, n) after each batch.

    Returns:
        Log-probabilities, shape (n,), and completion token counts, shape (n,), in the order of ``encoded``.

    Raises:
        TrainingDataError: a sequence has no prompt token or no completion token; the message has its index.
    """
    sums = completion_sums(model, encoded, batch_tokens, token_logps, 1, on_progress)
    return sums[:, 0], np.array([e.n_completion for e in encoded], np.int64)


def completion_sums(
    model: Any,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    per_token: "PerToken",
    width: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Sums of any per-token numbers over each completion, shape (n, width); the rest as in `completion_logps`.

    Args:
        per_token: gives ``width`` numbers for each completion token.
    """
    sums = np.zeros((len(encoded), width), np.float64)

    def keep(members: list[int], batch: list[Encoded], groups: list[list[int]]) -> None:
        sums[members] = sequence_sums(model, batch, per_token, groups).double().cpu().numpy()

    _in_batches(model, encoded, batch_tokens, keep, on_progress)
    return sums


def completion_token_logps(
    model: Any,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Log-probability of each completion token, one array a sequence; the rest as in `completion_logps`."""
    import torch

    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(encoded)

    def keep(members: list[int], batch: list[Encoded], groups: list[list[int]]) -> None:
        tokens = token_numbers(model, batch, token_logps, groups)
        # Tokens lie group by group; within a sequence they are in their order.
        order = torch.argsort(tokens.owners, stable=True)
        values = tokens.numbers[order, 0].float().cpu().numpy()
        ends = np.cumsum([e.n_completion for e in batch])
        for i, (part, end) in enumerate(zip(batch, ends, strict=True)):
            found[members[i]] = values[end - part.n_completion : end]

    _in_batches(model, encoded, batch_tokens, keep, on_progress)
    return found


def _in_batches(
    model: Any,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    keep: Callable[[list[int], list[Encoded], list[list[int]]], None],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Calls ``keep(indices, sequences, groups)`` on batches that hold every sequence once, without gradients."""
    import torch

    empty = [i for i, e in enumerate(encoded) if not 0 < e.n_prompt < len(e.ids)]
    if empty:
        raise TrainingDataError(f"sequences {empty[:10]} have no prompt token or no completion token")
    groups = _groups(encoded, batch_tokens) if shares_prompts(model) else [[i] for i in range(len(encoded))]
    done = 0
    with torch.inference_mode():
        for bucket in buckets([row_length([encoded[i] for i in group]) for group in groups], batch_tokens):
            members = [i for g in bucket for i in groups[g]]
            keep(members, [encoded[i] for i in members], _consecutive(len(groups[g]) for g in bucket))
            done += len(members)
            if on_progress:
                on_progress(done, len(encoded))


def shares_prompts(model: Any) -> bool:
    """Whether several completions of a prompt can stand in one row of the model's input."""
    config = model.config
    text = config.get_text_config()
    return (
        (not sees(config) or config.model_type in SHARING_FAMILIES)
        and text.model_type in SHARING_ARCHITECTURES
        and text._attn_implementation in ("sdpa", "eager")
        and set(getattr(text, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and getattr(text, "sliding_window", None) is None
    )


def row_length(group: Sequence[Encoded]) -> int:
    """Tokens of a row that holds a prompt once and the group's completions after it."""
    return group[0].n_prompt + sum(e.n_completion for e in group)


def _groups(encoded: Sequence[Encoded], limit: int) -> list[list[int]]:
    """Indices of sequences with the same prompt tokens, as many in a group as ``limit`` tokens hold."""
    groups: list[list[int]] = []
    lengths: list[int] = []
    open_group: dict[tuple[tuple[int, ...], Seen | None], int] = {}
    for i, e in enumerate(encoded):
        prompt = (e.ids[: e.n_prompt], e.seen)
        g = open_group.get(prompt)
        if g is None or lengths[g] + e.n_completion > limit:
            open_group[prompt] = len(groups)
            groups.append([i])
            lengths.append(len(e.ids))
        else:
            groups[g].append(i)
            lengths[g] += e.n_completion
    return groups


def _consecutive(sizes: Iterator[int] | Sequence[int]) -> list[list[int]]:
    groups, start = [], 0
    for size in sizes:
        groups.append(list(range(start, start + size)))
        start += size
    return groups


def token_logps(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Log-probability of each target, shape (tokens, 1), in nats."""
    import torch

    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")[:, None]


def token_logps_and_squares(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """(log p(target), log of the sum of squared probabilities), shape (tokens, 2)."""
    import torch

    logps = torch.log_softmax(logits, -1)
    return torch.stack([logps.gather(1, targets[:, None])[:, 0], torch.logsumexp(2 * logps, -1)], 1)


def sequence_logps(
    model: Any, batch: Sequence[Encoded], groups: Sequence[Sequence[int]] | None = None
) -> "torch.Tensor":
    """Completion log-probabilities of one padded batch, shape (len(batch),) float32, differentiable; arguments as of
    `sequence_sums`."""
    return sequence_sums(model, batch, token_logps, groups)[:, 0]


def sequence_sums(
    model: Any, batch: Sequence[Encoded], per_token: "PerToken", groups: Sequence[Sequence[int]] | None = None
) -> "torch.Tensor":
    """Sums of per-token numbers over the completions of one padded batch, (len(batch), width) float32, differentiable;
    arguments as of `token_numbers`."""
    import torch

    found = token_numbers(model, batch, per_token, groups)
    sums = torch.zeros(len(batch), found.numbers.shape[1], device=found.numbers.device)
    return sums.index_add(0, found.owners, found.numbers)


@dataclass(frozen=True)
class TokenNumbers:
    """Numbers of the N completion tokens of a batch.

    Attributes:
        numbers: (N, width) float32, differentiable.
        owners: which sequence of the batch a token is of, (N,).
        places: its place in the completion, from 0, (N,).
        states: the state that predicts it, (N, hidden).
    """

    numbers: "torch.Tensor"
    owners: "torch.Tensor"
    places: "torch.Tensor"
    states: "torch.Tensor"


def token_numbers(
    model: Any, batch: Sequence[Encoded], per_token: "PerToken", groups: Sequence[Sequence[int]] | None = None
) -> TokenNumbers:
    """Numbers of every completion token of one padded batch.

    The language-model head, most of a small model's logits memory and a fifth of its arithmetic, runs on the
    positions that predict a completion token and on no other.

    Args:
        model: a causal language model.
        batch: sequences with at least one prompt and one completion token.
        per_token: the numbers of each completion token.
        groups: indices of sequences that share a row, the same prompt tokens in each; every index once. Each
            completion attends to the prompt and to itself, at the positions it would have alone (prefix sharing,
            arXiv 2410.20305), so the numbers stay the same. By default each sequence has its own row.
    """
    import torch

    device = next(model.parameters()).device
    groups = groups if groups is not None else [[i] for i in range(len(batch))]
    width = max(row_length([batch[i] for i in group]) for group in groups)
    ids = np.zeros((len(groups), width), np.int64)
    positions = np.zeros((len(groups), width), np.int64)
    # 0 is the prompt, 1, 2, ... its completions, -1 padding.
    segments = np.full((len(groups), width), -1, np.int64)
    sources, targets, owners, places = [], [], [], []
    for row, group in enumerate(groups):
        n_prompt = batch[group[0]].n_prompt
        ids[row, :n_prompt] = batch[group[0]].ids[:n_prompt]
        positions[row, :n_prompt] = np.arange(n_prompt)
        segments[row, :n_prompt] = 0
        start = n_prompt
        for segment, i in enumerate(group, 1):
            n, completion = batch[i].n_completion, batch[i].completion_ids
            ids[row, start : start + n] = completion
            positions[row, start : start + n] = np.arange(n_prompt, n_prompt + n)
            segments[row, start : start + n] = segment
            sources.append([row * width + n_prompt - 1, *range(row * width + start, row * width + start + n - 1)])
            targets.append(completion)
            owners.append(np.full(n, i))
            places.append(np.arange(n))
            start += n
    states: list[torch.Tensor] = []
    with head_on(model, torch.from_numpy(np.concatenate(sources)).to(device), states):
        logits = model(
            input_ids=torch.from_numpy(ids).to(device),
            use_cache=False,
            **vision_inputs([batch[group[0]].seen for group in groups], width, model),
            **_attention(torch.from_numpy(segments).to(device), torch.from_numpy(positions).to(device)),
        ).logits[0]
    numbers = per_token(logits.float(), torch.from_numpy(np.concatenate(targets)).to(device))
    owner, place = (torch.from_numpy(np.concatenate(each)).to(device) for each in (owners, places))
    return TokenNumbers(numbers, owner, place, states[0])


def _attention(segments: "torch.Tensor", positions: "torch.Tensor") -> dict[str, "torch.Tensor"]:
    """Mask and positions as the model takes them: the simplest that say what the segments (rows, width) say."""
    import torch

    if int(segments.max()) <= 1:
        return {} if bool((segments >= 0).all()) else {"attention_mask": (segments >= 0).long()}
    width = segments.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=segments.device).tril()
    key, query = segments[:, None, None, :], segments[:, None, :, None]
    return {"attention_mask": causal & ((key == 0) | (key == query)), "position_ids": positions}


@contextmanager
def head_on(model: Any, positions: "torch.Tensor", states: "list[torch.Tensor]") -> Iterator[None]:
    """Makes the model return logits of shape (1, len(positions), vocabulary) instead of all of them, and appends the
    states they come from, (len(positions), hidden), to ``states``.

    ``positions`` are indices into the flattened (rows * width) states and may repeat. A hook in front of the head,
    rather than a call of it, keeps whatever the architecture does to logits afterwards (scaling, soft capping).
    """
    head = model.get_output_embeddings()

    def pick(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        picked = args[0].flatten(0, 1)[positions]
        states.append(picked)
        return (picked[None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
