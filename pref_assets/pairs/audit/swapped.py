"""Copies of a pair with the label turned round."""

from typing import Literal

import polars as pl

from pref_assets.pairs.audit.base import PARTS, AuditRule
from pref_assets.pairs.audit.texts import loose

SIGNATURES = pl.Schema({"pair_id": pl.String, "prompt": pl.Int64, "chosen": pl.Int64, "rejected": pl.Int64})
_TURNED = [pl.col("prompt"), pl.col("rejected").alias("chosen"), pl.col("chosen").alias("rejected")]


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
        """``SIGNATURES``: 64-bit hashes of the loose texts, the same within one version of Polars only. Pairs whose
        sides answer different prompts have null for a prompt."""
        prompt, chosen, rejected = (loose(pl.col(f"{part}_text")).hash().reinterpret(signed=True) for part in PARTS)
        asked = pl.when(pl.col("prompt_id").is_not_null()).then(prompt)
        return texts.select("pair_id", prompt=asked, chosen=chosen, rejected=rejected)

    def clashes(self, signatures: pl.DataFrame) -> pl.DataFrame:
        """``SIGNATURES`` of the pairs that another one contradicts."""
        pairs = signatures.drop_nulls().filter(pl.col("chosen") != pl.col("rejected"))
        return pairs.join(pairs.select(_TURNED), on=list(PARTS), how="semi")

    def find(self, clashes: pl.DataFrame, arrival: pl.DataFrame) -> pl.DataFrame:
        """Flagged pairs as ``FOUND``.

        Args:
            clashes: what `clashes` gives.
            arrival: pair_id and ``rank`` of these pairs, smaller for what came earlier; equal where it is not known.
        """
        pairs = clashes.join(arrival, on="pair_id").sort("rank", "pair_id")
        # One row a group: copies of copies stay linear.
        first = pairs.group_by(PARTS).agg(pl.len(), pl.col("pair_id").first(), pl.col("rank").first())
        first = first.select(*_TURNED, "len", of="pair_id", rank_of="rank")
        flagged = pairs.join(first, on=list(PARTS)).filter(pl.col("rank") >= pl.col("rank_of"))
        detail = pl.format("{} pairs that are otherwise the same prefer the opposite side, first pair {}", "len", "of")
        return flagged.select("pair_id", detail=detail)
