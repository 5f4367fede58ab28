"""MM-RLHF's reward bench from files: what counts, what is refused, and what the released scorer got wrong."""

import io
import json

import polars as pl
import pytest
from PIL import Image

from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.benches import MMRLHFBench
from pref_assets.evaluation.benches.formats import BenchRowError
from pref_assets.evaluation.benches.mm_rlhf_rows import read_pairs
from pref_assets.evaluation.benches.overlap import SeenInTrainingError
from pref_assets.evaluation.reward import evaluate_reward_model
from pref_assets.home import Home
from pref_assets.pairs.images import ImagesError
from pref_assets.pairs.schema import COMPLETIONS, EVALUATIONS, PAIR_SCORES, PAIRS, PROMPTS, prompt_id
from pref_assets.scoring.base import pair_scores
from pref_assets.training import reward_model
from pref_assets_tests.evaluation.conftest import Quiet, turn

NOTHING = Inputs(PAIRS.empty(), PROMPTS.empty(), COMPLETIONS.empty())


def one(group, chosen, rejected, image="short/1.png", **more):
    prompt = f"What is it, {group}?"
    return {"id": group, "image": image, "prompt": prompt, "chosen": chosen, "rejected": rejected} | more


ROWS = [
    one("a", "a red dog", "a cat"),
    one("a", "a red dog", "a blue dog, running"),
    one("b", "four", "three and a half", image="mcq/long_1.png"),
    one("c", "no", "yes", image=None, video="clips/7"),
    one("d", "no", "yes", image=None),
]


def written(tmp_path, rows, name="bench.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pictures(tmp_path):
    folder = tmp_path / "images"
    for number, name in enumerate(("short/1.png", "mcq/long_1.png", "clips/7/2.png", "clips/7/10.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(stream, "PNG")
        (folder / name).write_bytes(stream.getvalue())
    return str(folder)


def rewarded(rows, rewards):
    return [row | {"rewards": reward, "critic": []} for row, reward in zip(rows, rewards, strict=True)]


def values(frame, name):
    rows = frame.filter(pl.col("checkpoint") == name).select("metric", "subset", "value").iter_rows()
    return {(metric, subset): value for metric, subset, value in rows}


def run(config, home, inputs=NOTHING):
    return evaluate(config, inputs, home, lambda job: evaluate_reward_model(job, Quiet()))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_results_of_the_released_evaluation(tmp_path, home):
    rewards = [[2, 1], [2, 3], [1, 0.5], [float("nan"), 0], [1.0, 1.0]]
    rows = rewarded(ROWS, rewards)
    results = {"ours": written(tmp_path, [*rows, rows[0]])}
    frame = run(MMRLHFBench(results=results, resamples=100), home)
    found = values(frame, "results/ours")
    assert found["accuracy", "all"] == pytest.approx(2 / 5)
    assert found["accuracy_plus", "all"] == pytest.approx(1 / 4)
    assert found["undecided", "all"] == pytest.approx(2 / 5)
    assert found["repeated_rows", "all"] == 1
    # `mcq/long_1.png` is multiple choice; a null image is no error, a category without rows is absent.
    assert {subset.partition(":")[2] for _, subset in found} == {"", "short", "mcq", "uncategorised"}
    assert (found["accuracy", "category:short"], found["accuracy_plus", "category:short"]) == (0.5, 0)
    assert set(frame["checkpoint"]) == {"results/ours"}


def test_a_resumed_run_that_lost_pairs_is_found(tmp_path, home):
    rows = rewarded(ROWS, [[1, 0]] * 5)
    bench, part = written(tmp_path, ROWS), written(tmp_path, [*rows[:1], *rows[2:]], "part.jsonl")
    with pytest.raises(BenchRowError, match=r"lack 1 of the bench's 5 pairs.*'a'.*resumed"):
        run(MMRLHFBench(location=bench, results={"ours": part}), home)
    whole = written(tmp_path, rows, "whole.jsonl")
    config = MMRLHFBench(location=bench, results={"ours": whole, "again": whole}, resamples=100)
    found = run(config, home)
    assert values(found, "results/ours")["accuracy_plus", "all"] == 1
    assert values(found, "results/ours")["accuracy", "vs:results/again"] == 0
    # Five pairs: the longer answer is chosen in the first only.
    assert values(found, "longer wins")["accuracy", "all"] == pytest.approx(1 / 5)
    assert values(found, "shorter wins")["accuracy_plus", "all"] == pytest.approx(3 / 4)
    assert values(found, "bench")["repeated_rows", "all"] == 0
    assert found.equals(run(config, home))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": [1]}, "row 1: `rewards` is"),
        ({"rewards": [1, "2"]}, "row 1: `rewards` is"),
        ({"id": None}, "row 1: `id` is None"),
        ({"image": 3}, "row 1: `image` is int"),
        ({"chosen": None}, "row 1: `chosen` is NoneType"),
    ],
)
def test_rows_that_are_none(tmp_path, home, change, message):
    row = rewarded(ROWS[:1], [[1, 0]])[0] | change
    with pytest.raises(BenchRowError, match=message):
        run(MMRLHFBench(results={"ours": written(tmp_path, [row])}), home)


def test_a_pair_with_two_rewards_and_a_cut_line(tmp_path, home):
    twice = written(tmp_path, rewarded([ROWS[0], ROWS[0]], [[1, 0], [2, 0]]))
    with pytest.raises(BenchRowError, match="row 2: this pair of id 'a' has other rewards"):
        run(MMRLHFBench(results={"ours": twice}), home)
    (tmp_path / "cut.jsonl").write_text('{"id": "a", "prom')
    with pytest.raises(BenchRowError, match="killed"):
        run(MMRLHFBench(results={"ours": str(tmp_path / "cut.jsonl")}), home)


def test_images_and_frames_are_stored(tmp_path, home):
    from pref_assets.pairs.media import MediaStore

    bench = written(tmp_path, [*ROWS, ROWS[0]])
    pairs, repeated = read_pairs(bench, pictures(tmp_path), ("mcq", "short"), MediaStore(home.media))
    assert repeated == 1
    frames = {group: len(images) for group, images in pairs.select("group", "images").iter_rows()}
    assert frames == {"a": 1, "b": 1, "c": 2, "d": 0}
    shown = pairs.filter(pl.col("group") == "c").row(0, named=True)
    assert shown["prompt_id"] == prompt_id(turn("user", "What is it, c?"), shown["images"])
    with pytest.raises(BenchRowError, match=r"row 1: image 'gone\.png' is not in"):
        read_pairs(written(tmp_path, [one("a", "x", "y", "gone.png")], "g.jsonl"), pictures(tmp_path), None, home.media)
    with pytest.raises(ImagesError):
        read_pairs(bench, str(tmp_path / "nowhere"), None, MediaStore(home.media))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A checkpoint that likes short answers, trained on one pair about the bench's first image."""
    monkeypatch.setattr("pref_assets.evaluation.benches.overlap.pair_ids", lambda folder: ["p1"])

    class Shorter:
        def score(self, texts):
            return [-float(len(text)) for text in texts]

    monkeypatch.setattr(reward_model, "load_reward_model", lambda folder: Shorter())
    return CheckpointRef("rm", "v1", "reward_model", tmp_path)


def trained_on(checkpoint, metadata=None, images=(), text="Another question?"):
    prompt = {"prompt_id": "q1", "messages": turn("user", text), "metadata": metadata, "images": list(images)}
    sides = [{"completion_id": f"{s}1", "prompt_id": "q1", "messages": turn("assistant", s)} for s in "ab"]
    pair = {"pair_id": "p1", "prompt_id": "q1", "chosen_id": "a1", "rejected_id": "b1", "p_chosen": 1.0}

    def table(of, rows):
        return of.frame([{name: row.get(name) for name in of.columns} for row in rows])

    return Inputs(table(PAIRS, [pair]), table(PROMPTS, [prompt]), table(COMPLETIONS, sides), checkpoints=[checkpoint])


def test_a_text_model_is_a_baseline_only_when_asked_for(tmp_path, home, trained):
    bench = MMRLHFBench(location=written(tmp_path, ROWS), image_folder=pictures(tmp_path), resamples=100)
    with pytest.raises(BenchRowError, match="reads text alone, and 4 of 5 pairs"):
        run(bench, home, trained_on(trained))
    found = run(bench.model_copy(update={"images": "none"}), home, trained_on(trained))
    assert values(found, "rm")["accuracy", "all"] == values(found, "shorter wins")["accuracy", "all"]
    assert values(found, "rm")["seen_prompts", "all"] == values(found, "rm")["seen_images", "all"] == 0


def test_a_checkpoint_that_trained_on_the_bench_is_refused(tmp_path, home, trained):
    folder = pictures(tmp_path)
    bench = MMRLHFBench(location=written(tmp_path, ROWS), image_folder=folder, images="none", resamples=100)
    with pytest.raises(SeenInTrainingError, match="trained on prompts of 1 prompts of the bench, such as 'b'"):
        run(bench, home, trained_on(trained, metadata=json.dumps({"id": "b"})))
    pairs, _ = bench.pairs(NOTHING, home)
    image = pairs.filter(pl.col("group") == "a")["images"][0].to_list()
    seen = trained_on(trained, images=image)
    with pytest.raises(SeenInTrainingError, match="trained on images of 1 prompts of the bench, such as 'a'"):
        run(bench, home, seen)
    found = values(run(bench.model_copy(update={"overlap": "report"}), home, seen), "rm")
    assert (found["seen_prompts", "all"], found["seen_images", "all"]) == (0, 0.25)
    gone = Inputs(PAIRS.empty(), seen.prompts, seen.completions, checkpoints=[trained])
    with pytest.raises(SeenInTrainingError, match="1 pairs that trained it are no longer"):
        run(bench, home, gone)


def test_held_out_pairs_of_a_pipeline_by_their_metadata(inputs, home):
    paths = {"q1": "short/x.png", "q2": "long/y.png", "q3": ""}
    metadata = [json.dumps({"image": paths.get(each)}) for each in inputs.prompts["prompt_id"]]
    prompts = inputs.prompts.with_columns(metadata=pl.Series(metadata))
    # Five held-out pairs: two right, one equal, one wrong, one without a score.
    gaps = {"p1": 1.0, "p2": 2.0, "p3": 0.0, "p4": -1.0, "p5": None}
    scores = pl.DataFrame({"pair_id": list(gaps), "score": list(gaps.values())}).with_columns(
        score_chosen="score", score_rejected=pl.when(pl.col("score").is_not_null()).then(0.0)
    )
    asked = Inputs(inputs.pairs, prompts, inputs.completions, scores={"rm": pair_scores(scores)})
    assert set(asked.scores["rm"].columns) == set(PAIR_SCORES.columns)
    found = values(run(MMRLHFBench(scores=["rm"], resamples=100), home, asked), "scores/rm")
    assert found["accuracy", "all"] == pytest.approx(2 / 5)
    assert found["accuracy_plus", "all"] == pytest.approx(1 / 3)
    assert found["undecided", "all"] == pytest.approx(2 / 5)
    assert found["accuracy", "category:long"] == pytest.approx(1 / 3)
    assert found["accuracy", "category:uncategorised"] == 0


def test_settings_that_do_not_go_together():
    with pytest.raises(ValueError, match="image_folder"):
        MMRLHFBench(image_folder="x")
    with pytest.raises(ValueError, match="scores"):
        MMRLHFBench(location="x", scores=["rm"])


@pytest.mark.parametrize(("value", "passed"), [(0.0, True), (0.25, False)])
def test_the_check_of_what_was_seen(value, passed):
    from pref_assets.pipeline.claims import ITSELF
    from pref_assets.pipeline.training_checks import _bench_is_unseen

    about = {"checkpoint": "rm", "version": "v", "subset": "all", "n": 4, "baseline": False, "lo": None, "hi": None}
    rows = [{**about, "metric": "accuracy", "value": 1.0}, {**about, "metric": "seen_images", "value": value}]
    assert _bench_is_unseen().judge({ITSELF: EVALUATIONS.frame(rows).lazy()}).passed is passed
