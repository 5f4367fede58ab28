"""Further sequences on the tiny model: losses and gradients do not depend on the batching; live answers."""

from pathlib import Path

import pytest
import torch

from pref_assets.models.loading import load_tokenizer
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.loop import MicroBatch
from pref_assets.training.objectives import DCPO, DOVE, DPO, MAPL, RDPO, SELM, SPO, HierarchicalDPO, HyPO
from pref_assets.training.objectives.live import LiveSamples
from pref_assets.training.online_samples import STEPS, LiveSampler
from pref_assets.training.pair_batches import Batches
from pref_assets.training.policy import PolicyCheckpoint, train_policy
from pref_assets_tests.training.conftest import SETTINGS, Recorder, make_job, make_rows
from pref_assets_tests.training.objectives.laws import (
    assert_batching_changes_nothing,
    of_sentences,
    of_two_prompts,
    steps_of,
    tiny_data,
    with_text,
)
from pref_assets_tests.training.objectives.test_every_objective import known


def prepared(objective, rows, tiny, reference, home):
    """A policy that differs from the reference, and the pairs."""
    return tiny_data(objective, tiny, rows, known(home, objective, rows, reference), reference)


@pytest.mark.parametrize(
    ("objective", "change"),
    [
        (DOVE(inner=DPO(loss_type="ipo")), of_two_prompts),
        (DCPO(), of_two_prompts),
        (HierarchicalDPO(), of_sentences),
        (MAPL(), of_sentences),
        (RDPO(gamma=0.1), with_text("rationale")),
        (SELM(alpha=1.0), with_text("sampled")),
        (SPO(gamma=1.0), of_sentences),
    ],
    ids=lambda each: getattr(each, "type", ""),
)
def test_batching_changes_nothing(objective, change, tiny, reference, tmp_path):
    policy, data = prepared(objective, change(make_rows(4)), tiny, reference, tmp_path)
    (losses, _) = assert_batching_changes_nothing(objective, policy, data)
    plain, _ = steps_of(objective.inner, policy, data, 100_000, steps=1)
    assert not torch.allclose(losses, plain[0], atol=1e-6)


def test_dove_of_pairs_of_one_prompt_is_dpo(tiny, reference, tmp_path):
    policy, data = prepared(DOVE(), make_rows(3), tiny, reference, tmp_path)
    ours, theirs = (steps_of(each, policy, data, 100_000, steps=1) for each in (DOVE(), DPO()))
    assert torch.equal(ours[0][0], theirs[0][0])
    assert all(torch.equal(one, other) for one, other in zip(ours[1], theirs[1], strict=True))


def test_the_head_of_spo_has_gradients_and_reads_every_degree(tiny, reference, tmp_path):
    objective = SPO()
    policy, data = prepared(objective, of_sentences(make_rows(3)), tiny, reference, tmp_path)
    head = objective.head(policy.config.hidden_size)
    (part,) = Batches(policy, data, objective, 100_000, head)(range(3))
    part.losses.sum().backward()
    assert float(head.weight.grad.norm()) > 0
    assert part.values["spo/ladders"].tolist() == [1, 1, 1]
    assert 0.5 < float(part.values["spo/cross_entropy"].mean()) < 3


# live answers


@pytest.fixture
def live(tiny, reference, tmp_path):
    """Makes a sampler with its policy and pairs."""

    def make(objective=HyPO(lam=0.1), seed=0, **settings):  # noqa: B008 (immutable)
        policy, data = prepared(objective, make_rows(3), tiny, reference, tmp_path)
        carried = {STEPS: torch.zeros(1, dtype=torch.float64)}
        asked = LiveSamples(**{"n": 2, "max_new_tokens": 6, **settings})
        return LiveSampler(policy, load_tokenizer(tiny), data, asked, 256, seed, carried)

    return make


def answers(parts):
    return {name: {row: each.ids for row, each in enumerate(part.encoded) if each} for name, part in parts.items()}


def test_live_answers_belong_to_seed_step_and_pair_and_to_nothing_else(live):
    sampler = live()
    first, second = answers(sampler([0, 1, 2])), answers(sampler([0, 1, 2]))
    assert set(first) == {"sampled_0", "sampled_1"}
    assert first["sampled_0"] != first["sampled_1"]
    assert first != second
    again = live()
    assert answers(again([1])) == {name: {1: of[1]} for name, of in first.items()}
    assert answers(again([2, 1])) == {name: {2: of[2], 1: of[1]} for name, of in second.items()}
    assert answers(live(batch_size=1)([0, 1, 2])) == first
    assert answers(live(seed=1)([0, 1, 2])) != first
    # A run that resumes after one step has the counter, and draws what the first run would have.
    resumed = live()
    resumed.carried[STEPS].add_(1)
    assert answers(resumed([0, 1, 2])) == second


def test_live_references_are_those_of_the_model_without_adapters(live):
    sampler = live()
    before = [module.training for module in sampler.model.modules()]
    part = sampler([0, 2])["sampled_0"]
    assert [module.training for module in sampler.model.modules()] == before
    assert part.encoded[1] is None
    encoded = [part.encoded[0], part.encoded[2]]
    with sampler.model.disable_adapter():
        expected, _ = completion_logps(sampler.model, encoded, 256)
    here, _ = completion_logps(sampler.model, encoded, 256)
    assert part.ref[[0, 2]].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert abs(expected - here).max() > 1e-3
    prompts = [sampler.data.chosen[row] for row in (0, 2)]
    assert all(each.ids[: each.n_prompt] == p.ids[: p.n_prompt] for each, p in zip(encoded, prompts, strict=True))
    assert all(1 <= each.n_completion <= 6 for each in encoded)


def test_answers_of_the_reference_do_not_change_with_the_policy(live):
    one, other = live(by="reference"), live(by="reference")
    with torch.no_grad():
        for name, parameter in other.model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(20)
    assert answers(one([0, 1, 2])) == answers(other([0, 1, 2]))


@pytest.mark.parametrize(
    ("objective", "by"),
    [(HyPO(lam=0.5), "policy"), (SELM(alpha=1.0, samples=2), "reference")],
    ids=lambda each: getattr(each, "type", ""),
)
def test_batching_changes_nothing_of_live_answers(live, objective, by):
    def step(batch_tokens: int) -> tuple[list[MicroBatch], list[torch.Tensor]]:
        sampler = live(objective, by=by)
        batches = Batches(sampler.model, sampler.data, objective, batch_tokens, live=sampler)
        found = list(batches([0, 1, 2]))
        torch.cat([each.losses for each in found]).sum().backward()
        return found, [p.grad for p in sampler.model.parameters() if p.grad is not None]

    (small, one), (large, other) = step(64), step(100_000)
    assert len(small) > 1 == len(large)
    losses = torch.cat([each.losses for each in small])[
        torch.tensor([r for each in small for r in each.rows]).argsort()
    ]
    torch.testing.assert_close(losses, large[0].losses[torch.tensor(large[0].rows).argsort()], rtol=1e-4, atol=1e-4)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_an_unchanged_policy_has_no_divergence(rows, reference, logps, tmp_path):
    report = Recorder()
    objective = {"type": "hypo", "lam": 1.0, "max_new_tokens": 4}
    train_policy(make_job(tmp_path, rows, reference, logps, objective=objective), report)
    found = [metrics["reverse_kl"] for _, metrics in report.steps]
    assert found[0] == pytest.approx(0, abs=1e-4)
    assert found[-1] != pytest.approx(0, abs=1e-4)


def test_live_answers_need_adapters_on_a_base_model(rows, reference, logps, tmp_path: Path):
    with pytest.raises(ValueError, match="so it needs `lora`"):
        PolicyCheckpoint.model_validate({**SETTINGS, "objective": {"type": "hypo"}, "lora": None})
    PolicyCheckpoint.model_validate({**SETTINGS, "objective": {"type": "hypo", "lam": 0}, "lora": None})
    earlier = reference.model_copy(update={"checkpoint": "first"})
    job = make_job(tmp_path, rows, earlier, logps, objective={"type": "selm", "samples": 1})
    with pytest.raises(TrainingDataError, match="reference is checkpoint 'first'"):
        train_policy(job, Recorder())
