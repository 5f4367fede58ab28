"""The same batch through TRL's trainer and through ours: loss, rewards and accuracy agree."""

import pytest
import torch

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.objectives import DPO
from pref_assets.training.pair_batches import pair_micro_batches
from pref_assets.training.pair_data import pair_data
from pref_assets_tests.training.conftest import make_rows

trl = pytest.importorskip("trl", reason="TRL is a development dependency")


@pytest.fixture(scope="module")
def policy(tiny):
    """The reference with noise on its weights."""
    model = load_causal_lm(tiny, "cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(("loss_type", "label_smoothing"), [("sigmoid", 0.0), ("robust", 0.2), ("ipo", 0.0)])
def test_loss_and_rewards_agree(tmp_path, tiny, policy, logps, loss_type, label_smoothing):
    from datasets import Dataset

    rows, tokenizer = make_rows(), load_tokenizer(tiny)
    config = trl.DPOConfig(
        output_dir=str(tmp_path),
        loss_type=loss_type,
        label_smoothing=label_smoothing,
        beta=0.3,
        max_length=None,
        per_device_train_batch_size=len(rows),
        learning_rate=0.0,
        max_steps=1,
        logging_steps=1,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = trl.DPOTrainer(
        model=policy,
        ref_model=load_causal_lm(tiny, "cpu"),
        args=config,
        train_dataset=Dataset.from_list(rows.select("prompt", "chosen", "rejected").to_dicts()),
        processing_class=tokenizer,
    )
    trainer.train()
    expected = trainer.state.log_history[0]

    data = pair_data(rows, logps, tokenizer, 96, "cpu")
    objective = DPO(loss_type=loss_type, label_smoothing=label_smoothing, beta=0.3)
    with torch.no_grad():
        (part,) = pair_micro_batches(policy, data, objective, 100_000, range(len(rows)))
    assert float(part.losses.mean()) == pytest.approx(expected["loss"], rel=1e-3)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen"):
        assert float(part.values[name].double().mean()) == pytest.approx(expected[name], rel=1e-3, abs=1e-3)
    assert float(part.losses.mean()) != pytest.approx(0.6931, abs=1e-3)
    assert completion_logps(policy, data.chosen, 256)[0].mean() == pytest.approx(expected["logps/chosen"], rel=1e-4)
