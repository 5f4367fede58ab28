"""Training rows, answers drawn while training and online samples, of prompts that show images."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from pref_assets.home import Home
from pref_assets.models.generation import Sampling, generate_ids
from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown, shown_images
from pref_assets.pairs.schema import COMPLETIONS, DECISIONS, PAIRS, PROMPTS, REFERENCE_LOGPS
from pref_assets.training.data import TRAINING_ROWS, encode, sequence_id
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import completion_logps, sequence_logps
from pref_assets.training.objectives import DCPO, DOVE, DPO
from pref_assets.training.objectives.kernel import check_columns
from pref_assets.training.objectives.live import LiveSamples
from pref_assets.training.online.sampling import OnlineSamples, distinct_answers, drawn_rows
from pref_assets.training.online_samples import STEPS, LiveSampler
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import pair_data
from pref_assets.training.policy import Lora, adapted
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.views.parts import edit_last, last_text
from pref_assets_tests.training.conftest import message

LENGTH = 200


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llava(tmp_path_factory.mktemp("models") / "llava"))


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module")
def uris(home: Home) -> list[str]:
    found = []
    for colour in ("red", "blue"):
        stream = io.BytesIO()
        Image.new("RGB", (20, 14), colour).save(stream, "PNG")
        found.append(MediaStore(home.media).put(stream.getvalue()))
    return found


@pytest.fixture(scope="module")
def reader(llava: str, home: Home) -> Any:
    return load_reader(llava)


@pytest.fixture(scope="module")
def model(llava: str) -> Any:
    return load_causal_lm(llava, "cpu")


def asked(uri: str) -> list[dict[str, str]]:
    return shown(message("user", "Which colour is it?"), [uri])


def across(first: str, second: str) -> pl.DataFrame:
    """One answer after two images: right of the first, wrong of the second."""
    row = {
        "pair_id": "p",
        "prompt": asked(first),
        "rejected_prompt": asked(second),
        "chosen": message("assistant", "Red."),
        "rejected": message("assistant", "Red."),
        "chosen_id": "c",
        "rejected_id": "r",
        "p_chosen": 1.0,
        "weight": 1.0,
        "stage": 1,
    }
    return pl.DataFrame([row], schema=TRAINING_ROWS)


def referred(model: Any, reader: Any, rows: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """Reference log-probabilities of the two sides and the parts."""
    row = rows.row(0, named=True)
    texts = [("c", row["prompt"], row["chosen"]), ("r", row["rejected_prompt"], row["rejected"])]
    texts += parts.select("sequence_id", "prompt", "completion").unique("sequence_id").rows()
    logps, counts = completion_logps(model, [encode(reader, p, c, LENGTH) for _, p, c in texts], 1000)
    return REFERENCE_LOGPS.frame(
        {"completion_id": i, "logp": float(logp), "n_tokens": int(n), "truncated": False, "key": "k"}
        for (i, _, _), logp, n in zip(texts, logps, counts, strict=True)
    )


def test_one_answer_to_two_images_trains_where_an_objective_compares_across_prompts(
    llava: str, model: Any, reader: Any, uris: list[str]
) -> None:
    rows, objective = across(*uris), DCPO()
    with pytest.raises(TrainingDataError, match="its two sides answer one prompt; `dove` and `dcpo`"):
        check_columns(rows, DPO())
    check_columns(rows, objective)
    parts = objective.parts(rows, 0)
    reference = referred(model, reader, rows, parts)
    data = pair_data(rows, reference, reader, LENGTH, "cpu", objective, parts)
    policy = adapted(load_causal_lm(llava, "cpu"), Lora(r=2))
    (batch,) = Batches(policy, data, objective, 1000)([0])
    batch.losses.sum().backward()
    assert max(float(p.grad.abs().max()) for p in policy.parameters() if p.grad is not None) > 0
    # How likely an image is, as DOVE asks, nobody says.
    with pytest.raises(TrainingDataError, match="a model says that of words, not of images"):
        pair_data(rows, reference, reader, LENGTH, "cpu", DOVE(), DOVE().parts(rows, 0))
    with pytest.raises(TrainingDataError, match="both completions are the same"):
        pair_data(across(uris[0], uris[0]), reference, reader, LENGTH, "cpu", objective, parts)


def test_answers_drawn_while_training_are_answers_to_the_image(
    llava: str, model: Any, reader: Any, uris: list[str]
) -> None:
    rows = pl.concat(
        across(uri, uri).with_columns(
            pair_id=pl.lit(f"p{i}"),
            rejected_prompt=pl.lit(None, TRAINING_ROWS["prompt"]),
            rejected=pl.lit(pl.Series([message("assistant", "No.")], dtype=TRAINING_ROWS["rejected"])).first(),
        )
        for i, uri in enumerate(uris)
    )
    reference = REFERENCE_LOGPS.frame(
        {"completion_id": i, "logp": -1.0, "n_tokens": n, "truncated": False, "key": "k"}
        for i, n in (("c", 4), ("r", 4))
    )
    data = pair_data(rows, reference, reader, LENGTH, "cpu")
    policy = adapted(load_causal_lm(llava, "cpu"), Lora(r=2))
    carried = {STEPS: torch.zeros(1, dtype=torch.float64)}
    sampler = LiveSampler(policy, reader, data, LiveSamples(n=1, max_new_tokens=4), 1000, 0, carried)
    (drawn,) = sampler([0, 1]).values()
    first, second = drawn.encoded
    assert first is not None
    assert second is not None
    assert [each.seen.uris[0] for each in (first, second) if each.seen] == uris
    alone, _ = completion_logps(model, [first, second], 1)
    assert drawn.ref.tolist() == pytest.approx(alone, abs=1e-4)
    carried[STEPS].zero_()
    assert sampler([1])["sampled_0"].encoded[1] == second


def tables(uris: list[str]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i}", "messages": message("user", "Which?"), "images": images, "split": "train"}
        for i, images in enumerate([uris[:1], uris[1:], []])
    )
    completions = COMPLETIONS.frame(
        {"completion_id": f"{s}{i}", "prompt_id": f"q{i}", "messages": message("assistant", s)}
        for i in range(3)
        for s in "cr"
    )
    pairs = PAIRS.frame(
        {"pair_id": f"p{i}", "prompt_id": f"q{i}", "chosen_id": f"c{i}", "rejected_id": f"r{i}", "p_chosen": 1.0}
        for i in range(3)
    )
    decisions = DECISIONS.frame({"pair_id": f"p{i}", "selected": True, "reason": "kept"} for i in range(3))
    return decisions, pairs, prompts, completions


def test_online_answers_are_drawn_with_images_where_somebody_who_sees_rewards_them(
    llava: str, model: Any, reader: Any, uris: list[str]
) -> None:
    decisions, pairs, prompts, _ = tables(uris)
    endpoint = {"url": "http://localhost:1/v1", "model": "judge"}
    sampling = Sampling(max_new_tokens=3, temperature=1.0)

    def settings(**reward: Any) -> OnlineSamples:
        return OnlineSamples(subset="s", base="b", answers=2, reward=reward, sampling=sampling)

    seeing = settings(type="judge", endpoint=endpoint, longest_side=64)
    found = seeing.asked(decisions, pairs, prompts)
    assert [shown_images(each) for each in found["messages"].to_list()] == [uris[:1], uris[1:], []]
    for blind in (settings(type="judge", endpoint=endpoint), settings(type="checkpoint", checkpoint="rm")):
        assert blind.asked(decisions, pairs, prompts)["prompt_id"].to_list() == ["q2"]
    reference = ReferenceLogps(model=llava, max_length=LENGTH, batch_tokens=1000)
    rows = drawn_rows(model, reader, found.select("messages", id="prompt_id"), seeing, reference)
    items = distinct_answers(found, rows)
    for row in items.iter_rows(named=True):
        assert row["completion_id"] == sequence_id(row["prompt"], row["messages"])
    # A judge is asked with the image in front of its question.
    asks = seeing.reward.asked(items.select("prompt", "messages", id="completion_id"))  # type: ignore[union-attr]
    assert {len(shown_images(each)) for each in asks["messages"].to_list()} == {0, 1}


def test_words_of_a_turn_change_and_its_image_stays(uris: list[str]) -> None:
    turns = asked(uris[0])
    assert last_text(turns, "user") == "Which colour is it?"
    changed = edit_last(turns, "user", lambda text: text.replace("colour", "shape"))
    assert changed is not None
    assert changed == shown(message("user", "Which shape is it?"), [uris[0]])
    between = shown(message("user", "Is <image> red?"), [uris[0]])
    assert edit_last(between, "user", lambda text: text + "!") is None


def test_no_answer_has_a_place_for_an_image(model: Any, reader: Any, uris: list[str]) -> None:
    """Even of a model that would say nothing else."""
    place = reader.processor.image_token_id
    handle = model.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.tensor([place]), 1e4)
    )
    prompt = encode(reader, asked(uris[0]), message("assistant", "x"), LENGTH)
    ids = [list(prompt.ids[: prompt.n_prompt])]
    sampling = Sampling(max_new_tokens=4, temperature=0.0)
    try:
        (answer,) = generate_ids(model, reader.tokenizer, ids, [np.zeros(4)], sampling, seen=[prompt.seen])
    finally:
        handle.remove()
    assert answer
    assert place not in answer


def test_a_models_reference_needs_its_images(reader: Any, uris: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    with Home(tmp_path / "gone").current(), pytest.raises(TrainingDataError, match="cannot be opened"):
        encode(load_reader(str(reader._folder)), asked(uris[0]), message("assistant", "Red."), LENGTH)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_policy_that_sees_learns_in_bfloat16_on_a_gpu(llava: str, uris: list[str]) -> None:
    """The base in bfloat16, float32 adapters, images of two prompts in one batch; chosen answers become likelier."""
    base, reader = load_causal_lm(llava), load_reader(llava)
    assert next(base.parameters()).dtype == torch.bfloat16
    sides = {
        text: [encode(reader, asked(uri), message("assistant", text), LENGTH) for uri in uris]
        for text in ("Red.", "No.")
    }
    policy = adapted(base, Lora(r=4))
    learned = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.01)
    gaps = []
    for _ in range(5):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            chosen, rejected = (sequence_logps(policy, sides[text]) for text in sides)
        gap = (chosen - rejected).mean()
        gaps.append(float(gap.detach()))
        (-torch.nn.functional.logsigmoid(0.1 * gap)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert {p.dtype for p in learned} == {torch.float32}
    assert gaps[-1] > gaps[0] + 1
