"""Prompts that say less: words left out, more of them the larger the share, the same ones first."""

import re

import polars as pl

from pref_assets.training.views.parts import Messages, Part, draws, edit_last, parts_frame

_WORD = re.compile(r"\S+\s*")


def without_words(text: str, share: float, seed: int, name: str) -> str | None:
    """The text without a share of its words, drawn at random; null where that takes out no word or leaves none.

    A larger share leaves out the words of a smaller one too, so that the number of words that differ grows with it.
    """
    words = _WORD.findall(text)
    n = round(share * len(words))
    if not 0 < n < len(words):
        return None
    order = list(range(len(words)))
    draws(seed, "perturbation", name).shuffle(order)
    gone = set(order[:n])
    return "".join(word for i, word in enumerate(words) if i not in gone).strip()


def perturbed_prompt(prompt: Messages, share: float, seed: int, name: str) -> list[dict[str, str]] | None:
    """The conversation with words left out of its last user turn; null where that changes nothing."""
    return edit_last(prompt, "user", lambda text: without_words(text, share, seed, name))


def own_prompts(rows: pl.DataFrame, share: float, seed: int, part: str) -> pl.DataFrame:
    """``PARTS``: the rejected answer after a perturbed prompt, for pairs whose sides answer one prompt."""
    found = []
    one = rows.filter(pl.col("rejected_prompt").is_null())
    for pair, prompt, rejected in one.select("pair_id", "prompt", "rejected").iter_rows():
        changed = perturbed_prompt(prompt, share, seed, pair) if share else None
        if changed is not None:
            found.append(Part(pair, part, changed, rejected))
    return parts_frame(found)
