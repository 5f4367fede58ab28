"""Which images a model is shown in the place of a prompt's own: controls for what it says without looking."""

from typing import Literal

import polars as pl

from pref_assets.pool import seeded_hash

ImageControl = Literal["own", "shuffled", "none"]
"""A prompt's ``own`` images; those of another prompt of its split (``shuffled``); ``none``."""


def controlled_images(prompts: pl.DataFrame, control: ImageControl, seed: int = 0) -> dict[str, list[str]]:
    """The uris to show with each prompt, by prompt id; a prompt without images has none under any control.

    ``shuffled`` is a derangement of what is to be seen: the different lists of images of a split stand in a circle, in
    the order of a hash seeded with ``seed``, and each prompt gets the next list. So nobody sees what belongs to the
    question, every list is shown in the place of exactly one other, and a new prompt changes the neighbours' images
    alone.

    Args:
        prompts: frame (prompt_id, images, split).
        control: which images.
        seed: of the order in the circle.

    Raises:
        ValueError: ``shuffled``, and all prompts with images of a split have the same ones.
    """
    asked = prompts.select("prompt_id", "split", pl.col("images").fill_null([]))
    if control == "own":
        return dict(asked.select("prompt_id", "images").iter_rows())
    found: dict[str, list[str]] = {prompt_id: [] for prompt_id in asked["prompt_id"]}
    if control == "none":
        return found
    for (split,), part in asked.filter(pl.col("images").list.len() > 0).group_by("split", maintain_order=True):
        named = part["images"].list.join("\n")
        order = seeded_hash(names := sorted(set(named)), seed, "shuffled_images").arg_sort()
        if len(names) < 2:
            raise ValueError(
                f"split {split!r} has one image (or list of images) for all its prompts, so none can be shown another; "
                "use more prompts or another control"
            )
        circle = [names[place] for place in order]
        other = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
        found |= {id_: other[own].split("\n") for id_, own in zip(part["prompt_id"], named, strict=True)}
    return found
