"""A weighted sample without replacement: better pairs more often, none for certain."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_uniform
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ScoresName

Floats = NDArray[np.float64]


class GumbelTopK(Budgeted):
    """Samples pairs without replacement with probability proportional to exp(score / temperature) at every draw: the
    top k of score + temperature x Gumbel(0, 1) noise (Kool et al., arXiv:1903.06059, section 2; used by DSIR,
    arXiv:2302.03169, by MATES, arXiv:2406.06046, and by CritiQ).

    [code] MATES' repository adds the noise to a loss and takes the smallest, which is no softmax sample; here the sign
    is turned first, then noise is added, so `ascending` gives exactly softmax(-score / temperature). Noise is drawn
    from each pair's id: a smaller budget is a subset of a larger one. O(n log n).
    """

    type: Literal["gumbel_top_k"] = "gumbel_top_k"
    scores: ScoresName
    """Scores to sample by."""
    column: str = "score"
    """Which number: a column of the scores, or one of their named details."""
    temperature: float = Field(default=1.0, gt=0)
    """Scale of the noise, in the unit of the score: small is near to the top of the list, large to a random sample."""
    ascending: bool = False
    """Prefer low values in place of high ones."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        scored = pool.scored(self.scores, self.column).rename({"score": "value"})
        sign = -1.0 if self.ascending else 1.0
        keys = gumbel_keys(scored["pair_id"], sign * scored["value"].to_numpy(), self.temperature, self.seed)
        order = ranked(scored.with_columns(score=pl.Series(keys)), self.seed)
        order = order.select("pair_id", score="value")
        selected = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        likely = "low" if self.ascending else "high"
        reason = (
            pl.when("selected")
            .then(pl.lit(f"selected: drawn, {likely} {self.column} more often"))
            .otherwise(pl.lit("over_budget: not drawn"))
        )
        return decide(pool, order.with_columns(selected=selected).with_columns(reason=reason))


def gumbel_keys(ids: Iterable[str], logits: Floats, temperature: float, seed: int, purpose: str = "gumbel") -> Floats:
    """``logits + temperature * g`` with g ~ Gumbel(0, 1) drawn from each id, (n,).

    The k largest are a sample without replacement whose first pick has probabilities softmax(logits / temperature).
    """
    uniform = seeded_uniform(ids, seed, purpose)
    keys: Floats = logits - temperature * np.log(-np.log(uniform))
    return keys
