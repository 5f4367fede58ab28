"""How many skills that go together a pair calls for."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.text.dsir_targets import SourceTarget
from pref_assets.scoring.text.skills import SkillGraph, aggregate, build_graph, key_phrases, named_skills
from pref_assets.scoring.text.texts import PairText, pair_texts
from pref_assets.settings import EmbeddingsName

Floats = NDArray[np.float32]
_ROWS = 16_384


class SkillGraphScore(Scorer):
    """Quality by a graph of skills (MASS: Li et al., "MAthematical Data Selection via Skill Graphs for Pretraining
    Large Language Models", arXiv:2503.14917): nodes are skills of a reference set, weighted by how often they occur,
    edges by how often two occur together; a pair's similarities s to the skills are summed up over the adjacency
    matrix A.

    [choice] The paper's sum was not confirmed: ``quadratic`` is s'As, which rewards skills that occur together, and
    ``linear`` 1'As; both are details. [choice] The paper asks a 72B model for skills and embeds their names; here a
    skill is a key phrase of the reference texts by tf-idf, or a tag in the prompts' metadata, and its vector is the
    mean vector of the pairs that have it. Vectors are those of chosen completions less the mean of the reference set,
    as what all share is no skill; similarities below ``min_similarity`` count as none.

    ``score`` is one of the sums, ``category`` the most similar skill (null: none), the detail ``top_similarity`` its
    cosine. Needs embeddings and texts. O(n · k · (d + k)) for k skills, and O(reference · k²) for the graph.
    """

    type: Literal["skill_graph"] = "skill_graph"
    embeddings: EmbeddingsName
    """Embeddings of the chosen completions."""
    sources: tuple[str, ...] = ()
    """The reference set: train pairs of these sources; of all sources if left out."""
    text: PairText = "prompt"
    """Where key phrases are looked for."""
    metadata_field: str | None = None
    """Take the skills from this field of the prompts' metadata, a string or a list, in place of key phrases."""
    aggregation: Literal["quadratic", "linear"] = "quadratic"
    """Which sum is the score."""
    reference_items: int = Field(default=20_000, ge=2)
    """Most reference pairs; a seeded sample where there are more."""
    seed: int = Field(default=0, ge=0)
    """Seed of that sample."""
    skills: int = Field(default=300, ge=1, le=4096)
    """Most skills, before those that are the same are merged."""
    min_items: int = Field(default=5, ge=1)
    """Reference pairs that a skill must occur in."""
    phrases: int = Field(default=8, ge=1)
    """Key phrases of a text."""
    phrase_words: int = Field(default=2, ge=1, le=4)
    """Words in the longest key phrase."""
    merge_above: float = Field(default=0.9, ge=-1, le=1)
    """Cosine above which two skills are one."""
    min_similarity: float = Field(default=0.0, ge=0, lt=1)
    """Cosines below count as 0."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs.

        Raises:
            ValueError: a pair has no finite vector or no text, there is no reference pair, or no skill in them.
        """
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        pairs = pool.pairs.sort("pair_id")
        reference = self._reference(pairs)
        known = pool.embeddings[self.embeddings]
        middle = _unit(known, reference).mean(axis=0, dtype=np.float64).astype(np.float32)
        graph = build_graph(
            self._skills(pool, reference), _unit(known, reference) - middle, self.skills, self.merge_above
        )
        parts = [self._part(graph, _unit(known, part) - middle, part) for part in pairs.iter_slices(_ROWS)]
        return pair_scores(pl.concat(parts), details=["quadratic", "linear", "top_similarity"])

    def _reference(self, pairs: pl.DataFrame) -> pl.DataFrame:
        named = SourceTarget(sources=self.sources).pairs_of(pairs) if self.sources else pairs["split"] == "train"
        reference = pairs.filter(named)
        if reference.is_empty():
            raise ValueError("skill_graph: there is no train pair to take skills from")
        hashes = seeded_hash(reference["pair_id"], self.seed, "skills")
        return reference.with_columns(hash=hashes).sort("hash").head(self.reference_items).drop("hash").sort("pair_id")

    def _skills(self, pool: Pool, reference: pl.DataFrame) -> pl.DataFrame:
        if self.metadata_field is None:
            texts = pair_texts(pool, reference, self.text)
            return key_phrases(texts, self.phrases, self.phrase_words, self.min_items)
        said = reference.join(
            pool.prompts.select("prompt_id", "metadata"), on="prompt_id", how="left", maintain_order="left"
        )
        return named_skills(said["metadata"], self.metadata_field, self.min_items)

    def _part(self, graph: SkillGraph, vectors: Floats, pairs: pl.DataFrame) -> pl.DataFrame:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = (vectors / np.where(lengths == 0, 1, lengths)) @ graph.vectors.T
        similarity = np.where(cosines >= self.min_similarity, np.maximum(cosines, 0), 0).astype(np.float64)
        linear, quadratic = aggregate(similarity, graph.weights)
        top = similarity.argmax(axis=1)
        return pairs.select(
            "pair_id",
            quadratic=pl.Series(quadratic),
            linear=pl.Series(linear),
            score=pl.Series(quadratic if self.aggregation == "quadratic" else linear),
            top_similarity=pl.Series(similarity.max(axis=1)),
            category=pl.Series(
                [
                    graph.names[one] if value > 0 else None
                    for one, value in zip(top, similarity.max(axis=1), strict=True)
                ],
                dtype=pl.String,
            ),
        )


def _unit(known: Vectors, pairs: pl.DataFrame) -> Floats:
    """(n, d) unit vectors of the chosen completions."""
    matrix = known.rows(pairs["chosen_id"].to_list())
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)
