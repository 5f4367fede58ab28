import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.data import Encoded, encode
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import SHARING_ARCHITECTURES, completion_logps, sequence_logps, shares_prompts
from pref_assets_tests.training.conftest import make_rows


@pytest.fixture(scope="module")
def model(tiny):
    return load_causal_lm(tiny, "cpu")


@pytest.fixture(scope="module")
def encoded(tiny):
    tokenizer = load_tokenizer(tiny)
    pairs = make_rows(8).select("prompt", "chosen", "rejected").iter_rows()
    return [encode(tokenizer, prompt, side, 512) for prompt, *sides in pairs for side in sides]


def naive(model, e: Encoded) -> float:
    """One sequence, all logits, a loop over the completion."""
    with torch.no_grad():
        table = model(torch.tensor([e.ids])).logits[0].double().log_softmax(-1)
    return sum(float(table[i - 1, e.ids[i]]) for i in range(e.n_prompt, len(e.ids)))


def test_equal_to_a_full_forward_of_each_sequence(model, encoded):
    logps, counts = completion_logps(model, encoded, 256)
    np.testing.assert_allclose(logps, [naive(model, e) for e in encoded], atol=1e-4)
    assert counts.tolist() == [e.n_completion for e in encoded]


@pytest.mark.parametrize("architecture", SHARING_ARCHITECTURES)
def test_sharing_a_prompt_changes_nothing(architecture, encoded):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        architecture, vocab_size=49152, num_key_value_heads=2, sliding_window=None, pad_token_id=0, **sizes
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert shares_prompts(model)
    with torch.no_grad():
        shared = sequence_logps(model, encoded[:6], [[0, 1], [2, 3], [5], [4]])
        alone = torch.cat([sequence_logps(model, [e]) for e in encoded[:6]])
    torch.testing.assert_close(shared, alone, rtol=0, atol=1e-4)


def test_gradient_through_a_shared_prompt(model, encoded):
    weight = model.model.layers[0].self_attn.q_proj.weight
    gradients = []
    for groups in ([[0, 1], [2, 3]], None):
        (sequence_logps(model, encoded[:4], groups) * torch.tensor([1.0, -1.0, 1.0, -1.0])).sum().backward()
        gradients.append(weight.grad.clone())
        model.zero_grad()
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_an_unknown_architecture_does_not_share_and_agrees(model, encoded):
    expected, _ = completion_logps(model, encoded, 512)
    model.config.model_type = "other"
    try:
        assert not shares_prompts(model)
        found, _ = completion_logps(model, encoded, 512)
    finally:
        model.config.model_type = "llama"
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 128, 100_000])
def test_batching_and_order_change_nothing(model, encoded, batch_tokens):
    expected, _ = completion_logps(model, encoded, 256)
    order = np.random.default_rng(0).permutation(len(encoded))
    logps, _ = completion_logps(model, [encoded[i] for i in order], batch_tokens)
    np.testing.assert_allclose(logps, expected[order], atol=1e-4)


def test_gradient_is_that_of_the_naive_sum(model, encoded):
    weight = model.model.layers[0].self_attn.q_proj.weight
    sequence_logps(model, encoded[:3]).sum().backward()
    ours, weight.grad = weight.grad.clone(), None
    for e in encoded[:3]:
        table = model(torch.tensor([e.ids])).logits[0].log_softmax(-1)
        positions = torch.arange(e.n_prompt, len(e.ids))
        table[positions - 1, torch.tensor(e.completion_ids)].sum().backward()
    torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-6)
    model.zero_grad()


def test_the_head_sees_completion_positions_only(model, encoded):
    seen = []
    handle = model.lm_head.register_forward_hook(lambda _, args, out: seen.append(out.shape[:2]))
    completion_logps(model, encoded[:4], 100_000)
    handle.remove()
    assert seen == [(1, sum(e.n_completion for e in encoded[:4]))]


def test_progress_reaches_the_end_and_nothing_is_fine(model, encoded):
    calls = []
    completion_logps(model, encoded, 128, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(encoded), len(encoded))
    logps, counts = completion_logps(model, [], 128)
    assert logps.shape == counts.shape == (0,)


def test_a_sequence_without_completion_is_refused(model, encoded):
    with pytest.raises(TrainingDataError, match=r"\[1\]"):
        completion_logps(model, [encoded[0], Encoded(encoded[0].ids, len(encoded[0].ids), False)], 128)
