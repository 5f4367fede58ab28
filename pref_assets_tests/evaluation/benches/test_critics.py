"""A reward model that criticises on MM-RLHF's reward bench: what it is shown and what it reads."""

import io
import json

import pytest
from PIL import Image

from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.benches import MMRLHFBench
from pref_assets.evaluation.benches.critics import bench_pool, rewards
from pref_assets.evaluation.reward import evaluate_reward_model
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.training import worker
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.critique_reward import load_critique_model
from pref_assets.training.data import with_shown
from pref_assets_tests.evaluation.conftest import Quiet
from pref_assets_tests.training.conftest import Recorder, make_rows
from pref_assets_tests.training.test_critique_reward import criticised, make_job

COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module")
def critic(tmp_path_factory, home):
    model = str(tiny_llava(tmp_path_factory.mktemp("models") / "llava"))
    done = worker.run(make_job(home.root, model, criticised(make_rows(2))), Recorder())
    return CheckpointRef.of(read_manifest(done["folder"]), done["folder"])


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    """Three prompts about three pictures; the first has two pairs that share an answer, with other reasons each."""
    root = tmp_path_factory.mktemp("bench")
    rows = []
    for number, colour in enumerate(COLOURS):
        (root / "images" / "short").mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(stream, "PNG")
        (root / "images" / "short" / f"{number}.png").write_bytes(stream.getvalue())
        about = {"id": colour, "image": f"short/{number}.png", "prompt": "Which colour?", "chosen": colour}
        reasons = {"chosen_reason": f"It is {colour}.", "rejected_reason": "It is not."}
        rows.append({**about, "rejected": "pink", **reasons})
    rows.append({**rows[0], "rejected": "a very dark grey", "chosen_reason": "Right, red.", "rejected_reason": None})
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def bench(location, **changed):
    settings = {"location": str(location / "pairs.jsonl"), "image_folder": str(location / "images"), "resamples": 100}
    return MMRLHFBench(**{**settings, "overlap": "report", "mode": "none", **changed})


def run(config, critic, home, counted):
    inputs = Inputs(PAIRS.empty(), PROMPTS.empty(), COMPLETIONS.empty(), checkpoints=[critic])
    return evaluate(config, inputs, home, lambda job: counted.append(evaluate_reward_model(job, Quiet())))


def test_rewards_are_those_of_the_model_after_what_it_is_shown(critic, location, home):
    model = load_critique_model(critic.folder)
    counted = []
    for control in ("own", "none"):
        config = bench(location, images=control)
        run(config, critic, home, counted)
        pairs, _ = config.pairs(Inputs(PAIRS.empty(), PROMPTS.empty(), COMPLETIONS.empty()), home)
        pool = bench_pool(pairs, critic)
        found = rewards(config.scorer(critic.name), pool, pairs, Store(home.store))
        prompts = with_shown(pool.prompts).select("prompt_id", shown="messages")
        row = pairs.join(prompts, on="prompt_id").filter(group="blue").row(0, named=True)
        images = row["images"] if control == "own" else []
        read = [model.read(row["shown"], row[side], None, images) for side in ("chosen", "rejected")]
        expected = model.score(read, 2048)
        said = found.filter(pair_id=row["pair_id"]).row(0, named=True)
        assert [said["chosen"], said["rejected"]] == pytest.approx([float(each) for each in expected], abs=1e-4)
    assert [each["computed"] for each in counted] == [8, 8]


def test_a_second_run_asks_nothing(critic, location, home):
    counted = []
    config = bench(location, images="shuffled", seed=1)
    assert run(config, critic, home, counted).equals(run(config, critic, home, counted))
    assert [each["computed"] for each in counted] == [8, 0]


def test_given_critiques_are_those_of_each_row(critic, location, home):
    counted = []
    found = run(bench(location, mode="given"), critic, home, counted)
    values = {
        (metric, subset): value
        for name, metric, subset, value in found.select("checkpoint", "metric", "subset", "value").iter_rows()
        if name == critic.name
    }
    # One side has no reason: its pair is undecided, and wrong.
    assert values["undecided", "all"] == pytest.approx(1 / 4)
    assert counted[0]["computed"] == 7
    assert {subset for _, subset in values} == {"all", "category:short"}
    assert values["unknown_pairs", "all"] == 2


def test_settings_of_critics():
    with pytest.raises(ValueError, match="mode: given"):
        MMRLHFBench(mode="given")
    with pytest.raises(ValueError, match="temperature above 0"):
        MMRLHFBench(samples=2)
    assert MMRLHFBench(samples=2, sampling={"temperature": 1.0}).scorer("rm").samples == 2
