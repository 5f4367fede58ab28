"""Reward models that criticise, from annotators' reasons to what they say of every pair, on pictures."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from safetensors.torch import load_file

from pref_assets.features.store import Store
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.image_controls import controlled_images
from pref_assets.pipeline.spec_errors import SpecError, parse_spec
from pref_assets.pool import Pool
from pref_assets.scoring import CritiqueReward
from pref_assets.training.checkpoint import pair_ids, read_manifest
from pref_assets.training.critique_reward import load_critique_model
from pref_assets_tests.pipeline.conftest import Lab, write_rows

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
SAMPLED = {"max_new_tokens": 4}


def rows(folder: Path) -> list[dict[str, Any]]:
    """Three answers to each picture: the right colour twice, which ties, and another one."""
    folder.mkdir(parents=True)
    found = []
    for number, colour in enumerate(COLOURS):
        stream = io.BytesIO()
        Image.new("RGB", (12 + number, 16), colour).save(stream, "PNG")
        (folder / f"{number}.png").write_bytes(stream.getvalue())
        other = COLOURS[(number + 3) % len(COLOURS)]
        found.append(
            {
                "id": str(number),
                "image": f"{number}.png",
                "question": f"Which colour is it, number {number}?",
                "models_output": [colour, f"It is {colour}.", other],
                "final_ranking": [1, 1, 2],
                "score_reasons": ["Right.", "Right, in a sentence.", f"Wrong, it is not {other}."],
            }
        )
    return found


def attributes(root: Path) -> dict[str, Any]:
    llava = str(tiny_llava(root / "llava"))
    fitted = {"type": "critique_reward_model", "model": llava, "subset": "all", "batch_pairs": 8, "max_length": 128}
    scorer = {"type": "critique_reward", "checkpoint": "critic"}
    return {
        "name": "critics",
        "sources": {
            "colours": {"type": "mm_rlhf", "location": str(root / "data"), "image_folder": str(root / "images")}
        },
        "pairs": {"splits": {"test": 0.3, "validation": 0.0}, "votes": {"type": "majority", "ties": "keep"}},
        "critiques": {"own": {"type": "human"}},
        "subsets": {"all": {"type": "all"}},
        "reference_logps": {"llava": {"model": llava, "max_length": 64}},
        "checkpoints": {
            "warm": {"type": "policy", "subset": "all", "base": "llava", "learning_rate": 0.01, "batch_pairs": 16},
            "critic": {**fitted, "critiques": "own", "start": "warm", "learning_rate": 0.02},
            "silent": {**fitted, "critiques": None, "lora": None},
        },
        "scores": {
            "generated": {**scorer, "sampling": SAMPLED, "save_every": 7},
            "given": {**scorer, "mode": "given", "critiques": "own"},
            "shuffled": {**scorer, "checkpoint": "silent", "mode": "none", "images": "shuffled"},
        },
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("critics")
    write_rows(root / "data" / "data.jsonl", rows(root / "images"))
    lab = Lab(root, attributes(root))
    report = lab.run()
    assert report.ok, report.failures
    return lab


def folder(lab: Lab, name: str) -> Path:
    return Path(lab.metadata("checkpoints", name)["folder"].value)


def pool(lab: Lab) -> Pool:
    tables = (lab.read("pairs", name) for name in ("pairs", "completions"))
    return Pool(
        *tables,
        prompts=lab.read("pairs", "prompts"),
        checkpoints={name: str(folder(lab, name)) for name in ("critic", "silent")},
        critiques={"own": lab.read("critiques", "own")},
    )


def test_ties_train_and_every_pair_is_scored(done: Lab) -> None:
    pairs = done.read("pairs", "pairs")
    assert (pairs["p_chosen"] == 0.5).sum() == len(COLOURS)
    run = read_manifest(folder(done, "critic")).run
    assert run["tied_pairs"] == pairs.filter(pl.col("split") == "train", pl.col("p_chosen") == 0.5).height > 0
    trained = set(pair_ids(folder(done, "critic")))
    for name in ("generated", "given", "shuffled"):
        scores = done.read("scores", name)
        assert scores["pair_id"].to_list() == sorted(pairs["pair_id"])
        assert scores["score"].null_count() == 0
        margin = scores["score_chosen"] - scores["score_rejected"]
        assert scores["score"].to_list() == pytest.approx(margin.to_list())
        assert set(scores.filter(category="trained_on")["pair_id"]) == trained


def test_the_manifest_pins_the_critiques_and_the_start(done: Lab) -> None:
    manifest = read_manifest(folder(done, "critic"))
    assert manifest.kind == "critique_reward_model"
    assert manifest.tables["critiques"].key == ["critics", "critiques", "own"]
    assert manifest.start is not None
    assert manifest.start.name == "warm"
    assert "critiques" not in read_manifest(folder(done, "silent")).tables
    assert {"bt_loss", "critique_loss", "accuracy"} <= set(done.metadata("checkpoints", "critic"))


def test_the_vision_tower_stays_and_the_rest_learns(done: Lab) -> None:
    base, whole = (load_file(each / "model.safetensors") for each in (done.root / "llava", folder(done, "silent")))
    tower = [name for name in base if "vision_tower" in name]
    assert tower
    assert all((base[name] == whole[name]).all() for name in tower)
    assert any((base[name] != whole[name]).any() for name in base if "projector" in name)


def test_the_store_keeps_what_was_said_of_each_answer(done: Lab) -> None:
    about, store = pool(done), Store(done.home.store)
    spec = done.spec
    compared = set(about.pairs["chosen_id"]) | set(about.pairs["rejected_id"])

    def said(name: str) -> pl.DataFrame:
        scorer = spec.scores[name]
        assert isinstance(scorer, CritiqueReward)
        return scorer.said(about, store)

    own = dict(about.critiques["own"].select("completion_id", "critique").iter_rows())
    given, silent = said("given"), said("shuffled")
    assert set(given["completion_id"]) == compared
    assert all(critiques == [own[id_]] for id_, critiques in given.select("completion_id", "critiques").iter_rows())
    assert set(silent["critiques"].list.len()) == {0}
    rewards = dict(given.select("completion_id", "reward").iter_rows())
    chosen = done.read("scores", "given").join(about.pairs, on="pair_id")
    assert chosen["score_chosen"].to_list() == [rewards[each] for each in chosen["chosen_id"]]


def test_another_image_is_shown_where_images_are_shuffled(done: Lab) -> None:
    about = pool(done)
    scores = done.read("scores", "shuffled").join(about.pairs, on="pair_id").row(0, named=True)
    answer = about.completions.row(by_predicate=pl.col("completion_id") == scores["chosen_id"], named=True)
    prompt = about.prompts.row(by_predicate=pl.col("prompt_id") == answer["prompt_id"], named=True)
    other = controlled_images(about.prompts, "shuffled")[prompt["prompt_id"]]
    with done.home.current():
        model = load_critique_model(folder(done, "silent"))
        read = [model.read(prompt["messages"], answer["messages"], None, each) for each in (other, prompt["images"])]
    shuffled, own = model.score(read)
    assert scores["score_chosen"] == pytest.approx(shuffled, abs=1e-5)
    assert abs(shuffled - own) > 1e-4


def test_batches_change_nothing(done: Lab) -> None:
    for name in ("generated", "given", "shuffled"):
        key = done.key("scores", name)
        checks = [event for event in _evaluations(done) if event.asset_key == key]
        assert {each.check_name for each in checks} >= {"scores_do_not_depend_on_batching"}
        assert all(each.passed for each in checks)


def _evaluations(lab: Lab) -> list[Any]:
    import dagster as dg

    records = lab.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), 1000)
    return [each.event_log_entry.dagster_event.event_specific_data for each in records]


def test_answers_without_a_critique_have_no_score_and_ids_follow_what_is_read(done: Lab) -> None:
    about = pool(done)
    [one, *_] = about.pairs["chosen_id"].sort()
    own = about.critiques["own"]
    bare = own.with_columns(critique=pl.when(pl.col("completion_id") == one).then(None).otherwise("critique"))
    given = done.spec.scores["given"]
    assert isinstance(given, CritiqueReward)
    shuffled = given.model_copy(update={"images": "shuffled"})
    items = given.items(about)
    fewer = replace(about, critiques={"own": bare})
    assert set(items["id"]) - set(given.items(fewer)["id"]) == set(items.filter(completion_id=one)["id"])
    found = given.combine(fewer, items.select("id", reward=pl.lit(1.0), truncated=pl.lit(False)))
    without = found.filter(pl.col("score").is_null())
    assert set(without["category"]) == {"no_critique"}
    assert without.height == about.pairs.filter((pl.col("chosen_id") == one) | (pl.col("rejected_id") == one)).height
    assert given.key(fewer) == given.key(about) == shuffled.key(about)
    assert not set(items["id"]) & set(shuffled.items(about)["id"])


def test_steps_say_what_the_loss_is_made_of(done: Lab) -> None:
    steps = [json.loads(line) for line in (folder(done, "critic") / "metrics.jsonl").read_text().splitlines()]
    for step in steps:
        parts = step["bt_loss"] + step["tie_loss"] + step["center_loss"] + step["critique_loss"]
        assert step["loss"] == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (("scores", "shuffled"), {"mode": "generate"}, "was trained with no critiques"),
        (("scores", "given"), {"mode": "none", "critiques": None}, "was trained with critiques"),
        (("scores", "given"), {"critiques": None}, "`critiques` is what `mode: given` reads"),
        (("scores", "given"), {"samples": 2}, "`samples` counts critiques that the model writes"),
        (("scores", "generated"), {"samples": 2}, "all critiques of an answer would be the same"),
        (("checkpoints", "critic"), {"model": "/other"}, "was trained on the model .*; use one model"),
        (("checkpoints", "critic"), {"start": "silent"}, "silent"),
    ],
)
def test_entries_that_do_not_go_together_are_refused_before_anything_runs(done, place, change, words) -> None:
    block, name = place
    entries = done.attributes[block]
    broken = {**done.attributes, block: {**entries, name: {**entries[name], **change}}}
    with pytest.raises(SpecError, match=words):
        parse_spec(broken)
