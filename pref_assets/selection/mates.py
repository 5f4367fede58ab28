"""A sample that prefers influential pairs."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.gumbel_top_k import gumbel_keys
from pref_assets.settings import ScoresName

Floats = NDArray[np.float64]


class Mates(Budgeted):
    """MATES: Yu et al., "Model-Aware Data Selection with Data Influence Models" (arXiv:2406.06046), section 3: samples
    pairs without replacement, the first pick with probability softmax(influence / temperature).

    Give it scores of `influence_model`, `one_step_influence` or `influence`, where higher lowers the trusted loss. The
    paper's s is a loss, so its -s / T is our score / T; `better: lower` takes such a loss as it is. [code] The paper's
    repository adds the noise to the loss and keeps the smallest, which is no softmax sample; the sign is turned first
    here. One stage: a pipeline states the next one as scores of the checkpoint that this subset trained. O(n log n).
    """

    type: Literal["mates"] = "mates"
    scores: ScoresName
    """Influence of the pairs."""
    column: str = "score"
    """Which number of the scores: a column, or one of their named details."""
    temperature: float = Field(default=1.0, gt=0)
    """Scale of the noise: small is near to the top of the list, large to a random sample; 1 in the paper."""
    standardized: bool = True
    """Influences as z-scores over the train pairs first, as the paper's are; a step of size 0.01 changes a loss by so
    little that the noise would drown it. Influences that are all equal give a random sample."""
    better: Literal["higher", "lower"] = "higher"
    """Whether a high or a low score is good."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is the influence as it came.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        scored = pool.scored(self.scores, self.column).rename({"score": "value"})
        keys = self.keys(scored["pair_id"], scored["value"].to_numpy().astype(np.float64))
        order = ranked(scored.with_columns(score=pl.Series(keys)), self.seed).select("pair_id", score="value")
        selected = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        reason = (
            pl.when("selected")
            .then(pl.lit("selected: drawn, influence counts"))
            .otherwise(pl.lit("over_budget: not drawn"))
        )
        return decide(pool, order.with_columns(selected=selected).with_columns(reason=reason))

    def keys(self, pair_ids: Iterable[str], influence: Floats) -> Floats:
        """Influence with noise drawn from each id, (n,): the largest are the sample."""
        logits = influence
        if self.standardized and len(logits):
            spread = logits.std()
            logits = (logits - logits.mean()) / (spread if spread > 0 else 1.0)
        return gumbel_keys(
            pair_ids, logits if self.better == "higher" else -logits, self.temperature, self.seed, "mates"
        )
