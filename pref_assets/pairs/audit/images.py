"""Rules about the images that prompts show."""

from typing import ClassVar, Literal

import polars as pl

from pref_assets.pairs.audit.base import Action, ImageRule, Severity

_WORDS = "`{}` repeats `{}`, which came before (hashes {} bits apart)"


class RepeatedImage(ImageRule):
    """The prompt shows an image that nearly repeats an earlier one: scaled, compressed again or converted. Two
    questions about one picture are two samples, so that both are kept. Severity info; keeps by default."""

    severity: ClassVar[Severity] = "info"
    action: ClassVar[Action] = "keep"

    type: Literal["repeated_image"] = "repeated_image"

    def find(self, shown: pl.DataFrame) -> pl.DataFrame:
        repeated = shown.filter(pl.col("near").is_not_null()).sort("pair_id", "uri")
        repeated = repeated.unique("pair_id", keep="first", maintain_order=True)
        return repeated.select("pair_id", detail=pl.format(_WORDS, "uri", "near", "distance"))


class ImageAcrossSplits(ImageRule):
    """The prompt shows an image that an earlier pair of another split shows too, as it is or nearly. Prompts that share
    an image share a split; one that shows images of two groups can be in one only, and would leak into the other.
    Severity warning; drops by default."""

    severity: ClassVar[Severity] = "warning"
    action: ClassVar[Action] = "drop"

    type: Literal["image_across_splits"] = "image_across_splits"

    def find(self, shown: pl.DataFrame) -> pl.DataFrame:
        rows = shown.select("pair_id", "uri", "first", "split", "rank").unique()
        earliest = rows.group_by("first", "split").agg(since=pl.col("rank").min())
        both = rows.join(earliest, on="first", suffix="_of")
        leaks = both.filter(pl.col("split") != pl.col("split_of"), pl.col("since") <= pl.col("rank"))
        leaks = leaks.sort("pair_id", "since", "uri", "split_of").unique("pair_id", keep="first", maintain_order=True)
        words = "its prompt is in {}, but `{}` is shown in {} too"
        return leaks.select("pair_id", detail=pl.format(words, "split", "uri", "split_of"))
