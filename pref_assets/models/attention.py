"""Where a model that sees looks while it writes: attention of answer tokens on the tokens of images."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pref_assets.models.vision import Sight, SightError

if TYPE_CHECKING:
    import torch

    from pref_assets.training.data import Encoded

Box = tuple[float, float, float, float]
Places = list[int]
"""Positions of tokens in a sequence."""
ROW_TOLERANCE = 2e-2
"""How far from 1 a row of attention may sum; bfloat16 rounds each of its numbers."""


def middle_layer(model: Any) -> int:
    """The layer, from 0, in the middle of the language model: 16 of 32."""
    return int(model.config.get_text_config().num_hidden_layers) // 2


def image_places(sight: Sight, encoded: "Encoded", alone: dict[str, int] | None = None) -> list[Places]:
    """Positions of the tokens of each image of a prompt, in order.

    How many tokens an image has is asked of the processor, image by image; of families that read an image alone in
    more detail, runs of tokens tell the images apart.

    Args:
        alone: how many tokens images have by themselves, by uri; what is asked is added.

    Raises:
        SightError: neither does.
    """
    if encoded.seen is None:
        return []
    token = sight.tokenizer.convert_tokens_to_ids(sight.processor.image_token)
    places = [place for place, each in enumerate(encoded.ids[: encoded.n_prompt]) if each == token]
    uris = encoded.seen.uris
    alone = {} if alone is None else alone
    for uri in uris:
        if uri not in alone:
            alone[uri] = sight.prompt(sight.processor.image_token, [uri])[0].count(token)
    if sum(alone[uri] for uri in uris) == len(places):
        found, start = [], 0
        for uri in uris:
            found.append(places[start : start + alone[uri]])
            start += alone[uri]
        return found
    runs: list[Places] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    if len(runs) != len(uris):
        raise SightError(f"{len(places)} image tokens in {len(runs)} runs cannot be told apart as {len(uris)} images")
    return runs


def box_places(places: Places, box: Box) -> tuple[Places, Places]:
    """The tokens of one image inside a box and outside it; the tokens are a square map, row by row, and one is where
    the middle of its patch is.

    Raises:
        SightError: the tokens make no square.
    """
    side = math.isqrt(len(places))
    if side * side != len(places):
        raise SightError(f"the {len(places)} tokens of an image are no square map, so that a part of it has no place")
    left, top, right, bottom = box
    inside: Places = []
    outside: Places = []
    for number, place in enumerate(places):
        x, y = (number % side + 0.5) / side, (number // side + 0.5) / side
        (inside if left <= x < right and top <= y < bottom else outside).append(place)
    return inside, outside


def masses(weights: "torch.Tensor", rows: slice, parts: Sequence[Places]) -> tuple[list[float], list[float]]:
    """Attention on each part: the mean over its tokens, and the sum; both are means over heads and rows.

    Sums grow with the number of tokens, means do not; a mean over many tokens hides a hit on few of them.

    Args:
        weights: attention of one layer, (heads, T, T), each row over all keys.
        rows: the tokens that look: those that predict the answer.
        parts: positions of each part's tokens, none empty.

    Raises:
        ValueError: a row does not sum to 1.
    """
    import torch

    looking = weights[:, rows].float()
    off = float((looking.sum(-1) - 1).abs().max())
    if off > ROW_TOLERANCE:
        raise ValueError(f"rows of attention sum to 1 within {off:.3g} only; this layer's are no shares of attention")
    mass = looking.mean((0, 1)).double()
    found = [mass[torch.tensor(part, device=mass.device)] for part in parts]
    return [float(each.mean()) for each in found], [float(each.sum()) for each in found]


def pseudo_perplexity(logits: "torch.Tensor") -> float:
    """exp(-mean log max softmax) over positions, logits (n, vocabulary): 1 where the model is sure of each token."""
    import torch

    best = torch.log_softmax(logits.float(), -1).max(-1).values
    return float(best.mean().neg().exp())


@contextmanager
def attention_of(model: Any, layer: int) -> "Iterator[list[torch.Tensor]]":
    """Sets eager attention and collects the weights of one layer, (rows, heads, T, T), of every pass inside.

    The other layers' weights, as large each, are not kept, which ``output_attentions=True`` would do; SDPA gives none.

    Raises:
        ValueError: the model has no such layer.
    """
    layers = model.get_decoder().layers
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer {layer}: the language model has layers 0 to {len(layers) - 1}")
    model.set_attn_implementation("eager")
    found: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        found.append(output[1])

    handle = layers[layer].self_attn.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
