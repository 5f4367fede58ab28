"""What there is to measure on a pool: completions after their prompts."""

import polars as pl

from pref_assets.pairs.texts import compared
from pref_assets.pool import Pool
from pref_assets.training.data import with_shown

IMAGES = "images"
TEXTS = ("prompt", "messages")


def completion_items(pool: Pool, *, seen: bool = False) -> pl.DataFrame:
    """Every compared completion once, after its own prompt: frame (id, prompt, messages) ordered by id.

    Args:
        seen: put images into their prompts, for a model that may see; else completions of prompts with images are left
            out, as what the images show would be missing.

    Raises:
        ValueError: a side of a pair, or its prompt, is not in its table; says how many.
        TrainingDataError: a prompt has other images than places for them.
    """
    found = compared(pool.completions, pool.pairs)
    prompts = with_shown(pool.prompts) if seen else pool.prompts
    asked = prompts.select("prompt_id", "images", prompt="messages")
    items = found.select("prompt_id", "messages", id="completion_id").join(asked, on="prompt_id", how="left")
    named = pl.concat([pool.pairs["chosen_id"], pool.pairs["rejected_id"]]).n_unique()
    whole = items.filter(pl.col("prompt").is_not_null())
    if whole.height < named:
        raise ValueError(f"{named - whole.height} of {named} compared completions, or their prompts, are in no table")
    return whole.filter(pl.lit(seen) | ~shows_image()).select("id", *TEXTS).sort("id")


def with_images(pool: Pool) -> list[str]:
    """Pairs with a side whose prompt shows an image."""
    shown = pool.prompts.filter(shows_image()).select("prompt_id")
    ids = pool.completions.join(shown, on="prompt_id", how="semi")["completion_id"].implode()
    return pool.pairs.filter(pl.any_horizontal(pl.col("chosen_id", "rejected_id").is_in(ids)))["pair_id"].to_list()


def longest_first(items: pl.DataFrame) -> pl.DataFrame:
    """Items from the longest text down: like lengths share a batch, and memory is tried at its worst at once."""
    lengths = (pl.col(c).list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum() for c in TEXTS)
    return items.sort(pl.sum_horizontal(*lengths), "id", descending=[True, False])


def shows_image() -> pl.Expr:
    """Of rows with ``images``."""
    return (pl.col("images").list.len() > 0).fill_null(value=False)
