"""Policies asked with their own images, with others' and without: on a real (tiny) model that sees."""

import io
from dataclasses import replace

import polars as pl
import pytest
from PIL import Image

from pref_assets.evaluation import Diversity, RankingAccuracy
from pref_assets.evaluation.answers import policy, stored_answers
from pref_assets.evaluation.base import Inputs, evaluate
from pref_assets.evaluation.policy import evaluate_policy
from pref_assets.evaluation.seen import CannotSeeError, hidden, seen_prompts
from pref_assets.evaluation.token_logps import encode_answer
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.models.tiny import tiny_llama
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown, shown_images
from pref_assets.training.reference import ReferenceLogps
from pref_assets_tests.evaluation.conftest import Quiet, turn
from pref_assets_tests.evaluation.fake_policies import value
from pref_assets_tests.evaluation.test_ranking import train

SAMPLING = Sampling(temperature=1.0, max_new_tokens=4)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("llava") / "llava")


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path / "home")
    with found.current():
        yield found


@pytest.fixture
def pictured(inputs, home):
    """The five held-out pairs; every prompt but the first shows an image of its own."""
    uris = {}
    for prompt, colour in (("q2", "red"), ("q3", "blue"), ("q4", "green")):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(stream, "PNG")
        uris[prompt] = [MediaStore(home.media).put(stream.getvalue())]
    images = pl.Series([uris.get(each, []) for each in inputs.prompts["prompt_id"]], dtype=pl.List(pl.String))
    return replace(inputs, prompts=inputs.prompts.with_columns(images=images))


def measured(config, inputs, home, counted=None):
    def run(job):
        done = evaluate_policy(job, Quiet())
        if counted is not None:
            counted.append(done)

    return evaluate(config, inputs, home, run)


def trained(model, inputs, home):
    reference = ReferenceLogps(model=str(model), max_length=96, batch_tokens=256)
    checkpoint = train(inputs, home, reference)
    return Inputs(inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[checkpoint])


def test_a_policy_is_asked_with_and_without_its_images(llava, pictured, home):
    asked = trained(llava, pictured, home)
    [checkpoint] = asked.checkpoints
    counted = []
    for control in ("own", "none"):
        config = Diversity(images=control, samples=1, sampling=SAMPLING, resamples=100)
        measured(config, asked, home, counted)
        # q1 has no image, so its answers are those of `own`: of two models.
        assert counted[-1]["reused"] == (0 if control == "own" else 2)
        prompts = config.test_prompts(asked)["prompt_id"].to_list()
        assert stored_answers(home, policy(checkpoint), prompts, config.draws()).height == 3
    rows = measured(RankingAccuracy(images="shuffled", resamples=100), asked, home)
    assert value(rows, "dpo", "ranking_accuracy")["n"] == 5


@pytest.mark.parametrize("control", ["own", "shuffled", "none"])
def test_what_is_read_of_completions(pictured, control):
    config = RankingAccuracy(images=control)
    table = config.asked(config.test_pairs(pictured), pictured)
    own = table.filter(pl.col("completion_id") == pl.col("own_id"))["own_id"].to_list()
    assert own == (table["own_id"].sort().to_list() if control == "own" else ["a1", "a2"])
    seen = {own: shown_images(prompt) for own, prompt in table.select("own_id", "prompt").iter_rows()}
    images = dict(pictured.prompts.select("prompt_id", pl.col("images").list.first()).iter_rows())
    expected = {"own": [images["q2"]], "shuffled": [images["q3"]], "none": []}
    assert seen["b1"] == seen["b2"] == expected[control]
    assert seen["a1"] == []


def test_a_model_of_text_alone_is_refused_images(pictured, home, tmp_path):
    asked = trained(tiny_llama(tmp_path / "tiny"), replace(pictured, prompts=without(pictured.prompts)), home)
    asked = replace(asked, prompts=pictured.prompts)
    config = Diversity(samples=2, sampling=SAMPLING, resamples=100)
    with pytest.raises(CannotSeeError, match="reads text alone, and 2 of 3 prompts have images; set `images: none`"):
        measured(config, asked, home)
    assert not measured(config.model_copy(update={"images": "none"}), asked, home).is_empty()


def without(prompts):
    return prompts.with_columns(images=pl.lit([], pl.List(pl.String)))


def test_an_answer_is_read_after_its_image(llava, pictured, home):
    from pref_assets.models.loading import load_reader

    sight = load_reader(str(llava))
    uri = pictured.prompts["images"][1][0]
    turns = shown(turn("user", "Which colour?"), [uri])
    encoded = encode_answer(sight, turns, "red", 8)
    assert encoded.seen is not None
    assert encoded.seen.uris == (uri,)
    assert encoded.completion_ids[-1] == sight.tokenizer.eos_token_id
    assert encode_answer(sight, turn("user", "Which colour?"), "red", 8).seen is None


def test_what_is_hidden():
    parts = shown([{"role": "user", "content": "<image>\nLeft or <image> right?"}], ["a", "b"])
    assert shown_images(parts) == ["a", "b"]
    assert shown_images(hidden(parts)) == []
    assert hidden([{"role": "user", "content": "<image>\nWhich?"}]) == [{"role": "user", "content": "Which?"}]
    said = [{"role": "assistant", "content": "I see <image>."}]
    assert hidden(said) == said


def test_one_image_cannot_be_shuffled():
    prompts = pl.DataFrame(
        {"prompt_id": ["a"], "messages": [turn("user", "?")], "images": [["x"]], "split": ["test"]},
        schema_overrides={"images": pl.List(pl.String)},
    )
    with pytest.raises(ValueError, match="none can be shown another"):
        seen_prompts(prompts, "shuffled", 0)
