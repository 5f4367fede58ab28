"""Comparisons as text that a judge reads."""

import re
from collections.abc import Mapping

import polars as pl

from pref_assets.pool import Pool

CUT = " […] "
"""What stands for the middle of a text that was cut."""
ACROSS, IMAGES = "across_prompts", "images"
"""Why a pair is not asked about: its sides answer different prompts; its prompt has images, which are not shown."""


def judged_texts(pool: Pool, max_characters: int | None = None, *, seen: bool = False) -> pl.DataFrame:
    """Every pair of the pool, ordered by id: pair_id, ``prompt``, ``chosen``, ``rejected``, ``images`` of the prompt
    (never null), and ``unasked``: why it is not put to a judge (``across_prompts``, ``images`` unless they are
    ``seen``), else null. Longer texts lose their middle."""
    texts = pool.texts(pool.pairs.sort("pair_id"))
    nothing = pl.lit([], pl.List(pl.String))
    pictured = pool.prompts.select("prompt_id", images=pl.col("images").fill_null(nothing))
    texts = texts.join(pictured, on="prompt_id", how="left", maintain_order="left")
    texts = texts.with_columns(pl.col("images").fill_null(nothing))
    hidden = (pl.col("images").list.len() > 0) & (not seen)
    why = pl.when(pl.col("prompt").is_null()).then(pl.lit(ACROSS)).when(hidden).then(pl.lit(IMAGES))
    names = ("prompt", "chosen", "rejected")
    return texts.select("pair_id", *(shortened(name, max_characters) for name in names), "images", unasked=why)


def shortened(column: str, max_characters: int | None) -> pl.Expr:
    """The text with at most so many characters of its own, the middle left out."""
    text = pl.col(column)
    if max_characters is None:
        return text
    head, tail = max_characters - max_characters // 2, max_characters // 2
    short = pl.concat_str(text.str.head(head), pl.lit(CUT), text.str.tail(tail))
    return pl.when(text.str.len_chars() > max_characters).then(short).otherwise(text).alias(column)


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with ``{name}`` of every value replaced; braces inside the values stay as they are."""
    pattern = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(pattern, lambda found: values[found.group()[1:-1]], template)


def check_template(template: str, names: tuple[str, ...]) -> str:
    """The template, if it has a place for each of the names.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in names if f"{{{name}}}" not in template]
    if missing:
        raise ValueError(f"the template has no place for {', '.join(f'{{{name}}}' for name in missing)}")
    return template
