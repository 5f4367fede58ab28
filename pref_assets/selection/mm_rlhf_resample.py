"""Pairs of three types in a fixed ratio, drawn alike from every cluster."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.turns import Ints, clusters_of, draws, nested_turns
from pref_assets.settings import ClustersName, Settings

TYPES = ("long", "short", "mcq")
_OPTION = r"(?m)(?:^|\s)\(?{}[.):]\s"


class TypeRatio(Settings):
    """How many pairs of each type go together."""

    long: float = Field(default=4, gt=0)
    """Pairs with a long chosen answer."""
    short: float = Field(default=5, gt=0)
    """Pairs with a short one."""
    mcq: float = Field(default=1, gt=0)
    """Pairs whose prompt is a multiple-choice question."""


class MMRLHFResample(Budgeted):
    """MM-RLHF: Zhang et al., "MM-RLHF" (arXiv:2502.10391), section 3.1: prompts are sorted into multiple choice, long
    and short, clustered, and N of each type are drawn from every cluster at random, N such that types are 4 : 5 : 1.

    The budget is shared among the types by the ratio, and inside a type each cluster gives one pair at a time until the
    share is full: the smallest N that fills it, the last round cut to be exact. A prompt is multiple choice when it
    offers the options A and B (`A.`, `A)`, `(A)` or `A:`); of the others a pair is long when its chosen answer has more
    than ``long_over`` characters, so that exactly as many is short, which the paper leaves open. It clusters CLIP
    vectors of images, by 100 centres; seed and scaling are not stated. Time O(n log n).
    """

    type: Literal["mm_rlhf_resample"] = "mm_rlhf_resample"
    clusters: ClustersName
    """Clusters to draw from; of completions, a pair is where its chosen completion is."""
    ratio: TypeRatio = TypeRatio()
    """Pairs of each type; 4 long to 5 short to 1 multiple choice in the paper."""
    long_over: int = Field(default=128, ge=0)
    """A chosen answer with more characters is long; 128 in the paper."""
    short_of: Literal["error", "fill"] = "error"
    """When a type has fewer pairs than its share: an error, or fill up with the other types by their ratio."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no cluster or text, a type has too few pairs, or the budget is larger than the
                pool.
        """
        candidates = pool.candidates()
        candidates = candidates.sort(seeded_hash(candidates["pair_id"], self.seed, "mm_rlhf"))
        types = self.types(pool.texts(candidates))
        clusters = clusters_of(pool, self.clusters, candidates)
        order = nested_turns(types, clusters, {place: getattr(self.ratio, name) for place, name in enumerate(TYPES)})
        taken = self.take(pool, candidates["pair_id"][order].to_list())
        if self.short_of == "error":
            self._check(types, types[order][taken])
        cells = types * (clusters.max(initial=0) + 2) + clusters
        frame = candidates.select("pair_id").with_columns(
            type=pl.Series([TYPES[each] for each in types], dtype=pl.String),
            cluster=pl.Series(clusters),
            draw=pl.Series(draws(cells, order)),
        )[order]
        frame = frame.with_columns(selected=pl.Series(taken, dtype=pl.Boolean))
        code = pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("over_share"))
        frame = frame.with_columns(reason=pl.format("{}: {}, draw {} of cluster {}", code, "type", "draw", "cluster"))
        return decide(pool, frame.select("pair_id", "selected", "reason"))

    def types(self, texts: pl.DataFrame) -> Ints:
        """The type of each pair, (n,), as its place in ``TYPES``; ``texts`` has columns prompt and chosen."""
        prompt = pl.col("prompt").fill_null("")
        options = [prompt.str.contains(_OPTION.format(letter)) for letter in ("A", "B")]
        is_long = pl.col("chosen").str.len_chars() > self.long_over
        place = pl.when(pl.all_horizontal(options)).then(2).when(is_long).then(0).otherwise(1)
        return texts.select(place.cast(pl.Int64)).to_series().to_numpy()

    def _check(self, types: Ints, kept: Ints) -> None:
        """That each type gave its share: the share of the ratio, to within the one pair that rounding moves."""
        weights = np.array([getattr(self.ratio, name) for name in TYPES])
        have, got = (np.bincount(each, minlength=len(TYPES)) for each in (types, kept))
        due = np.floor(len(kept) * weights / weights.sum())
        lacking = [
            f"{int(due[place])} {name} (there are {int(have[place])})"
            for place, name in enumerate(TYPES)
            if got[place] < due[place] and got[place] == have[place]
        ]
        if lacking:
            raise ValueError(
                f"mm_rlhf_resample: {len(kept)} pairs in the ratio {':'.join(f'{each:g}' for each in weights)} need "
                f"{', '.join(lacking)}; lower the budget, change `ratio`, or fill up with `short_of: fill`"
            )
