"""Copies of a pair with the label turned round."""

from typing import Literal

import polars as pl

from pref_assets.pairs.audit.base import FOUND, AuditRule
from pref_assets.pairs.audit.texts import loose

SIGNATURES = pl.Schema({"pair_id": pl.String, "prompt": pl.Int64, "chosen": pl.Int64, "rejected": pl.Int64})


class SwappedCopies(AuditRule):
    """Two pairs are the same up to white space and case, and prefer opposite sides.

    A pair that is the same character for character is one pair with several votes: see ``contradictory_labels``.

    Severity warning; keeps by default. Where batches arrived one after another, only the later pair is flagged, so
    that a new batch never changes what became of an earlier one.
    """

    type: Literal["swapped_copies"] = "swapped_copies"
    severity = "warning"
    action = "keep"

    def sign(self, texts: pl.DataFrame) -> pl.DataFrame:
        """``SIGNATURES``: 64-bit hashes of the loose texts. They are the same within one version of
        Polars only. Pairs whose sides answer different prompts have null for a prompt."""
        hashes = (
            loose(pl.col(f"{name}_text")).hash().reinterpret(signed=True).alias(name) for name in ("chosen", "rejected")
        )
        asked = pl.when(pl.col("prompt_id").is_not_null()).then(
            loose(pl.col("prompt_text")).hash().reinterpret(signed=True)
        )
        return texts.select("pair_id", asked.alias("prompt"), *hashes)

    def find(self, signatures: pl.DataFrame, arrival: pl.DataFrame) -> pl.DataFrame:
        """Flagged pairs as ``FOUND``.

        Args:
            signatures: ``SIGNATURES`` of every pair.
            arrival: pair_id and ``rank``, smaller for what came earlier; equal where it is not known.
        """
        pairs = signatures.drop_nulls().filter(pl.col("chosen") != pl.col("rejected"))
        turned = pairs.rename({"chosen": "rejected", "rejected": "chosen", "pair_id": "of"})
        both = pairs.join(turned, on=["prompt", "chosen", "rejected"])
        if both.is_empty():
            return FOUND.to_frame()
        both = both.join(arrival, on="pair_id").join(arrival.rename({"pair_id": "of", "rank": "rank_of"}), on="of")
        both = both.filter(pl.col("rank") >= pl.col("rank_of")).sort("pair_id", "rank_of", "of")
        detail = pl.format(
            "{} pairs that are otherwise the same prefer the opposite side, e.g. pair {}",
            pl.len(),
            pl.col("of").first(),
        )
        return both.group_by("pair_id", maintain_order=True).agg(detail=detail)
