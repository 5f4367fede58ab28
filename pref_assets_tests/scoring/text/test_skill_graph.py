import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pool import Pool
from pref_assets.scoring import SkillGraphScore
from pref_assets.scoring.text.skills import aggregate, build_graph, key_phrases, named_skills
from pref_assets_tests.scoring.text.pools import detail, text_pool
from pref_assets_tests.selection.invariants import shuffled

CARD = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 2]])


def test_the_card_s_sums() -> None:
    linear, quadratic = aggregate(np.array([[1.0, 1, 0], [1, 0, 1]]), CARD)
    assert linear.tolist() == [6, 5]
    assert quadratic.tolist() == [6, 4]


def test_the_order_of_skills_does_not_matter() -> None:
    similarity = np.random.default_rng(0).random((5, 3))
    order = [2, 0, 1]
    for one, other in zip(
        aggregate(similarity, CARD), aggregate(similarity[:, order], CARD[np.ix_(order, order)]), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def items(rows: list[list[str]]) -> pl.DataFrame:
    found = [(item, skill) for item, skills in enumerate(rows) for skill in skills]
    return pl.DataFrame(found, schema={"item": pl.UInt32, "skill": pl.String}, orient="row")


def test_counts_of_a_graph_by_hand() -> None:
    vectors = np.eye(4, dtype=np.float32)
    graph = build_graph(items([["algebra", "logic"], ["algebra"], ["logic", "algebra"], ["art"]]), vectors, 10, 0.99)
    assert graph.names == ["algebra", "logic", "art"]
    assert graph.weights.tolist() == [[0.75, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0.25]]
    np.testing.assert_allclose(graph.vectors[0], np.array([1, 1, 1, 0]) / np.sqrt(3), rtol=1e-6)
    assert build_graph(items([["a"], ["b"], ["b"]]), vectors[:3], 1, 0.9).names == ["b"]


def test_skills_with_the_same_vector_are_one() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    graph = build_graph(items([["car", "auto"], ["car"], ["tree"]]), vectors, 10, 0.9)
    assert graph.names == ["car", "tree"]
    assert np.diagonal(graph.weights).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_graph_is_symmetric_and_its_diagonal_is_the_largest_of_a_row() -> None:
    rng = np.random.default_rng(1)
    rows = [[f"s{i}" for i in np.flatnonzero(rng.random(20) < 0.3)] for _ in range(60)]
    vectors = rng.normal(size=(60, 5)).astype(np.float32)
    graph = build_graph(items(rows), vectors, 20, 0.7)
    assert (graph.weights == graph.weights.T).all()
    assert (np.diagonal(graph.weights) >= graph.weights.max(axis=1)).all()
    twice = build_graph(items(rows + rows), np.concatenate([vectors, vectors]), 20, 0.7)
    assert twice.names == graph.names
    np.testing.assert_allclose(twice.weights, graph.weights)
    np.testing.assert_allclose(twice.vectors, graph.vectors, atol=1e-6)


def test_key_phrases_by_hand() -> None:
    texts = pl.Series(
        ["Solve the linear equation, please", "a linear equation of the river", "the river is a river", "river. bank"]
    )
    found = key_phrases(texts, most=3, words=2, least=2).sort("item", "skill")
    assert found.rows() == [
        (0, "equation"),
        (0, "linear"),
        (0, "linear equation"),
        (1, "equation"),
        (1, "linear"),
        (1, "linear equation"),
        (2, "river"),
        (3, "river"),
    ]
    once = key_phrases(texts, most=9, words=2, least=1)
    assert "river bank" not in once["skill"].to_list()  # a full stop lies between
    assert "equation please" not in once["skill"].to_list()


def test_skills_in_the_metadata() -> None:
    metadata = pl.Series([json.dumps({"tags": ["a", "b", "a"]}), None, json.dumps({"tags": "b"}), "{}"])
    assert named_skills(metadata, "tags", 1).rows() == [(0, "a"), (0, "b"), (2, "b")]
    assert named_skills(metadata, "tags", 2).rows() == [(0, "b"), (2, "b")]
    with pytest.raises(ValueError, match="no prompt of the reference pairs has a metadata field 'skills'"):
        named_skills(metadata, "skills", 1)
    with pytest.raises(ValueError, match="is no string and no list of them: 3"):
        named_skills(pl.Series(['{"tags": 3}']), "tags", 1)


def planted(splits: list[str] | None = None) -> Pool:
    """Ten pairs each on boats, on boats and fish, on fish, and two on a thing of their own."""
    rng = np.random.default_rng(0)
    boat, fish, rest = np.eye(3).repeat(16, axis=1)
    texts = ["sailing boat"] * 10 + ["sailing boat, fresh fish"] * 10 + ["fresh fish"] * 10 + ["quantum physics"] * 2
    means = [boat] * 10 + [boat + fish] * 10 + [fish] * 10 + [rest] * 2
    vectors = np.array(means) + 0.05 * rng.normal(size=(32, 48))
    return text_pool(texts, vectors=vectors, splits=splits)


def test_pairs_with_skills_that_go_together_score_highest() -> None:
    scores = SkillGraphScore(embeddings="minilm", min_items=3, merge_above=0.99).score(planted())
    groups = [scores["score"][first : first + 10].mean() for first in (0, 10, 20, 30)]
    assert groups[3] < min(groups[:3])
    assert scores["score"].to_list() == detail(scores, "quadratic")
    assert set(scores["category"][:10]) <= {"boat", "sailing", "sailing boat"}
    linear = SkillGraphScore(embeddings="minilm", min_items=3, merge_above=0.99, aggregation="linear")
    assert linear.score(planted())["score"].to_list() == detail(scores, "linear")


def test_row_order_does_not_matter() -> None:
    method = SkillGraphScore(embeddings="minilm", min_items=2, reference_items=20)
    assert_frame_equal(method.score(planted()), method.score(shuffled(planted(), 1)), check_exact=True)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no skill occurs often enough"):
        SkillGraphScore(embeddings="minilm", min_items=31).score(planted())
    with pytest.raises(ValueError, match="there is no train pair"):
        SkillGraphScore(embeddings="minilm").score(planted(["test"] * 32))
    with pytest.raises(ValueError, match="no train pair came from source 'x'"):
        SkillGraphScore(embeddings="minilm", sources=("x",)).score(planted())
    pool = planted()
    pool.embeddings["minilm"].ids[0] = "elsewhere"
    with pytest.raises(ValueError, match="1 ids have no embedding"):
        SkillGraphScore(embeddings="minilm").score(pool)
    assert SkillGraphScore(embeddings="minilm").score(text_pool([])).is_empty()
