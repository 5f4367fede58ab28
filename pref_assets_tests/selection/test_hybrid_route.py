from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool, Vectors
from pref_assets.selection import HybridRoute
from pref_assets.selection.pair_features import entity_overlap, pair_features, rouge_1
from pref_assets.selection.routing import fit_routing, label_mixes
from pref_assets_tests.selection.invariants import assert_promises


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The oracle of the method's card: 2,000 pairs, 6 features; a human label adds 2e-4 with feature 0 and takes 1e-4
    with feature 1; 200 proxy runs with noise .002."""
    rng = np.random.default_rng(seed)
    features = rng.random((2000, 6)) < 0.3
    counts = features.astype(float).T @ label_mixes(features, 200, seed)
    values = 0.5 + 2e-4 * counts[0] - 1e-4 * counts[1] + 0.002 * rng.normal(size=200)
    return features, counts.T, values


def test_the_planted_worth_of_human_labels_is_found() -> None:
    features, counts, values = planted()
    routing = fit_routing(counts, values, "linear", 1e-6)
    np.testing.assert_allclose(1e4 * routing.slopes, [2, -1, 0, 0, 0, 0], atol=0.1)
    assert routing.rmse < 0.003 < routing.rmse_of_mean
    top = np.argsort(-routing.gains(features))[:300]
    assert features[top, 0].all()
    assert not features[top, 1].any()


def test_without_interactions_the_quadratic_ranks_as_the_linear() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 600, (400, 3)).astype(float)
    values = counts @ [2e-4, -1e-4, 5e-5]
    features = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=bool)
    linear = fit_routing(counts, values, "linear", 1e-9).gains(features)
    quadratic = fit_routing(counts, values, "quadratic", 1e-9)
    np.testing.assert_allclose(quadratic.curves, 0, atol=1e-9)
    np.testing.assert_allclose(quadratic.gains(features), linear, atol=1e-7)


def test_a_quadratic_finds_what_features_do_together() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 20, (400, 2)).astype(float)
    routing = fit_routing(counts, 0.3 * counts[:, 0] + 0.05 * counts[:, 0] * counts[:, 1], "quadratic", 1e-9)
    np.testing.assert_allclose(routing.gains(np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)), [0.3, 0, 0.35], atol=1e-4)


def test_mixes_draw_any_size_and_fill_feature_by_feature() -> None:
    features = np.zeros((50, 2), dtype=bool)
    features[:20, 0], features[20:30, 1] = True, True
    mixes = label_mixes(features, 500, 0)
    sizes = mixes.sum(axis=0)
    assert sizes.min() >= 1
    assert sizes.max() == 50
    assert abs(sizes.mean() - 25.5) < 4 * 14.4 / np.sqrt(500)
    first_whole = mixes[:20].all(axis=0) | mixes[20:30].all(axis=0)
    assert first_whole[sizes >= 20].all()  # one feature is used up before the walk goes on
    assert not mixes[30:, sizes <= 30].any()


def test_too_few_runs_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 proxy runs are too few"):
        fit_routing(np.ones((2, 1)), np.ones(2), "linear", 1.0)


def test_overlaps() -> None:
    assert rouge_1("The cat sat", "the cat ran off") == pytest.approx(4 / 7)
    assert rouge_1("", "") == 1.0
    assert entity_overlap("Rome and Paris in 1990", "rome, Paris") == pytest.approx(1 / 3)
    assert entity_overlap("nothing", "here") == 1.0


def voted_pool(n: int = 120, validation: int = 60, seed: int = 0) -> Pool:
    """Pairs whose human labels follow a direction of the embeddings; model labels are right on short prompts only."""
    rng = np.random.default_rng(seed)
    total = n + validation
    direction = rng.normal(size=12)
    matrix = rng.normal(size=(2 * total, 12)).astype(np.float32)
    names = [f"{side}{i:03}" for side in "cr" for i in range(total)]
    truth = (matrix[:total] - matrix[total:]) @ direction > 0
    hard = rng.random(total) < 0.5
    model = np.where(hard, ~truth, truth)

    def vote(annotator: str, chosen: bool) -> dict[str, Any]:
        return {"annotator": annotator, "dimension": "overall", "choice": "chosen" if chosen else "rejected"}

    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:03}",
            "prompt_id": f"q{i:03}",
            "chosen_id": f"c{i:03}",
            "rejected_id": f"r{i:03}",
            "p_chosen": 0.5,
            "split": "train" if i < n else "validation",
            "votes": [vote("ann", bool(truth[i])), vote("gpt-4", bool(model[i]))],
        }
        for i in range(total)
    )
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i:03}", "messages": [{"role": "user", "content": "why " * (30 if hard[i] else 3)}]}
        for i in range(total)
    )
    completions = COMPLETIONS.frame(
        {"completion_id": name, "prompt_id": f"q{name[1:]}", "messages": [{"role": "assistant", "content": "yes no"}]}
        for name in names
    )
    return Pool(pairs, completions, embeddings={"minilm": Vectors(names, matrix)}, prompts=prompts)


def route(**more: Any) -> HybridRoute:
    return HybridRoute(embeddings="minilm", llm_annotators=["gpt-*"], runs=60, **more)


def test_people_label_what_the_model_gets_wrong() -> None:
    pool = voted_pool()
    decisions = assert_promises(route(), pool)
    kept = decisions.filter("selected").join(pool.pairs.select("pair_id", "prompt_id", "votes"), on="pair_id")
    assert len(kept) == 120
    hard = kept.join(pool.texts(pool.pairs).select("pair_id", "prompt"), on="pair_id")
    hard = hard.with_columns(
        hard=pl.col("prompt").str.len_chars() > 50, human=pl.col("reason").str.starts_with("human")
    )
    assert hard["human"].sum() == 60
    assert hard.filter("hard")["human"].mean() > 0.85
    assert hard.filter(~pl.col("hard"))["human"].mean() < 0.25
    for row in hard.to_dicts():
        vote = row["votes"][0 if row["human"] else 1]
        assert row["p_chosen"] == (1.0 if vote["choice"] == "chosen" else 0.0)


@pytest.mark.parametrize(("share", "human"), [(0.0, 0), (1.0, 120)])
def test_no_budget_is_all_models_and_a_full_one_all_people(share: float, human: int) -> None:
    reasons = route(human_share=share).select(voted_pool()).filter("selected")["reason"]
    assert reasons.str.starts_with("human").sum() == human


def test_without_a_share_positive_gains_decide() -> None:
    kept = route(human_share=None).select(voted_pool()).filter("selected")
    assert 0 < kept["reason"].str.starts_with("human").sum() < 120
    assert (kept["reason"].str.starts_with("human") == (kept["score"] > 0)).all()


def test_pairs_without_human_votes_are_a_queue_by_gain() -> None:
    pool = voted_pool()
    models_only = pl.col("votes").list.tail(1)
    only = pl.col("pair_id").is_in(["p000", "p001", "p002"])
    pairs = pool.pairs.with_columns(votes=pl.when(only).then(models_only).otherwise("votes"))
    people_only = pl.when(pl.col("pair_id") == "p003").then(pl.col("votes").list.head(1)).otherwise("votes")
    decisions = route().select(replace(pool, pairs=pairs.with_columns(votes=people_only)))
    queue = decisions.filter(pl.col("reason").str.starts_with("llm: no human vote")).sort("rank")
    assert sorted(queue["pair_id"]) == ["p000", "p001", "p002"]
    assert queue["rank"].to_list() == [118, 119, 120]
    assert queue["score"].is_sorted(descending=True)
    assert decisions.filter(pl.col("pair_id") == "p003")["reason"].item() == "human: no vote of a model"


def test_what_is_missing_is_said() -> None:
    pool = voted_pool()
    with pytest.raises(ValueError, match=r"no train pair has votes both of people and of \['claude'\].*'ann', 'gpt-4'"):
        HybridRoute(embeddings="minilm", llm_annotators=["claude"]).select(pool)
    train = replace(pool, pairs=pool.pairs.filter(pl.col("split") == "train"))
    with pytest.raises(ValueError, match="no pair of the `validation` split has a human majority"):
        route().select(train)
    with pytest.raises(ValueError, match="120 pairs have no vote"):
        route(dimension="safety").select(pool)
    with pytest.raises(ValueError, match="no prompt's metadata has 'subject'"):
        route(tags=["subject"]).select(pool)


def test_features_are_bins_and_tags() -> None:
    pool = voted_pool()
    names, flags = pair_features(pool, pool.candidates(), pool.embeddings["minilm"], [])
    of_prompt = [flags[:, place] for place, name in enumerate(names) if name.startswith("prompt_len")]
    assert [name for name in names if name.startswith("prompt_len")] == [
        "prompt_len [3.0, 3.0]",
        "prompt_len [30.0, 30.0]",
    ]
    assert (sum(of_prompt) == 1).all()
    assert sum(name.startswith("cosine_sim") for name in names) == 3
