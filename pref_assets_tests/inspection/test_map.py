import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.clustering import KMeans
from pref_assets.inspection.map import DataMap, View, page, picture
from pref_assets.pipeline.metadata import picture as in_metadata
from pref_assets.pool import Pool
from pref_assets.selection import Random
from pref_assets.selection.turns import clusters_of
from pref_assets_tests.selection.clustered import clustered_pool, with_texts
from pref_assets_tests.selection.invariants import shuffled


def a_pool() -> Pool:
    pool = clustered_pool([30, 20], held_out=5)
    said = [f"question {i} </script><script>alert(1)</script>" for i in range(55)]
    return with_texts(pool, said, ["x" * 400] * 55)


def drawn(pool: Pool, settings: DataMap) -> str:
    method = KMeans(embeddings="minilm", k=3)
    found = method.cluster(pool)
    pool = replace(pool, clusters={"topics": found.assignments})
    pairs = settings.sample(pool)
    places = settings.plane(method.space(pool).rows(pairs["chosen_id"].to_list()))
    view = View("topics", places, clusters_of(pool, "topics", pairs), found.centroids)
    return page("Map of <demo>", pool, pairs, [view], {"random": Random(budget=10).select(pool)}, settings.characters)


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_the_page_has_every_point_and_mark() -> None:
    pool = a_pool()
    data = data_of(drawn(pool, DataMap(projection="pca")))
    assert [point["id"] for point in data["points"]] == pool.candidates()["pair_id"].to_list()
    assert data["shown"] == "50 train pairs"
    [view], [subset] = data["views"], data["subsets"]
    assert len(view["x"]) == len(view["y"]) == len(view["cluster"]) == 50
    assert {each["number"] for each in view["clusters"]} == set(view["cluster"])
    kept = Random(budget=10).select(pool).filter("selected")["pair_id"].to_list()
    assert sorted(data["points"][i]["id"] for i in subset["picked"]) == sorted(kept)
    assert subset["size"] == 10


def test_texts_are_shortened_and_cannot_end_the_script() -> None:
    text = drawn(a_pool(), DataMap(projection="pca", characters=100))
    assert "</script><script>alert" not in text
    assert "Map of &lt;demo&gt;" in text
    point = data_of(text)["points"][0]
    assert point["prompt"] == "question 0 </script><script>alert(1)</script>"
    assert point["chosen"] == "x" * 99 + "…"


def test_the_page_loads_nothing() -> None:
    text = drawn(a_pool(), DataMap(projection="pca"))
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_equal_pools_give_equal_pages(projection: str) -> None:
    settings = DataMap.model_validate({"projection": projection, "iterations": 250})
    pool = a_pool()
    assert drawn(pool, settings) == drawn(shuffled(pool, 1), settings)


def test_a_sample_is_bounded_and_told() -> None:
    data = data_of(drawn(a_pool(), DataMap(projection="pca", points=20)))
    assert len(data["points"]) == 20
    assert data["shown"] == "20 of 50 train pairs, drawn at random"


@pytest.mark.parametrize("n", [1, 2, 9, 12, 60])
def test_places_are_in_the_unit_square(n: int) -> None:
    places = DataMap(iterations=250).plane(np.random.default_rng(0).normal(size=(n, 5)).astype(np.float32))
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert places.min() >= -1e-9
    assert places.max() <= 1 + 1e-9


def test_groups_are_apart_on_the_plane() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 40)
    matrix = (9 * rng.normal(size=(3, 20))[truth] + rng.normal(size=(120, 20))).astype(np.float32)
    places = DataMap(perplexity=15, iterations=300).plane(matrix)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (truth[distances.argmin(axis=1)] == truth).all()


def test_equal_vectors_lie_in_the_middle() -> None:
    assert DataMap().plane(np.ones((4, 3), dtype=np.float32)).tolist() == [[0.5, 0.5]] * 4


def test_the_picture_travels_in_metadata() -> None:
    rng = np.random.default_rng(0)
    labels = pl.DataFrame({"cluster": [0], "label": ["x"], "size": [1]})
    view = View("noise", rng.uniform(size=(2000, 2)), rng.integers(-1, 30, size=2000), labels)
    assert len(in_metadata(picture(view), "map").md_str or "") < 9_000
