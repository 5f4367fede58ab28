"""Whose label to train on: a person's where that helps most, a model's elsewhere."""

import fnmatch
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.scoring.bradley_terry import margin_vectors
from pref_assets.scoring.logistic import fit_heads
from pref_assets.selection.base import Selector, decide, ranked
from pref_assets.selection.pair_features import pair_features
from pref_assets.selection.routing import Form, Routing, fit_routing, label_mixes
from pref_assets.settings import EmbeddingsName

Floats = NDArray[np.float64]


class HybridRoute(Selector):
    """Decides for every pair between the label of people and that of language models: Miranda et al., "Hybrid
    Preferences" (arXiv:2410.19133, section 3).

    Proxy reward models are trained on many mixes of human and model labels; their held-out accuracy is regressed on
    how many human labels each feature of the pairs got; what one more human label of a pair then adds is its gain. The
    pairs with the largest gains take the human label. [choice] The proxy is a Bradley-Terry head on the leading
    components of the embedding differences, fitted for all mixes at once, and is measured on human labels of the
    `validation` split; the test split is not looked at. The routing model is linear or quadratic, no trees. Every pair
    is kept: the decision is its label. A pair with votes of one kind keeps those; pairs without human votes come last,
    by gain: a queue for annotation. Cost: O(runs · sample · components) a Newton step, O(n) regular expressions.
    """

    type: Literal["hybrid_route"] = "hybrid_route"
    embeddings: EmbeddingsName
    """Embeddings of the completions, for the proxy and for the cosine of the two answers."""
    llm_annotators: list[str] = Field(min_length=1)
    """Names, or patterns like `gpt-*`, of the annotators that are language models; all others are people."""
    human_share: float | None = Field(default=0.5, ge=0, le=1)
    """Share of the pairs with both labels that take the human one; null: every pair whose gain is above zero."""
    dimension: str | None = None
    """Votes on this dimension only; all if left out."""
    tags: list[str] = Field(default_factory=list)
    """Keys of the prompts' metadata, such as subject or difficulty, whose values are features too."""
    model: Form = "linear"
    """Shape of the regression; quadratic lets features work together and needs many runs."""
    l2: float = Field(default=0.001, gt=0)
    """Ridge of the regression, on standardised terms, a run."""
    runs: int = Field(default=200, ge=10, le=5000)
    """Proxy reward models; 200 to 500 in the paper, a fifth of them to measure the regression's error."""
    sample: int = Field(default=5000, ge=2)
    """Most pairs that a proxy is trained on; 7,000 in the paper."""
    components: int = Field(default=32, ge=1)
    """Leading components of the embedding differences that the proxy sees."""
    proxy_l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the proxy's summed loss."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool: ``p_chosen`` is the label to train with, ``score`` the gain of a human one.

        Raises:
            ValueError: a train pair has no vote, none has votes of both kinds, no validation pair a human majority, or
                a text or vector is missing.
        """
        labels = self._labels(pool.candidates())
        without = labels.filter(pl.col("human").is_null() & pl.col("llm").is_null())["pair_id"]
        if len(without):
            raise ValueError(f"hybrid_route: {len(without)} pairs have no vote, e.g. {without.head(3).to_list()}")
        features = pair_features(pool, pool.candidates(), pool.embeddings[self.embeddings], self.tags)[1]
        both = (labels["human"].is_not_null() & labels["llm"].is_not_null()).to_numpy()
        if len(labels) and not both.any():
            raise ValueError(
                f"hybrid_route: no train pair has votes both of people and of {self.llm_annotators}; annotators are, "
                f"e.g., {self._annotators(pool)}"
            )
        routing = self._routing(pool, labels.filter(both), features[both]) if len(labels) else None
        gains = routing.gains(features) if routing else np.zeros(0)
        order = ranked(labels.with_columns(score=pl.Series(gains), both=pl.Series(both)), self.seed)
        wanted = pl.col("both") & (pl.col("score") > 0)
        if self.human_share is not None:
            wanted = pl.col("both") & (pl.col("both").cum_sum() <= round(self.human_share * int(both.sum())))
        order = order.with_columns(human_route=wanted | pl.col("llm").is_null(), no_human=pl.col("human").is_null())
        reason = (
            pl.when("no_human")
            .then(pl.format("llm: no human vote, one would add {}", _shown("score")))
            .when(pl.col("llm").is_null())
            .then(pl.lit("human: no vote of a model"))
            .when("human_route")
            .then(pl.format("human: adds {}", _shown("score")))
            .otherwise(pl.format("llm: a human label would add {}", _shown("score")))
        )
        p_chosen = pl.when("human_route").then("human").otherwise("llm")
        order = order.with_columns(selected=pl.lit(value=True), reason=reason, p_chosen=p_chosen)
        order = order.sort("no_human", maintain_order=True)
        return decide(pool, order.select("pair_id", "selected", "reason", "score", "p_chosen"))

    def _labels(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Frame (pair_id, human, llm): share of the votes of each kind for the chosen side, null without votes."""
        votes = pairs.select("pair_id", "votes").explode("votes").unnest("votes")
        if self.dimension is not None:
            votes = votes.filter(pl.col("dimension") == self.dimension)
        names = votes["annotator"].unique().drop_nulls().to_list()
        models = [name for name in names if any(fnmatch.fnmatchcase(name, each) for each in self.llm_annotators)]
        value = pl.col("choice").replace_strict({"chosen": 1.0, "tie": 0.5, "rejected": 0.0}, return_dtype=pl.Float64)
        is_model = pl.col("annotator").is_in(models)
        shares = votes.group_by("pair_id").agg(human=value.filter(~is_model).mean(), llm=value.filter(is_model).mean())
        return pairs.select("pair_id").join(shares, on="pair_id", how="left", maintain_order="left")

    def _annotators(self, pool: Pool) -> list[str]:
        votes = pool.candidates().select(pl.col("votes").explode().struct.field("annotator"))
        return votes["annotator"].drop_nulls().unique().sort().head(5).to_list()

    def _routing(self, pool: Pool, labels: pl.DataFrame, features: NDArray[np.bool_]) -> Routing:
        """The regression of the proxies' accuracy; ``labels`` and ``features`` are of pairs with both labels."""
        hashes = seeded_hash(labels["pair_id"], self.seed, "hybrid_route")
        rows = np.sort(hashes.arg_sort().to_numpy()[: self.sample])
        pairs = labels[rows.tolist()].join(pool.pairs, on="pair_id", maintain_order="left")
        mixes = label_mixes(features[rows], self.runs, self.seed)
        values = self._accuracies(pool, pairs, mixes)
        counts = features[rows].astype(np.float64).T @ mixes
        return fit_routing(counts.T, values, self.model, self.l2)

    def _accuracies(self, pool: Pool, pairs: pl.DataFrame, mixes: NDArray[np.bool_]) -> Floats:
        """Accuracy on human validation labels of a head trained on each mix, (runs,)."""
        validation = pool.pairs.filter(pl.col("split") == "validation").sort("pair_id")
        if len(validation):
            validation = validation.join(self._labels(validation), on="pair_id", maintain_order="left")
            validation = validation.filter(pl.col("human").is_not_null() & (pl.col("human") != 0.5))
        if not len(validation):
            raise ValueError(
                "hybrid_route: no pair of the `validation` split has a human majority to measure the proxies with"
            )
        vectors = pool.embeddings[self.embeddings]
        x, held_out = margin_vectors(pairs, vectors), margin_vectors(validation, vectors)
        leading = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, : self.components]
        labels = np.concatenate([pairs["human"].to_numpy(), pairs["llm"].to_numpy()])
        weights = np.concatenate([mixes, ~mixes]).astype(np.float64)
        heads = fit_heads(np.concatenate([x @ leading] * 2), labels, weights, self.proxy_l2)
        right = (held_out @ leading @ heads > 0) == (validation["human"].to_numpy() > 0.5)[:, None]
        accuracies: Floats = right.mean(axis=0)
        return accuracies


def _shown(column: str) -> pl.Expr:
    return (1e4 * pl.col(column)).round(3).cast(pl.String) + pl.lit("e-4")
