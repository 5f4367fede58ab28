"""Reward models with other losses, a decoder, adapters, and the recipe regression, scaled Bradley-Terry, ExPO."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from pref_assets.models.tiny import tiny_llama
from pref_assets.pairs.schema import NAMED_VALUE
from pref_assets.training import RewardModelCheckpoint, worker
from pref_assets.training.checkpoint import Origin
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.jobs import reward_model_job
from pref_assets.training.reward_losses import pair_losses
from pref_assets.training.reward_model import WEIGHTS, base_model, beyond, load_reward_model, reward_text, score_texts
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_rows

LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("llama")))


def config(model: str, **settings: Any) -> RewardModelCheckpoint:
    values = {"subset": "s", "model": model, "pooling": "last", "learning_rate": 0.01, "epochs": 3, "batch_pairs": 2}
    return RewardModelCheckpoint.model_validate({**values, "max_length": 64, **settings})


def trained(
    home: Path, model: str, rows: pl.DataFrame, name: str = "rm", start: Origin | None = None, **settings: Any
) -> dict[str, Any]:
    wanted = config(model, **settings)
    job = reward_model_job(home, "p", name, wanted, rows, SUBSET, {}, start)
    return worker.run(job, Recorder())


def asked(rows: pl.DataFrame, **columns: float) -> pl.DataFrame:
    """The rows with named numbers, the same for all."""
    named = [{"name": name, "value": value} for name, value in columns.items()]
    return rows.with_columns(columns=pl.Series([named] * len(rows), dtype=pl.List(NAMED_VALUE)))


def scores(result: dict[str, Any], rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    texts = [[reward_text(p, c) for p, c in rows.select("prompt", side).iter_rows()] for side in ("chosen", "rejected")]
    return score_texts(result["folder"], texts[0]), score_texts(result["folder"], texts[1])


@pytest.mark.parametrize("settings", [{}, {"lora": LORA}, {"loss": "gaussian"}, {"loss": "rao_kupper"}])
def test_a_decoder_learns_the_pairs(tmp_path: Path, decoder: str, settings: dict[str, Any]) -> None:
    rows = make_rows()
    result = trained(tmp_path, decoder, rows, epochs=10, **settings)
    chosen, rejected = scores(result, rows)
    assert (chosen > rejected).all()
    saved = load_file(f"{result['folder']}/{WEIGHTS}")
    if "lora" in settings:
        assert {name.split(".")[0] for name in saved} == {"encoder", "head"}
        assert all("lora_" in name or name.startswith("head.") for name in saved)
    assert saved["head.weight"].shape[0] == (2 if settings.get("loss") == "gaussian" else 1)


def test_the_last_token_is_read_whatever_the_padding(decoder: str) -> None:
    model = base_model(decoder, 32, pooling="last")
    texts = ["one", "one two three four five", "two " * 40]
    tokens = model.tokens(texts)
    assert all(ids[-1] == model.tokenizer.eos_token_id for ids in tokens)
    assert max(map(len, tokens)) == 32
    alone = np.array([float(model.score([text])[0]) for text in texts])
    np.testing.assert_allclose(model.score(texts), alone, atol=1e-5)
    with torch.no_grad():
        states = model.encoder(input_ids=torch.tensor([tokens[0]])).last_hidden_state[0, -1]
        assert float(model.head(states)[0]) == pytest.approx(alone[0], abs=1e-5)


def test_regression_finds_its_targets(tmp_path: Path, decoder: str) -> None:
    rows = asked(make_rows(), target_chosen=2.0, target_rejected=-1.0)
    result = trained(tmp_path, decoder, rows, epochs=30, loss="regression", scores="rated")
    chosen, rejected = scores(result, rows)
    np.testing.assert_allclose(chosen, 2, atol=0.5)
    np.testing.assert_allclose(rejected, -1, atol=0.5)


def loss_of(rows: pl.DataFrame, **settings: Any) -> list[float]:
    outputs = torch.tensor([[1.0, 0.0], [0.5, 0.3]])
    losses = pair_losses(rows, config("m", **settings), torch.device("cpu"))
    return losses(outputs, torch.zeros(2, 2), [0, 1]).tolist()


def test_losses_of_two_pairs_by_hand() -> None:
    rows = make_rows(2)
    plain = [0.313262, 0.474077]
    assert loss_of(rows) == pytest.approx(plain, abs=1e-5)
    assert loss_of(asked(rows, scale=3.0), loss="scaled", scores="s") == pytest.approx([3 * x for x in plain], abs=1e-5)
    assert loss_of(asked(rows, margin=1.0), loss="margin", scores="s")[0] == pytest.approx(0.693147, abs=1e-5)
    both = asked(rows.with_columns(margin=pl.lit(1.0)), margin=1.0)
    assert loss_of(both, loss="margin", scores="s")[0] == pytest.approx(1.313262, abs=1e-5)
    squares = loss_of(asked(rows, target_chosen=0.0, target_rejected=1.0), loss="regression", scores="s")
    assert squares == pytest.approx([1.0, 0.625])
    assert loss_of(rows, loss="gaussian", largest_log_sigma=1e-9)[0] > 0.313262
    ties = rows.with_columns(p_chosen=pl.lit(0.5))
    assert loss_of(ties, soft_labels=False)[0] == pytest.approx(0.5 * 0.313262 + 0.5 * 1.313262, abs=1e-5)


def test_what_the_loss_needs_is_asked_for() -> None:
    with pytest.raises(TrainingDataError, match="needs `scale`"):
        loss_of(make_rows(2), loss="scaled", scores="s")
    with pytest.raises(TrainingDataError, match=r"'s' are negative for .*pair0"):
        loss_of(asked(make_rows(2), scale=-1.0), loss="scaled", scores="s")
    columns = config("m", loss="regression", scores="s").score_columns()
    assert {name: each.column for name, each in columns.items()} == {
        "target_chosen": "score_chosen",
        "target_rejected": "score_rejected",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "scaled"},
        {"scores": "s"},
        {"lora": LORA, "last_layers": 1},
        {"loss": "regression", "scores": "s", "center_coefficient": 0.1},
    ],
)
def test_fields_that_do_not_go_together(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config("m", **settings)


@pytest.mark.parametrize("lora", [None, LORA])
def test_regression_then_scaled_then_beyond(tmp_path: Path, decoder: str, lora: dict[str, Any] | None) -> None:
    rows = make_rows()
    rated = asked(rows, target_chosen=1.0, target_rejected=0.0)
    first = trained(tmp_path, decoder, rated, "first", loss="regression", scores="rated", lora=lora)
    start = Origin(name="first", version=first["version"])
    scaled = asked(rows, scale=2.0)
    second, further = (
        trained(tmp_path, decoder, scaled, "second", start, loss="scaled", scores="s", lora=lora, alpha=alpha)
        for alpha in (0.0, 0.5)
    )
    at = [load_file(f"{each['folder']}/{WEIGHTS}") for each in (first, second, further)]
    name = "head.weight"
    assert not torch.equal(at[0][name], at[1][name])
    torch.testing.assert_close(at[2][name], at[0][name] + 1.5 * (at[1][name] - at[0][name]))
    assert load_reward_model(further["folder"]).score(["hello"]).shape == (1,)


def test_beyond_by_nothing_is_the_end_and_adapters_grow_by_the_factor() -> None:
    start = {"encoder.q.lora_A.default.weight": torch.ones(1, 2), "encoder.q.lora_B.default.weight": torch.zeros(2, 1)}
    end = {name: each + 0.5 for name, each in start.items()}
    assert all(torch.equal(beyond(start, end, 0.0)[name], end[name]) for name in end)
    moved = beyond(start, end, 1.0)
    products = [each[next(iter(reversed(each)))] @ each[next(iter(each))] for each in (end, moved)]
    torch.testing.assert_close(products[1], 2 * products[0])


def test_a_start_of_another_shape_is_refused(tmp_path: Path, decoder: str) -> None:
    rows = make_rows()
    first = trained(tmp_path, decoder, rows, "first", epochs=1)
    start = Origin(name="first", version=first["version"])
    with pytest.raises(TrainingDataError, match="'first' has another lora than this entry"):
        trained(tmp_path, decoder, rows, "second", start, lora=LORA, epochs=1)


def test_pairs_across_prompts_are_read_with_their_own_prompts(tmp_path: Path, decoder: str) -> None:
    rows = make_rows(2)
    other = [[{"role": "user", "content": "Say nothing."}]] * 2
    rows = rows.with_columns(rejected=rows["chosen"], rejected_prompt=pl.Series(other, dtype=rows.schema["prompt"]))
    assert trained(tmp_path, decoder, rows, epochs=1)["identical_pairs"] == 0
