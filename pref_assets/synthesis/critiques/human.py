"""What annotators wrote themselves."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pool import Pool
from pref_assets.settings import Settings

SAID, SILENT = "said", "silent"


class HumanCritiques(Settings):
    """The annotators' own reasons for each answer, as they wrote them: MM-RLHF's "raw human critiques" (Zhang et al.,
    arXiv 2502.10391, section 4.1).

    The rationales of an answer's ratings on ``dimensions``, each text once, in the order of the dimensions and then of
    the texts, joined by spaces. ``category``: ``said``, or ``silent`` where nobody gave a reason.
    """

    type: Literal["human"] = "human"
    dimensions: tuple[str, ...] = Field(default=("reason",), min_length=1)
    """Dimensions of ratings whose rationales count."""

    def critiques(self, pool: Pool) -> pl.DataFrame:
        """``CRITIQUES`` of the compared answers, ordered by id."""
        compared = pl.concat([pool.pairs["chosen_id"], pool.pairs["rejected_id"]]).unique().sort()
        order = {name: place for place, name in enumerate(self.dimensions)}
        ratings = pool.completions.select("completion_id", "ratings").explode("ratings", empty_as_null=False)
        said = (
            ratings.drop_nulls("ratings")
            .unnest("ratings")
            .filter(pl.col("dimension").is_in(self.dimensions), pl.col("rationale").str.strip_chars() != "")
            .with_columns(place=pl.col("dimension").replace_strict(order, return_dtype=pl.Int64))
            .sort("completion_id", "place", "rationale", "annotator")
            .unique(["completion_id", "rationale"], keep="first", maintain_order=True)
            .group_by("completion_id", maintain_order=True)
            .agg(critique=pl.col("rationale").str.strip_chars().str.join(" "))
        )
        found = pl.DataFrame({"completion_id": compared}).join(said, on="completion_id", how="left")
        has = pl.col("critique").is_not_null()
        category = pl.when(has).then(pl.lit(SAID)).otherwise(pl.lit(SILENT))
        return CRITIQUES.conform(
            found.with_columns(reasons="critique", writer=pl.lit("human"), category=category).sort("completion_id")
        )
