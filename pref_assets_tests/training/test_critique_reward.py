"""Reward models that criticise: what they read, what their losses are, and that training gives what loading finds."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pref_assets.home import Home
from pref_assets.models.loading import load_causal_lm
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown
from pref_assets.training import CritiqueRewardCheckpoint, worker
from pref_assets.training.checkpoint import Origin, read_manifest
from pref_assets.training.critique_backbone import CritiqueModel, judge_turn
from pref_assets.training.critique_reward import (
    HEAD,
    START,
    critique_texts,
    load_critique_model,
    starting_model,
)
from pref_assets.training.data import with_texts
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.jobs import critique_reward_job
from pref_assets.training.objectives.critique_reward import critique_loss
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_rows, message
from pref_assets_tests.training.conftest import make_job as policy_job

SETTINGS: dict[str, Any] = {
    "subset": "s",
    "critiques": "own",
    "batch_pairs": 2,
    "learning_rate": 0.01,
    "save_every": 2,
    "max_length": 256,
}


def criticised(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with a critique of each side; the last pair is a tie."""
    ids = [*rows["chosen_id"], *rows["rejected_id"]]
    said = [f"It {'counts' if each.startswith('c') else 'only apologises'}, number {each}." for each in ids]
    texts = critique_texts(pl.DataFrame({"completion_id": ids, "critique": said}))(rows, rows, rows)
    last = pl.col("pair_id") == rows["pair_id"].max()
    return with_texts(rows, texts).with_columns(p_chosen=pl.when(last).then(0.5).otherwise("p_chosen"))


def make_job(home: Path, model: str, rows: pl.DataFrame, origin: Origin | None = None, **settings: Any) -> Any:
    config = CritiqueRewardCheckpoint.model_validate({**SETTINGS, "model": model, **settings})
    return critique_reward_job(home, "p", "rm", config, rows, SUBSET, {}, origin)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llava(tmp_path_factory.mktemp("models") / "llava"))


@pytest.fixture(scope="module")
def uris(home: Home) -> list[str]:
    found = []
    for colour in ("red", "blue"):
        stream = io.BytesIO()
        Image.new("RGB", (20, 14), colour).save(stream, "PNG")
        found.append(MediaStore(home.media).put(stream.getvalue()))
    return found


@pytest.fixture(scope="module")
def seeing(llava: str, home: Home) -> CritiqueModel:
    return starting_model(CritiqueRewardCheckpoint.model_validate({**SETTINGS, "model": llava}))


@pytest.fixture(scope="module")
def trained(tiny: str, home: Home) -> tuple[dict[str, Any], Recorder]:
    report = Recorder()
    job = make_job(home.root, tiny, criticised(make_rows()), epochs=3)
    return worker.run(job, report), report


def asked(text: str, images: list[str]) -> list[dict[str, str]]:
    return shown(message("user", text), images)


def test_the_judge_sees_images_before_question_and_answer():
    prompt = shown(message("user", "<image>\nWhat colour?"), ["media://1"])
    [turn] = judge_turn("Q {question} A {answer} {answers}", prompt, message("assistant", "It is {question}."))
    assert turn["role"] == "user+json"
    assert turn["content"] == (
        '{"content":[{"image":"media://1","type":"image"},'
        '{"text":"Q What colour? A It is {question}. {answers}","type":"text"}]}'
    )
    [other] = judge_turn("{question} {answer}", prompt, message("assistant", "Red."), images=[])
    assert other == {"role": "user", "content": "What colour? Red."}
    several = [*message("user", "Hello"), *message("assistant", "Hi"), *message("user", "Count")]
    [turn] = judge_turn("{question}|{answer}", several, message("assistant", "1"))
    assert turn["content"] == "user: Hello\n\nassistant: Hi\n\nuser: Count|1"


def test_the_reward_is_read_at_the_last_token_and_critique_tokens_come_after_the_prompt(seeing, uris):
    prompt, answer = asked("What colour?", uris[:1]), message("assistant", "Red.")
    whole, bare = (seeing.read(prompt, answer, said) for said in ("It is red indeed.", None))
    tokenizer = seeing.reader.tokenizer
    assert tokenizer.decode(whole.completion_ids) == "It is red indeed.<|im_end|>\n"
    assert bare.ids == whole.ids[: whole.n_prompt]
    assert tokenizer.decode(bare.ids).endswith("<|im_start|>assistant\n")
    assert (bare.n_completion, bare.truncated, whole.truncated) == (0, False, False)


def test_losses_are_those_of_the_model_itself(seeing, uris):
    """The cross-entropy of transformers with prompt tokens masked (-100), and the head on its last hidden state."""
    sequences = [
        seeing.read(asked("What colour?", uris[:1]), message("assistant", "Red."), "Right: it is red, as one can see."),
        seeing.read(asked("And now?", []), message("assistant", "No idea."), "Nothing."),
    ]
    with torch.no_grad():
        judged = seeing.forward(sequences, critiques=True)
        losses = critique_loss(judged.logps, judged.owners, 2)
        for row, each in enumerate(sequences):
            ids = torch.tensor([each.ids])
            labels = ids.clone()
            labels[0, : each.n_prompt] = -100
            images = {} if each.seen is None else each.seen.tensors()
            found = seeing.model(input_ids=ids, labels=labels, output_hidden_states=True, **images)
            assert float(losses[row]) == pytest.approx(float(found.loss), abs=1e-4)
            reward = seeing.head(found.hidden_states[-1][0, -1])
            assert float(judged.rewards[row]) == pytest.approx(float(reward), abs=1e-4)


def test_rewards_do_not_depend_on_the_batch(seeing, uris):
    sequences = [
        seeing.read(asked("What colour?" * (1 + i), uris[: i % 3]), message("assistant", "Red."), said)
        for i, said in enumerate(["Right.", None, "Wrong, it is green and not red at all.", "Right.", None])
    ]
    together, alone = (seeing.score(sequences, tokens) for tokens in (10_000, 1))
    assert together == pytest.approx(alone, abs=1e-5)
    assert seeing.score(sequences[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert len(set(together.round(4))) == 5


def test_what_is_too_long_is_cut_and_said_so(seeing, uris):
    short = CritiqueModel(seeing.model, seeing.head, seeing.reader, "{question} {answer}", 48)
    answer = message("assistant", "Red.")
    cut = short.read(asked("word " * 60, []), answer, "Right.")
    assert (len(cut.ids), cut.truncated) == (48, True)
    assert short.reader.tokenizer.decode(cut.completion_ids) == "Right.<|im_end|>\n"
    bare = short.read(asked("word " * 60, []), answer, None)
    assert (len(bare.ids), bare.truncated) == (48, True)
    with pytest.raises(TrainingDataError, match="images are not cut: raise max_length"):
        short.read(asked("word " * 60, uris[:1]), answer, None)


def test_training_says_what_its_loss_is_made_of_and_ties_count_apart(trained):
    result, report = trained
    for _, values in report.steps:
        parts = sum(values[f"{name}_loss"] for name in ("bt", "tie", "center", "critique"))
        assert values["loss"] == pytest.approx(parts, rel=1e-5)
    assert report.steps[-1][1]["critique_loss"] < report.steps[0][1]["critique_loss"]
    # Each epoch has the tie in one of its three steps.
    assert sum(values["tie_loss"] > 0 for _, values in report.steps) == 3
    assert result["tied_pairs"] == 1
    assert result["truncated_sequences"] == 0
    assert read_manifest(result["folder"]).kind == "critique_reward_model"


def test_a_published_model_gives_the_trained_rewards(trained, tiny):
    """Loaded anew, with its adapter merged, the model puts counting above apologies, which an untrained one does not
    know of."""
    model = load_critique_model(trained[0]["folder"])
    rows = criticised(make_rows())
    margins = []
    for prompt, chosen, rejected, texts in rows.select("prompt", "chosen", "rejected", "texts").iter_rows():
        said = {each["name"]: each["text"] for each in texts}
        pair = [
            model.read(prompt, chosen, said["critique_chosen"]),
            model.read(prompt, rejected, said["critique_rejected"]),
        ]
        margins.append(float(np.subtract(*model.score(pair))))
    assert all(each > 0 for each in margins[:-1])
    [(text, finished)] = model.criticise(
        [judge_turn(model.instruction, rows["prompt"][0], rows["chosen"][0])],
        sampling(max_new_tokens=4),
    )
    assert isinstance(text, str)
    assert finished in (True, False)


def sampling(**settings: Any) -> Any:
    from pref_assets.models.generation import Sampling

    return Sampling(temperature=0, **settings)


def test_killed_and_resumed_equals_uninterrupted(trained, tiny, tmp_path):
    class Killed(BaseException):
        pass

    class Killer(Recorder):
        def metrics(self, step, values):
            if step == 5:
                raise Killed

    rows = criticised(make_rows())
    with pytest.raises(Killed):
        worker.run(make_job(tmp_path, tiny, rows, epochs=3), Killer())
    result = worker.run(make_job(tmp_path, tiny, rows, epochs=3), Recorder())
    assert result["resumed_from"] == 4
    for name in (HEAD, "adapter_model.safetensors"):
        found, expected = (load_file(Path(each["folder"]) / name) for each in (result, trained[0]))
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_model_that_does_not_criticise_and_one_of_ties_alone(tiny, tmp_path):
    rows = make_rows(4)
    report = Recorder()
    result = worker.run(make_job(tmp_path, tiny, rows, critiques=None), report)
    assert "critique_loss" not in report.steps[0][1]
    model = load_critique_model(result["folder"])
    assert np.isfinite(model.score([model.read(rows["prompt"][0], rows["chosen"][0], None)])).all()
    tied = Recorder()
    worker.run(make_job(tmp_path, tiny, rows.with_columns(p_chosen=pl.lit(0.5)), critiques=None), tied)
    assert "accuracy" not in tied.steps[0][1]
    assert tied.steps[0][1]["bt_loss"] == 0


def test_pairs_without_a_critique_are_refused_by_name(tiny, tmp_path):
    rows = criticised(make_rows(3))
    bare = rows.with_columns(texts=pl.when(pl.col("pair_id") == "pair1").then([]).otherwise("texts"))
    with pytest.raises(TrainingDataError, match=r"1 of 3 pairs have a side without a critique in 'own': pair1; select"):
        worker.run(make_job(tmp_path, tiny, bare), Recorder())


@pytest.mark.parametrize("lora", [{}, None])
def test_it_begins_with_a_policy_and_needs_it_no_more(lora, tiny, reference, logps, tmp_path):
    policy = worker.run(policy_job(tmp_path, make_rows(), reference, logps, epochs=1, lora=lora), Recorder())
    start = Origin(name="dpo", version=policy["version"])
    settings = {"start": "dpo", "learning_rate": 1e-12, "lora": lora}
    job = make_job(tmp_path, tiny, criticised(make_rows(2)), start, **settings)
    folder = Path(worker.run(job, Recorder())["folder"])
    Path(policy["folder"]).rename(tmp_path / "gone")
    model = load_critique_model(folder)
    assert (folder / START).exists() == (lora is not None)
    # Hardly anything was learnt, so the weights are the policy's, which are not the base's.
    from pref_assets.training.critique_backbone import with_weights_of

    name = "model.layers.1.self_attn.q_proj.weight"
    expected = with_weights_of(tiny, tmp_path / "gone", "cpu").state_dict()[name]
    found, base = model.model.state_dict()[name], load_causal_lm(tiny, "cpu").state_dict()[name]
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, base, atol=1e-4)


def test_a_start_of_another_kind_or_model_is_refused(trained, tiny, llava, home, reference, logps):
    start = Origin(name="rm", version=trained[0]["version"])
    with pytest.raises(TrainingDataError, match="is a critique_reward_model, no policy"):
        worker.run(make_job(home.root, tiny, criticised(make_rows(2)), start, start="rm"), Recorder())
    job = policy_job(home.root, make_rows(2), reference, logps, epochs=1)
    start = Origin(name="dpo", version=worker.run(job, Recorder())["version"])
    with pytest.raises(TrainingDataError, match=r"was trained on the model .*, which is not .*llava; use one model"):
        worker.run(make_job(home.root, llava, criticised(make_rows(2)), start, start="dpo"), Recorder())


def test_the_instruction_has_places():
    with pytest.raises(ValueError, match=r"no place for \{answer\}"):
        CritiqueRewardCheckpoint.model_validate({**SETTINGS, "model": "/x", "instruction": "Is {question} good?"})
