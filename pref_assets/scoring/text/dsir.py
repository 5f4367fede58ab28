"""How much likelier a text is in a target than in the data: importance weights over hashed n-grams."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.features.ngrams import HashedNgrams, Ints, hashed_ngrams
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.text.dsir_targets import DsirTarget, FileTarget
from pref_assets.scoring.text.texts import PairText, pair_texts
from pref_assets.settings import digest

Floats = NDArray[np.float64]

TOO_SHORT = "too_short"
"""Category of a pair without a weight."""
_PERCENT = 100


class DsirWeight(Scorer):
    """Log importance weight of DSIR: Xie et al., "Data Selection for Language Models via Importance Resampling"
    (arXiv:2302.03169, section 3): log w = sum over n-grams of log p(bucket) - log q(bucket), with p counted on target
    texts and q on the train pairs.

    Equal to the authors' package ``data-selection`` 1.0.3 to rounding: tokens, buckets and constants are theirs. What
    differs by choice: ``min_tokens`` is 0, as prompts of preference data are short (the package drops what is below
    100); q is counted on all train pairs (the package stops at 100,000 x buckets n-grams); laplace smoothing, off as in
    the package, can be turned on. log w grows with the length of a text, so long texts win or lose by length alone:
    ``length_normalize`` divides by the n-grams.

    ``score`` is log w; pairs below ``min_tokens`` have none and the category ``too_short``. Details: ``log_w``,
    ``n_tokens``, and ``kl_reduction``: KL(p, q) - KL(p, q of the train pairs that weigh at least as much), their
    number rounded up to a percent. Needs texts alone. Every distinct n-gram is hashed once: O(characters + distinct
    n-grams · log), 4 bytes of memory an n-gram.
    """

    type: Literal["dsir_weight"] = "dsir_weight"
    target: DsirTarget
    """What to match: `{type: file, location: …, texts: [prompt]}`, `{type: source, sources: […]}` (its train pairs) or
    `{type: split, split: validation}`, which uses up that split."""
    text: PairText = "prompt"
    """Which text of a pair is weighed: `prompt`, `chosen`, `rejected`, `prompt_chosen` or `all`."""
    ngrams: int = Field(default=2, ge=1, le=8)
    """Tokens in the longest n-gram; shorter ones count too."""
    buckets: int = Field(default=10_000, ge=2, le=262_144)
    """Buckets that n-grams are hashed into."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to both probabilities before the logarithm."""
    laplace: float = Field(default=0.0, ge=0)
    """Added to every bucket's count of the target."""
    min_tokens: int = Field(default=0, ge=0)
    """Pairs of fewer tokens get no weight; 100 in the package."""
    length_normalize: bool = False
    """Divide by the number of n-grams."""

    def digest(self) -> str:
        """Changes with the settings and with the target's files."""
        return digest([super().digest(), self.target.digest()])

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs.

        Raises:
            ValueError: no train pairs, texts without any token, a target of held-out texts that nobody allowed, or a
                pair whose text is not in the tables.
            BenchError: the target's file cannot be read as the settings say.
        """
        pairs = pool.pairs.sort("pair_id")
        if pairs.is_empty():
            return PAIR_SCORES.empty()
        texts = pair_texts(pool, pairs, self.text).to_frame("text")
        distinct = texts.unique(maintain_order=True).with_row_index("place")
        place = texts.join(distinct, on="text", maintain_order="left")["place"].to_numpy().astype(np.int64)
        grams = hashed_ngrams(distinct["text"], self.ngrams, self.buckets)

        raw = _times(place, pairs["split"] == "train", len(distinct))
        p, q = self._target(pool, pairs, place, grams), _share(grams.totals(raw), "train", 0)
        log_w = grams.sums(np.log(p + self.epsilon) - np.log(q + self.epsilon))
        score = log_w / np.maximum(grams.ngrams, 1) if self.length_normalize else log_w
        long = grams.tokens >= self.min_tokens
        kl = kl_reduction(grams, np.where(long, raw, 0), score, p, self.epsilon)
        columns = {
            "log_w": log_w[place],
            "n_tokens": grams.tokens[place].astype(np.float64),
            "kl_reduction": kl[place],
            "score": np.where(long, score, np.nan)[place],
        }
        category = pl.when(pl.col("score").is_nan()).then(pl.lit(TOO_SHORT)).otherwise(pl.lit("weighed"))
        frame = pairs.select("pair_id").with_columns(**{name: pl.Series(each) for name, each in columns.items()})
        return pair_scores(frame.with_columns(category=category), details=["log_w", "n_tokens", "kl_reduction"])

    def _target(self, pool: Pool, pairs: pl.DataFrame, place: Ints, grams: HashedNgrams) -> Floats:
        """(buckets,) share of the target's n-grams in each bucket."""
        if isinstance(self.target, FileTarget):
            found = hashed_ngrams(self.target.texts_of(pool), self.ngrams, self.buckets)
            counts = found.totals(np.ones(len(found.tokens), dtype=np.int64))
        else:
            counts = grams.totals(_times(place, self.target.pairs_of(pairs), len(grams.tokens)))
        return _share(counts, "target", self.laplace)


def kl_reduction(grams: HashedNgrams, times: Ints, score: Floats, p: Floats, epsilon: float) -> Floats:
    """(n,) how much nearer to ``p`` (buckets,) the texts come that score at least as high as each one.

    KL(p, q of all texts) - KL(p, q of those), texts counted ``times`` (n,); their share of all is rounded up to a
    percent (Xie et al., arXiv:2302.03169, section 6). Texts counted 0 times have the value of those they would join;
    NaN where nothing is counted.
    """
    total = int(times.sum())
    if not total:
        return np.full(len(score), np.nan)
    order = np.argsort(-score, kind="stable")
    reached = np.cumsum(times[order])
    last = np.searchsorted(-score[order], -score, side="right") - 1
    percent = np.clip(-(-reached[last] * _PERCENT // total) - 1, 0, _PERCENT - 1)
    counts = grams.by_group(percent, times, _PERCENT)
    there = p > 0
    ideal = float((p[there] * np.log(p[there] + epsilon)).sum())
    kept, distance = np.zeros(grams.size), np.full(_PERCENT, np.nan)
    for step in range(_PERCENT):
        kept += counts[step]
        if kept.sum():
            distance[step] = ideal - float((p[there] * np.log(kept[there] / kept.sum() + epsilon)).sum())
    reduction: Floats = distance[-1] - distance
    return reduction[percent]


def _times(place: Ints, which: pl.Series, count: int) -> Ints:
    """(count,) how many of the pairs have each text."""
    return np.bincount(place[which.to_numpy()], minlength=count).astype(np.int64)


def _share(counts: Ints, what: str, added: float) -> Floats:
    """(buckets,) share of each bucket, ``added`` to every count."""
    if not counts.sum():
        raise ValueError(f"dsir_weight: the {what} texts hold no token")
    smooth = counts.astype(np.float64) + added
    return np.asarray(smooth / smooth.sum(), dtype=np.float64)
