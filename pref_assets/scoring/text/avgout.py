"""Dull answers: those that use words as all answers do."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.features.ngrams import Tokens, spans, tokens
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pairs.texts import compared
from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, Scorer, pair_scores, ranked_by, sides
from pref_assets.scoring.text.texts import answer_texts

Floats = NDArray[np.float64]


class AvgOut(Scorer):
    """Diversity of an answer by AvgOut: Niu and Bansal, "AvgOut: A Simple Output-Probability Measure to Eliminate Dull
    Responses" (arXiv:2001.05467, section 3), on texts: 1 - cosine of the answer's token distribution D with the average
    distribution of all answers.

    The paper averages what a decoder gives out, as a running mean while it trains; here D is the share of each token
    (NLTK's wordpunct) in the answer, and the average is over the train pairs' answers, each completion once with equal
    weight: no order of batches, hence no rate. Function words weigh as they occur, as in the paper.

    ``score_chosen`` and ``score_rejected`` are diversities in [0, 1] (0 as all answers together, 1 not a token in
    common with any), null for an answer without tokens. Details: ``dullness_chosen`` and ``dullness_rejected``, the
    cosines. Needs texts alone. O(tokens · log tokens).
    """

    type: Literal["avgout"] = "avgout"
    rank_by: RankBy = Field(default="chosen")
    """What `score` is: diversity of the chosen answer, of the rejected, their margin or their mean."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs.

        Raises:
            ValueError: no train answer has a token, or a completion is not in the tables.
        """
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        answers = answer_texts(pool).join(
            compared(pool.completions, pool.pairs).select(id="completion_id"), on="id", how="semi"
        )
        answers = answers.sort("id")
        trained = compared(pool.completions, pool.candidates()).select(id="completion_id", train=True)
        train = answers.join(trained, on="id", how="left", maintain_order="left")["train"].fill_null(value=False)
        dullness = average_cosine(tokens(answers["text"]), train.to_numpy())
        values = answers.select("id", dullness=pl.Series(dullness)).with_columns(diversity=1 - pl.col("dullness"))
        frame = sides(pool.pairs, values, ["diversity", "dullness"])
        absent = frame.filter(pl.any_horizontal(pl.col(f"dullness_{s}").is_null() for s in ("chosen", "rejected")))
        if len(absent):
            raise ValueError(
                f"{len(absent)} pairs name a completion without text, e.g. {absent['pair_id'].head(3).to_list()}; "
                "materialize the pairs again"
            )
        chosen, rejected = pl.col("diversity_chosen"), pl.col("diversity_rejected")
        frame = frame.select(
            "pair_id",
            "dullness_chosen",
            "dullness_rejected",
            score=ranked_by(self.rank_by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
        )
        return pair_scores(frame, details=["dullness_chosen", "dullness_rejected"])


def average_distribution(found: Tokens, counted: NDArray[np.bool_]) -> Floats:
    """(vocabulary,) mean of the token distributions of the texts that are ``counted`` and have a token.

    Raises:
        ValueError: there is no such text.
    """
    counts = found.counts
    used = counted & (counts > 0)
    if not used.any():
        raise ValueError("avgout: no answer of the train pairs holds a token")
    weights = np.where(used, 1 / np.maximum(counts, 1) / used.sum(), 0.0)
    average: Floats = np.bincount(
        found.codes, weights=np.repeat(weights, counts), minlength=len(found.vocabulary)
    ).astype(np.float64)
    return average


def average_cosine(found: Tokens, counted: NDArray[np.bool_]) -> Floats:
    """(n,) cosine of each text's token distribution with ``average_distribution``; NaN for a text without tokens."""
    average = average_distribution(found, counted)
    size = len(average)
    cosine = np.full(len(found.counts), np.nan)
    for first, last in spans(found.offsets):
        codes = found.codes[found.offsets[first] : found.offsets[last]]
        owner = np.repeat(np.arange(last - first), found.counts[first:last])
        keys, times = np.unique(owner * size + codes, return_counts=True)
        text, token = keys // size, keys % size
        squares = np.bincount(text, weights=times.astype(np.float64) ** 2, minlength=last - first)
        products = np.bincount(text, weights=times * average[token], minlength=last - first)
        lengths = np.sqrt(squares)
        np.divide(products, lengths, out=cosine[first:last], where=lengths > 0)
    similar: Floats = np.clip(cosine / np.linalg.norm(average), 0, 1)
    return similar
