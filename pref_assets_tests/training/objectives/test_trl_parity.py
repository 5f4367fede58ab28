"""Every loss of the installed TRL beside ours: the same model, pairs and token ids; loss, rewards and gradient.

TRL's own trainers compute their side. The table of largest differences, ``docs/measured/trl_parity.csv``, is made by

    TRL_PARITY_CSV=docs/measured/trl_parity.csv pytest -m "slow or not slow" <this file>
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.data import Encoded
from pref_assets.training.objectives import BCO, CPO, DPO, KTO, ORPO, Objective
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import PairData, pair_data
from pref_assets.training.reference import ReferenceLogps
from pref_assets_tests.training.conftest import make_rows
from pref_assets_tests.training.objectives.test_every_objective import known

trl = pytest.importorskip("trl", reason="TRL is a development dependency")

MAX_LENGTH = 96
TOLERANCE = 2e-5
"""Of losses and rewards (relative above 1), and gradients (relative to the largest): float32 sums in another order."""


@dataclass
class Ours:
    """Our side of a comparison: mean loss, mean rewards, and the gradient of every weight in one vector."""

    loss: float
    chosen: float
    rejected: float
    gradient: torch.Tensor


@pytest.fixture(scope="module")
def policy(tiny):
    return load_causal_lm(tiny, "cpu", "float32").requires_grad_(True)


@pytest.fixture(scope="module")
def referred(tiny, tmp_path_factory) -> ReferenceLogps:
    """The policy with noise on its weights, kept with log-probabilities of tokens."""
    model = load_causal_lm(tiny, "cpu", "float32")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    folder = str(tmp_path_factory.mktemp("reference"))
    model.save_pretrained(folder)
    load_tokenizer(tiny).save_pretrained(folder)
    return ReferenceLogps(model=folder, max_length=MAX_LENGTH, tokens=True)


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    yield rows
    if path := os.environ.get("TRL_PARITY_CSV"):
        pl.DataFrame(rows).write_csv(path, float_precision=9)


@pytest.fixture(scope="module")
def encoded(tiny, referred, tmp_path_factory):
    """Pairs with reference log-probabilities of each token, by what the objective reads."""
    home, found = tmp_path_factory.mktemp("parity"), {}

    def data(objective: Objective) -> PairData:
        key = (type(objective), str(getattr(objective, "likelihood_of", "")), bool(objective.reference_tokens))
        if key not in found:
            rows = make_rows()
            logps = known(home, objective, rows, referred)
            parts = objective.parts(rows, 0)
            found[key] = pair_data(rows, logps, load_tokenizer(tiny), MAX_LENGTH, "cpu", objective, parts)
        return found[key]

    return data


def ours(policy: Any, data: PairData, objective: Objective) -> Ours:
    policy.zero_grad()
    carried = objective.carried_start()
    (part,) = Batches(policy, data, objective, 100_000, carried=carried)(range(len(data.ids)))
    part.losses.mean().backward()
    means = (float(part.values[f"rewards/{side}"].double().mean()) for side in ("chosen", "rejected"))
    return Ours(float(part.losses.double().mean()), *means, gradient(policy))


def gradient(policy: Any) -> torch.Tensor:
    found = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    policy.zero_grad()
    return found.clone()


def compare(table: list[dict[str, Any]], trainer: str, settings: Mapping[str, Any], one: Ours, trl_side: Ours) -> None:
    largest = float(trl_side.gradient.abs().max())
    assert largest > 0
    differences = {
        "loss": _relative(one.loss, trl_side.loss),
        "rewards": max(_relative(one.chosen, trl_side.chosen), _relative(one.rejected, trl_side.rejected)),
        "gradient": float((one.gradient - trl_side.gradient).abs().max()) / largest,
    }
    shown = ", ".join(f"{name}={value}" for name, value in settings.items() if name != "loss_type")
    loss_type = settings.get("loss_type", "")
    named = loss_type if isinstance(loss_type, str) else "+".join(loss_type)
    row = {"trainer": trainer, "loss_type": named, "settings": shown, "trl_loss": trl_side.loss}
    table.append({**row, **{f"{name}_difference": value for name, value in differences.items()}})
    assert max(differences.values()) < TOLERANCE, differences


def _relative(value: float, expected: float) -> float:
    return abs(value - expected) / max(1.0, abs(expected))


def arguments(folder: Path, **settings: Any) -> dict[str, Any]:
    common: dict[str, Any] = {
        "output_dir": str(folder),
        "max_length": MAX_LENGTH,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_tqdm": True,
    }
    return {**common, **settings}


def dataset():
    from datasets import Dataset

    return Dataset.from_list(make_rows().select("prompt", "chosen", "rejected").to_dicts())


def prompt(each: Encoded) -> list[int]:
    return list(each.ids[: each.n_prompt])


@contextmanager
def having(trainer: Any, **values: Any) -> Iterator[None]:
    """The trainer with other attributes for a while."""
    before = {name: getattr(trainer, name) for name in values}
    try:
        for name, value in values.items():
            setattr(trainer, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(trainer, name, value)


def of_trl(policy: Any, trainer: Any, loss: torch.Tensor) -> Ours:
    policy.zero_grad()
    loss.backward()
    metrics = trainer._metrics["train" if policy.training else "eval"]
    return Ours(loss.item(), *(metrics[f"rewards/{side}"][-1] for side in ("chosen", "rejected")), gradient(policy))


@pytest.fixture(scope="module")
def dpo_trainer(tmp_path_factory, tiny, policy, referred):
    settings = arguments(tmp_path_factory.mktemp("dpo"), use_weighting=True)
    return trl.DPOTrainer(
        model=policy,
        ref_model=load_causal_lm(referred.model, "cpu", "float32"),
        args=trl.DPOConfig(**settings),
        train_dataset=dataset(),
        processing_class=load_tokenizer(tiny),
    )


SMOOTHED = {"robust": 0.2, "exo_pair": 0.001, "aot": 0.1, "aot_unpaired": 0.1}
TYPES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
DPO_CASES: list[dict[str, Any]] = [
    *({"loss_type": name, "beta": 0.3, "label_smoothing": SMOOTHED.get(name, 0.0)} for name in TYPES),
    *({"loss_type": name, "beta": 0.3, "f_divergence": "forward_kl"} for name in ("sigmoid", "ipo")),
    *({"loss_type": name, "f_divergence": "js_divergence"} for name in ("hinge", "sigmoid_norm")),
    *({"loss_type": "sigmoid", "f_divergence": "alpha_divergence", "f_alpha": a} for a in (0.0, 0.5, 1.0, 2.0)),
    *({"loss_type": name, "beta": 0.3, "ld_alpha": 0.4} for name in ("sigmoid", "ipo", "aot", "sft")),
    # TRL 1.16 fails on `sft` with use_weighting: it writes into an expanded tensor.
    *({"loss_type": name, "beta": 0.3, "use_weighting": True} for name in ("sigmoid", "apo_zero")),
    {"loss_type": ("sigmoid", "bco_pair", "sft"), "loss_weights": (0.8, 0.2, 1.0)},
    {"loss_type": ("sigmoid", "robust"), "beta": 0.3, "ld_alpha": 0.2, "use_weighting": True},
]


def cases(settings: Sequence[dict[str, Any]], quick: int) -> list[Any]:
    """Parameters of a test, all but the first few of them slow together."""
    return [
        pytest.param(each, id="-".join(map(str, each.values())), marks=[pytest.mark.slow] if i >= quick else [])
        for i, each in enumerate(settings)
    ]


@pytest.mark.parametrize("settings", cases(DPO_CASES, len(TYPES)))
def test_dpo(settings, policy, dpo_trainer, encoded, table):
    objective = DPO(**settings)
    data = encoded(objective)
    batch = dpo_trainer.data_collator(
        [
            {"prompt_ids": prompt(c), "chosen_ids": list(c.completion_ids), "rejected_ids": list(r.completion_ids)}
            for c, r in zip(data.chosen, data.rejected, strict=True)
        ]
    )
    with having(
        dpo_trainer,
        loss_types=list(objective.loss_types),
        loss_weights=list(objective.loss_weights or [1.0] * len(objective.loss_types)),
        beta=objective.beta,
        label_smoothing=objective.label_smoothing,
        f_divergence_type=objective.f_divergence,
        f_alpha_divergence_coef=objective.f_alpha,
        ld_alpha=objective.ld_alpha,
        use_weighting=objective.use_weighting,
    ):
        loss = dpo_trainer._compute_loss(policy, batch, return_outputs=False)
        expected = of_trl(policy, dpo_trainer, loss)
    compare(table, "DPO", settings, ours(policy, data, objective), expected)


@pytest.fixture(scope="module")
def kto_trainer(tmp_path_factory, tiny, policy, referred):
    settings = arguments(tmp_path_factory.mktemp("kto"))
    return trl.KTOTrainer(
        model=policy,
        ref_model=load_causal_lm(referred.model, "cpu", "float32"),
        args=trl.KTOConfig(**settings),
        train_dataset=dataset(),
        processing_class=load_tokenizer(tiny),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "kto", "beta": 0.3},
        {"loss_type": "kto", "beta": 0.3, "desirable_weight": 1.3, "undesirable_weight": 0.5},
        {"loss_type": "apo_zero_unpaired", "beta": 0.3},
    ],
    ids=["kto", "weighted", "apo_zero_unpaired"],
)
def test_kto(settings, policy, kto_trainer, encoded, table):
    objective, examples = KTO(**settings), []
    # What follows the prompts in place of their answers is the objective's choice; `test_kto.py` has the rule.
    data = encoded(KTO())
    for side, label in (("chosen", True), ("rejected", False)):
        both = zip(data.side(side), data.side(f"mismatched_{side}"), strict=True)
        for each, other in both:
            answers = {"completion_ids": list(each.completion_ids), "KL_completion_ids": list(other.completion_ids)}
            examples.append({"prompt_ids": prompt(each), **answers, "label": label})
    with having(
        kto_trainer,
        loss_type=objective.loss_type,
        calculate_KL=objective.loss_type == "kto",
        beta=objective.beta,
        desirable_weight=objective.desirable_weight,
        undesirable_weight=objective.undesirable_weight,
    ):
        loss = kto_trainer._compute_loss(policy, kto_trainer.data_collator(examples), return_outputs=False)
        expected = of_trl(policy, kto_trainer, loss)
    assert objective.loss_type != "kto" or kto_trainer._metrics["eval"]["kl"][-1] > 0.1
    compare(table, "KTO", settings, ours(policy, data, objective), expected)


def sides_batch(data: PairData) -> dict[str, torch.Tensor]:
    """Padded sides as the CPO and ORPO trainers take them; no padding counts, whatever its id."""
    from torch.nn.utils.rnn import pad_sequence

    batch = {}
    for side in ("chosen", "rejected"):
        ids = [torch.tensor(each.ids) for each in data.side(side)]
        labels = [torch.tensor([-100] * e.n_prompt + list(e.completion_ids)) for e in data.side(side)]
        masks = [torch.ones(len(each), dtype=torch.long) for each in ids]
        for name, values, filler in (("input_ids", ids, 0), ("labels", labels, -100), ("attention_mask", masks, 0)):
            batch[f"{side}_{name}"] = pad_sequence(values, batch_first=True, padding_value=filler)
    return batch


def of_sides(policy: Any, trainer: Any, data: PairData) -> Ours:
    policy.zero_grad()
    loss, metrics = trainer.get_batch_loss_metrics(policy, sides_batch(data))
    loss.backward()
    return Ours(loss.item(), metrics["rewards/chosen"], metrics["rewards/rejected"], gradient(policy))


@pytest.fixture(scope="module")
def cpo_trainer(tmp_path_factory, tiny, policy):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    settings = arguments(tmp_path_factory.mktemp("cpo"), loss_type="simpo")
    return CPOTrainer(
        model=policy, args=CPOConfig(**settings), train_dataset=dataset(), processing_class=load_tokenizer(tiny)
    )


CPO_CASES: list[dict[str, Any]] = [
    {"loss_type": "sigmoid", "beta": 0.3},
    {"loss_type": "sigmoid", "beta": 0.3, "label_smoothing": 0.2, "cpo_alpha": 0.5},
    {"loss_type": "hinge", "beta": 0.01, "cpo_alpha": 0.0},
    {"loss_type": "ipo", "beta": 0.3},
    {"loss_type": "simpo", "beta": 2.0, "cpo_alpha": 0.0},
    {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 1.0},
    # With beta 2 rewards are near 200, whose float32 resolution alone moves the gradient by 1e-4 of itself.
    {"loss_type": "alphapo", "beta": 0.2, "alpha": 0.25, "cpo_alpha": 0.0},
    {"loss_type": "ipo", "beta": 0.3, "alpha": -0.5},
]


@pytest.mark.parametrize("settings", cases(CPO_CASES, 2))
def test_cpo(settings, policy, cpo_trainer, encoded, table):
    objective = CPO(**settings)
    data = encoded(objective)
    kind = "simpo" if objective.loss_type == "alphapo" else objective.loss_type
    chosen = {name: getattr(objective, name) for name in ("beta", "label_smoothing", "cpo_alpha", "alpha")}
    with having(cpo_trainer, loss_type=kind, simpo_gamma=objective.simpo_gamma, **chosen):
        expected = of_sides(policy, cpo_trainer, data)
    compare(table, "CPO", settings, ours(policy, data, objective), expected)


@pytest.fixture(scope="module")
def orpo_trainer(tmp_path_factory, tiny, policy):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    settings = arguments(tmp_path_factory.mktemp("orpo"))
    return ORPOTrainer(
        model=policy, args=ORPOConfig(**settings), train_dataset=dataset(), processing_class=load_tokenizer(tiny)
    )


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_orpo(beta, policy, orpo_trainer, encoded, table):
    settings = {"beta": beta, "likelihood_of": "conversation"}
    objective = ORPO.model_validate(settings)
    data = encoded(objective)
    with having(orpo_trainer, beta=beta):
        expected = of_sides(policy, orpo_trainer, data)
    compare(table, "ORPO", settings, ours(policy, data, objective), expected)


@pytest.fixture(scope="module")
def tpo_trainer(tmp_path_factory, tiny, policy):
    from trl.experimental.tpo import TPOConfig, TPOTrainer

    settings = arguments(tmp_path_factory.mktemp("tpo"), tpo_alpha=0.0)
    gold = dataset().add_column("reference", make_rows()["chosen"].to_list())
    return TPOTrainer(
        model=policy, args=TPOConfig(**settings), train_dataset=gold, processing_class=load_tokenizer(tiny)
    )


@pytest.mark.slow
@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo", "tpo-l"])
def test_tpo_without_its_gold_answer_is_cpo_without_likelihood(loss_type, policy, tpo_trainer, encoded, table):
    kind = "simpo" if loss_type == "tpo-l" else loss_type
    objective = CPO(loss_type=kind, beta=0.005, cpo_alpha=0.0)
    data = encoded(objective)
    examples = [
        {"prompt_ids": prompt(c), "chosen_ids": list(c.completion_ids), "rejected_ids": list(r.completion_ids)}
        for c, r in zip(data.chosen, data.rejected, strict=True)
    ]
    with having(tpo_trainer, loss_type=loss_type, beta=0.005, tpo_l_gamma=objective.simpo_gamma):
        loss = tpo_trainer._compute_loss(policy, tpo_trainer.data_collator(examples), return_outputs=False)
        expected = of_trl(policy, tpo_trainer, loss)
    settings = {"loss_type": loss_type, "beta": 0.005, "tpo_alpha": 0.0}
    compare(table, "TPO", settings, ours(policy, data, objective), expected)


def test_bco_without_rewards_so_far_is_half_of_bco_pair_around_their_mean(policy, encoded):
    # TRL 1.16 has no BCO trainer; its `bco_pair` is compared above.
    data = encoded(BCO())
    pair = ours(policy, data, DPO(loss_type="bco_pair"))
    shifted = ours(policy, data, BCO())
    assert shifted.chosen == pytest.approx(pair.chosen)
    assert 2 * shifted.loss < pair.loss
