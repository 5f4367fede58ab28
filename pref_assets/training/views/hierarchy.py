"""Views of a pair at several levels: parts of the answer, its order, its prompt."""

import hashlib
from collections.abc import Collection, Mapping

import polars as pl

from pref_assets.pairs.schema import prompt_id
from pref_assets.training.views.parts import Messages, Part, edit_last, last_text, parts_frame
from pref_assets.training.views.sentences import other_boundary, shuffled_sentences

VIEWS = ("boundary", "structure", "prompt_side")
"""Ways in which the chosen answer is made worse; each is a part of that name, to be compared with the chosen side."""


def hierarchy_parts(rows: pl.DataFrame, views: Collection[str], seed: int) -> pl.DataFrame:
    """``PARTS``: the chosen answer made worse, in the ways that ``views`` names.

    * ``boundary``: with the first and last sentence of the rejected answer in the place of its own;
    * ``structure``: with its sentences in another order;
    * ``prompt_side``: unchanged, after the prompt of another pair.

    A pair lacks a view where its answer holds more than text or gives no such view (too few sentences; no other
    prompt among the rows). The other prompts depend on which prompts the rows have, everything else on the pair.
    """
    others = _next_prompts(rows, seed) if "prompt_side" in views else {}
    found = []
    for pair, prompt, chosen, rejected in rows.select("pair_id", "prompt", "chosen", "rejected").iter_rows():
        if "prompt_side" in views and (other := others.get(prompt_id(prompt))) is not None:
            found.append(Part(pair, "prompt_side", other, chosen))
        for name in ("boundary", "structure"):
            if name in views and (worse := _worse(name, pair, chosen, rejected, seed)) is not None:
                found.append(Part(pair, name, prompt, worse))
    return parts_frame(found)


def _worse(name: str, pair: str, chosen: Messages, rejected: Messages, seed: int) -> list[dict[str, str]] | None:
    if name == "structure":
        return edit_last(chosen, "assistant", lambda text: shuffled_sentences(text, seed, pair))
    other = last_text(rejected, "assistant")
    return None if other is None else edit_last(chosen, "assistant", lambda text: other_boundary(text, other))


def _next_prompts(rows: pl.DataFrame, seed: int) -> Mapping[str, Messages]:
    """Another prompt for each prompt by id: the next one in an order by hash; none where there is only one."""
    prompts = {prompt_id(prompt): prompt for prompt in rows["prompt"].to_list()}
    if len(prompts) < 2:
        return {}
    order = sorted(prompts, key=lambda each: hashlib.sha256(f"{seed}\0{each}".encode()).digest())
    return {one: prompts[other] for one, other in zip(order, [*order[1:], order[0]], strict=True)}
