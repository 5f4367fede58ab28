"""Images put together, where a model looks, and which pairs that keeps: from files to a subset."""

import json
from dataclasses import replace

import polars as pl
import pytest
import torch
from PIL import Image

from pref_assets.models.attention import image_places
from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.models.vision import vision_inputs
from pref_assets.pairs.messages import shown
from pref_assets.pairs.readers.multi_image import composition
from pref_assets.pool import Pool
from pref_assets.scoring import AttentionRatio
from pref_assets.training.data import encode
from pref_assets.training.worker import Silent
from pref_assets_tests.pipeline.conftest import Lab, write_rows

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("several")
    (root / "images").mkdir()
    rows = []
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (16, 16), colour).save(root / "images" / f"{i}.png")
        said = {"chosen": colour, "rejected": "it is " + COLOURS[(i + 3) % 8]}
        rows.append({"id": str(i), "image": f"{i}.png", "prompt": "Which colour is it?", **said})
    write_rows(root / "data" / "pairs.jsonl", rows)
    inner = {"type": "mm_rlhf", "location": str(root / "data"), "image_folder": str(root / "images")}
    several = {"type": "multi_image", "of": inner, "tile": 16}
    looks = {"type": "attention_ratio", "model": str(tiny_llava(root / "llava"))}
    lab = Lab(
        root,
        {
            "name": "several",
            "sources": {
                "rows": {**several, "least": 3},
                "grids": {**several, "layout": "grid", "most": 4},
            },
            "pairs": {"splits": {"test": 0.0, "validation": 0.0}},
            "scores": {"looks": looks},
            "subsets": {"wrong": {"type": "attention_ratio", "scores": "looks", "limits": {2: 0.5, 3: 0.3, 4: 0.25}}},
        },
    )
    report = lab.run('+key:"several/subsets/wrong"')
    assert report.ok, report.failures
    return lab


def details(frame: pl.DataFrame) -> pl.DataFrame:
    values = frame.select("pair_id", "score", "category", pl.col("details")).explode("details").unnest("details")
    return values.pivot(on="name", index=["pair_id", "score", "category"], values="value")


def test_every_pair_of_several_images_has_a_ratio(done: Lab) -> None:
    scores = done.read("scores", "looks")
    assert dict(scores["category"].value_counts().iter_rows()) == {"sequence": 8, "grid": 8}
    assert scores["score"].is_between(0, 1).all()
    found = details(scores)
    assert (found["pseudo_perplexity"] >= 1).all()
    assert (found["sum_target"] <= found["sum_images"]).all()
    # Every image of this model has four tokens: ratios of means and of sums agree.
    assert (found["score"] - found["ratio_of_sums"]).abs().max() < 1e-9
    assert set(found["images"]) <= {2, 3, 4, 5}


def test_ratios_are_those_of_the_whole_attention(done: Lab) -> None:
    """Each pair alone, all layers kept by the model itself, averaged here."""
    prompts, answers = done.read("pairs", "prompts"), done.read("pairs", "completions")
    pairs = done.read("pairs", "pairs").join(details(done.read("scores", "looks")), on="pair_id")
    folder = str(done.root / "llava")
    with done.home.current():
        model, sight = load_causal_lm(folder, "cpu"), load_reader(folder)
        model.set_attn_implementation("eager")
        for category in ("sequence", "grid"):
            pair = pairs.filter(category=category).sort("pair_id").row(0, named=True)
            prompt = prompts.row(by_predicate=pl.col("prompt_id") == pair["prompt_id"], named=True)
            answer = answers.row(by_predicate=pl.col("completion_id") == pair["rejected_id"], named=True)
            held = composition(prompt["metadata"])
            assert held is not None
            each = encode(sight, shown(prompt["messages"], prompt["images"]), answer["messages"], 4096)
            seen = vision_inputs([each.seen], len(each.ids), model)
            with torch.inference_mode():
                out = model(input_ids=torch.tensor([each.ids]), output_attentions=True, **seen)
            mass = out.attentions[1][0, :, each.n_prompt - 1 : -1].mean((0, 1))
            places = image_places(sight, each)
            if category == "sequence":
                means = [float(mass[span].mean()) for span in places]
                expected = means[held.target] / sum(means)
            else:
                # A grid of two to four pictures is 2 x 2, as this model's map of an image is.
                patches = mass[places[0]]
                expected = float(patches[held.target] / patches.sum())
            assert pair["score"] == pytest.approx(expected, abs=1e-5)
            sure = torch.log_softmax(out.logits[0, each.n_prompt - 1 : -1], -1).max(-1).values.mean()
            assert pair["pseudo_perplexity"] == pytest.approx(float((-sure).exp()), rel=1e-4)


def test_the_subset_holds_what_the_rule_keeps(done: Lab) -> None:
    found = details(done.read("scores", "looks")).join(done.read("subsets", "wrong"), on="pair_id")
    limit = {2: 0.5, 3: 0.3, 4: 0.25, 5: 0.25}
    for row in found.iter_rows(named=True):
        most = limit[row["images"]]
        below = row["score"] <= most if row["category"] == "sequence" else row["score"] < most
        assert row["selected"] == (below and row["pseudo_perplexity"] > 1.1)
    assert 0 < found["selected"].sum() < 16


def test_numbers_do_not_depend_on_batches(done: Lab) -> None:
    """One at a time, or short ones together and long ones alone."""
    spec = done.spec.scores["looks"]
    assert isinstance(spec, AttentionRatio)
    pool = _pool(done)
    items = spec.items(pool).sort("id")
    assert items.height == 16
    items = items.gather_every(3)
    found = []
    with done.home.current():
        for settings in ({"batch_tokens": 1}, {"batch_tokens": 10_000, "alone_above": 39}):
            rows: list[pl.DataFrame] = []
            spec.model_copy(update=settings).measure(items, {}, rows.append, Silent())
            found.append(pl.concat(rows).sort("id"))
    assert spec.key(pool) == spec.model_copy(update={"batch_tokens": 1, "alone_above": 39}).key(pool)
    assert found[0]["n_tokens"].min() <= 39 < found[0]["n_tokens"].max()
    for name in ("means", "sums", "pseudo_perplexity"):
        first, second = (torch.tensor(each[name].explode().to_list()) for each in found)
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_prompts_that_were_not_put_together_have_no_ratio(done: Lab) -> None:
    pool = _pool(done)
    pool = replace(pool, prompts=pool.prompts.with_columns(metadata=pl.lit(None, pl.String)))
    spec = done.spec.scores["looks"]
    assert isinstance(spec, AttentionRatio)
    items = spec.items(pool)
    assert items.is_empty()
    scores = spec.combine(pool, items)
    assert scores["category"].to_list() == ["no_target"] * 16
    assert scores["score"].null_count() == 16


def test_metadata_says_what_was_put_together(done: Lab) -> None:
    prompts = done.read("pairs", "prompts")
    held = [json.loads(each).get("multi_image") for each in prompts["metadata"]]
    assert sorted(each["layout"] for each in held if each) == ["grid"] * 8 + ["sequence"] * 8
    assert done.read("records", "rows_quarantine").is_empty()


def _pool(lab: Lab) -> Pool:
    return Pool(lab.read("pairs", "pairs"), lab.read("pairs", "completions"), prompts=lab.read("pairs", "prompts"))
