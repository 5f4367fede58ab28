"""What needs no model: every table shows these beside the checkpoints.

A scorer is good only as far as it beats them: on many preference sets "the longer answer wins" is right more often
than a small reward model.
"""

import polars as pl

LONGER = "longer wins"
SHORTER = "shorter wins"
RANDOM = "random choice"
RECORDED = "recorded label"
"""Trusts the label as it stands; measured where the truth is known."""


def untrained(base: str) -> str:
    """Name of a base model's own row."""
    return f"untrained {base}"


def margins(test: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Margins of the baselines on held-out pairs: name -> frame(pair_id, margin), positive for the chosen side.

    ``random choice`` is a margin of 0 everywhere: a tie counts half, so its accuracy is exactly one half and its
    interval shows what chance gives with so many prompts.
    """
    difference = pl.col("length_difference").cast(pl.Float64)
    rules = {LONGER: difference, SHORTER: -difference, RANDOM: pl.lit(0.0)}
    return {name: test.select("pair_id", rule.alias("margin")) for name, rule in rules.items()}
