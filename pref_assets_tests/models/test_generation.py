import pytest

from pref_assets.models.generation import Sampling, _choose, _encode, generate
from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.models.tiny import tiny_llama

TALKS = [
    [{"role": "user", "content": "Name a river."}],
    [{"role": "user", "content": "Write one long sentence about a slow train in the rain at night."}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}],
    [{"role": "user", "content": "Name a river."}],
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = str(tiny_llama(tmp_path_factory.mktemp("tiny")))
    return load_causal_lm(folder, "cpu"), load_tokenizer(folder)


def test_an_answer_does_not_depend_on_its_batch(tiny):
    # Cool, because a random model at 1 is flat over 49,152 tokens, where float rounding alone moves a draw.
    sampling = Sampling(max_new_tokens=12, temperature=0.1, seed=3)
    whole = generate(*tiny, TALKS, sampling)
    assert whole == generate(*tiny, TALKS, sampling.model_copy(update={"batch_size": 1}))
    assert whole[1:3] == generate(*tiny, TALKS[1:3], sampling)
    assert [whole[0], whole[3]] == generate(*tiny, [TALKS[0], TALKS[0]], sampling)


def test_a_repeated_conversation_gets_another_answer_and_another_seed_too(tiny):
    first = generate(*tiny, TALKS, Sampling(max_new_tokens=12, seed=3))
    assert first[0] != first[3]
    assert first[0] != generate(*tiny, TALKS[:1], Sampling(max_new_tokens=12, seed=4))[0]


def test_greedy_equals_the_library(tiny):
    model, tokenizer = tiny
    ours = generate(model, tokenizer, TALKS[:3], Sampling(max_new_tokens=8, temperature=0))
    for talk, answer in zip(TALKS, ours, strict=False):
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        theirs = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert answer == tokenizer.decode(theirs, skip_special_tokens=True)


def test_answers_stop_at_the_end_token(tiny):
    model, tokenizer = tiny
    sampling = Sampling(max_new_tokens=6, temperature=0)
    ids = tokenizer(generate(model, tokenizer, TALKS[:1], sampling)[0], add_special_tokens=False)["input_ids"]
    before = model.generation_config.eos_token_id
    try:
        model.generation_config.eos_token_id = [ids[1]]
        assert generate(model, tokenizer, TALKS[:1], sampling) == [tokenizer.decode(ids[:1])]
    finally:
        model.generation_config.eos_token_id = before


def test_progress_reaches_the_total(tiny):
    seen = []
    generate(*tiny, TALKS, Sampling(max_new_tokens=2, batch_size=3), lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]
    assert generate(*tiny, [], Sampling()) == []


def test_draws_invert_the_cumulative_distribution():
    import torch

    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().repeat(4, 1)
    uniforms = torch.tensor([0.0, 0.49, 0.51, 0.81], dtype=torch.float64)
    assert _choose(logits, uniforms, Sampling(temperature=1)).tolist() == [0, 0, 1, 2]
    # The nucleus of 0.7 is {0, 1}: 0.81 of its mass 0.8 lies at 0.648, in token 1.
    assert _choose(logits, uniforms, Sampling(temperature=1, top_p=0.7)).tolist() == [0, 0, 0, 1]
    # The nucleus always holds the most likely token.
    assert _choose(logits, uniforms, Sampling(temperature=1, top_p=0.01)).tolist() == [0, 0, 0, 0]
    assert _choose(logits, uniforms, Sampling(temperature=0)).tolist() == [0, 0, 0, 0]


def test_prompts_that_hold_more_than_text_reach_the_template(tiny, monkeypatch):
    _, tokenizer = tiny
    template = "{{ tools[0].name }}{% for m in messages %}<{{ m.role }}>{{ m.name }}: {{ m.content }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    asked = [
        {"role": "tools", "content": '[{"name":"plus"}]'},
        {"role": "tool+json", "content": '{"content":"3","name":"plus"}'},
    ]
    assert tokenizer.decode(_encode(tokenizer, [asked])[0]) == "plus<tool>plus: 3"
