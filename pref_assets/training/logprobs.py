"""Log-probabilities of completions, computed once each and the same under any batching."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.training.data import Encoded, buckets
from pref_assets.training.errors import TrainingDataError

if TYPE_CHECKING:
    import torch


def completion_logps(
    model: Any,
    encoded: Sequence[Encoded],
    batch_tokens: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum of log p(token | what precedes it) over each completion, in nats.

    Batches hold sequences of similar length and at most ``batch_tokens`` tokens, padding included. On a CPU some two
    thousand are fastest: larger activations leave the cache.

    Args:
        model: a causal language model; runs on its own device without gradients.
        encoded: ``n`` sequences.
        on_progress: called with (sequences done, n) after each batch.

    Returns:
        Log-probabilities, shape (n,), and completion token counts, shape (n,), in the order of ``encoded``.

    Raises:
        TrainingDataError: a sequence has no prompt token or no completion token; the message has its index.
    """
    import torch

    empty = [i for i, e in enumerate(encoded) if not 0 < e.n_prompt < len(e.ids)]
    if empty:
        raise TrainingDataError(f"sequences {empty[:10]} have no prompt token or no completion token")
    logps = np.zeros(len(encoded), np.float64)
    done = 0
    with torch.inference_mode():
        for batch in buckets([len(e.ids) for e in encoded], batch_tokens):
            logps[batch] = sequence_logps(model, [encoded[i] for i in batch]).double().cpu().numpy()
            done += len(batch)
            if on_progress:
                on_progress(done, len(encoded))
    return logps, np.array([e.n_completion for e in encoded], np.int64)


def sequence_logps(model: Any, batch: Sequence[Encoded]) -> "torch.Tensor":
    """Completion log-probabilities of one padded batch, shape (len(batch),) float32, differentiable.

    The language-model head, most of a small model's logits memory and a fifth of its arithmetic, runs on the
    positions that predict a completion token and on no other.
    """
    import torch

    device = next(model.parameters()).device
    width = max(len(e.ids) for e in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    attention = torch.zeros(len(batch), width, dtype=torch.long)
    predicts = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, e in enumerate(batch):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        attention[row, : len(e.ids)] = 1
        predicts[row, e.n_prompt - 1 : len(e.ids) - 1] = True
    targets = ids.roll(-1, dims=1)[predicts].to(device)
    padded = not bool(attention.all())
    with _head_on(model, predicts.to(device)):
        logits = model(
            input_ids=ids.to(device), attention_mask=attention.to(device) if padded else None, use_cache=False
        ).logits[0]
    token_logps = -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    rows = torch.arange(len(batch)).repeat_interleave(predicts.sum(1)).to(device)
    return torch.zeros(len(batch), device=device).index_add(0, rows, token_logps)


@contextmanager
def _head_on(model: Any, positions: "torch.Tensor") -> Iterator[None]:
    """Makes the model return logits of shape (1, positions.sum(), vocabulary) instead of all of them.

    A hook in front of the head, rather than a call of it, keeps whatever the architecture does to logits afterwards
    (scaling, soft capping).
    """
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, args: (args[0][positions][None], *args[1:]))
    try:
        yield
    finally:
        handle.remove()
