"""What annotators wrote themselves."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pool import Pool
from pref_assets.settings import Settings
from pref_assets.synthesis.critiques.reasons import compared, joined, said

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
        texts = joined(said(pool, self.dimensions))
        found = compared(pool).join(texts, on="completion_id", how="left", maintain_order="left")
        has = pl.col("reasons").is_not_null()
        category = pl.when(has).then(pl.lit(SAID)).otherwise(pl.lit(SILENT))
        return CRITIQUES.conform(found.with_columns(critique="reasons", writer=pl.lit("human"), category=category))
