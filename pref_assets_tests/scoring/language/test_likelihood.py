import math

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import FollowupLikelihood, Likelihood
from pref_assets.scoring.language.likelihood import logps_and_entropies
from pref_assets.training.errors import TrainingDataError
from pref_assets_tests.scoring.language.conftest import difference_alone, measured, named


@pytest.fixture(scope="module")
def truth(tiny: str, pool: Pool) -> dict[str, tuple[float, float, int]]:
    """Log-probability, entropy and tokens of each completion: one sequence at a time, plain transformers."""
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny).eval()
    turns = dict(pool.prompts.select("prompt_id", "messages").iter_rows())
    found = {}
    for id_, prompt, messages in pool.completions.select("completion_id", "prompt_id", "messages").iter_rows():
        before = tokenizer.apply_chat_template(turns[prompt], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*turns[prompt], *messages], tokenize=False)
        asked = tokenizer(before, add_special_tokens=False)["input_ids"]
        answer = tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logps = model(torch.tensor([asked + answer])).logits[0].double().log_softmax(-1)
        logps = logps[len(asked) - 1 : -1]
        logp = sum(float(row[token]) for row, token in zip(logps, answer, strict=True))
        found[id_] = (logp, float(-(logps.exp() * logps).sum()), len(answer))
    return found


def test_numbers_are_those_of_one_plain_forward_pass_each(tiny, pool, tmp_path, truth):
    rows, counted = measured(tmp_path, Likelihood(model=tiny), pool)
    for id_, logp, entropy, n, cut in rows.select("id", "logp", "entropy", "n_tokens", "truncated").iter_rows():
        assert (logp, entropy) == pytest.approx(truth[id_][:2], rel=1e-5, abs=1e-4)
        assert (n, cut) == (truth[id_][2], False)
    assert (counted["measured"], counted["truncated"]) == (16, 0)
    again = measured(tmp_path, Likelihood(model=tiny, per="sequence", by="chosen", batch_tokens=64), pool)[1]
    assert (again["measured"], again["reused"]) == (0, 16)


def test_scores_and_details_follow_from_the_measured(tiny, pool, score, truth):
    found = score(Likelihood(model=tiny), pool)
    assert dict(found.schema) == dict(PAIR_SCORES.schema)
    for row in found.iter_rows(named=True):
        i = row["pair_id"][1:]
        (logp, entropy, n), (other, _, m) = truth[f"c{i}"], truth[f"r{i}"]
        assert row["score"] == pytest.approx(logp / n - other / m, abs=1e-4)
        details = named(found)[row["pair_id"]]
        assert details["logp_chosen"] == pytest.approx(logp, rel=1e-5)
        assert details["perplexity_chosen"] == pytest.approx(math.exp(-logp / n), rel=1e-4)
        assert details["entropy_chosen"] == pytest.approx(entropy / n, rel=1e-4)
        assert details["n_tokens_rejected"] == m
    sums = score(Likelihood(model=tiny, per="sequence", by="rejected"), pool)
    assert sums["score"].to_list() == pytest.approx([truth[f"r{i}"][0] for i in range(8)], rel=1e-5)


@pytest.mark.parametrize("batch_tokens", [64, 300, 100_000])
def test_batches_and_order_change_nothing(tiny, pool, tmp_path, batch_tokens, truth):
    scorer = Likelihood(model=tiny, batch_tokens=batch_tokens, save_every=5)
    rows, _ = measured(tmp_path, scorer, pool)
    assert difference_alone(tmp_path, scorer, pool) < 1e-5
    np.testing.assert_allclose(rows["logp"], [truth[i][0] for i in rows["id"]], rtol=1e-5)


def test_entropy_of_a_known_distribution():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), -math.inf, -math.inf]])
    found = logps_and_entropies(logits, torch.tensor([2, 1]))
    expected = [[-math.log(4), math.log(4)], [math.log(0.75), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_long_prompt_loses_its_start_and_a_long_answer_its_end(tiny, pool, tmp_path):
    rows, counted = measured(tmp_path, Likelihood(model=tiny, max_length=64), pool)
    assert counted["truncated"] == rows["truncated"].sum() == 0
    words = [{"role": "assistant", "content": "word " * 100}]
    longer = pl.Series([words] * pool.completions.height, dtype=pool.completions.schema["messages"])
    pool = type(pool)(pool.pairs, pool.completions.with_columns(messages=longer), prompts=pool.prompts)
    rows, counted = measured(tmp_path, Likelihood(model=tiny, max_length=65), pool)
    assert counted["truncated"] == 16
    assert rows["n_tokens"].max() == 65 - 16


def test_keys_hold_what_the_numbers_depend_on(tiny, pool):
    key = Likelihood(model=tiny).key(pool)
    same = Likelihood(model=tiny, batch_tokens=64, save_every=1, per="sequence", by="mean")
    assert same.key(pool) == key
    others = [Likelihood(model=tiny, max_length=99), Likelihood(model=tiny, dtype="bfloat16"), Likelihood()]
    assert len({key, *(other.key(pool) for other in others)}) == 4


def test_what_cannot_be_read_is_refused(tiny, pool, tmp_path):
    shown = pool.prompts.with_columns(images=pl.lit(["a.png"], pl.List(pl.String)))
    pictured = type(pool)(pool.pairs, pool.completions, prompts=shown)
    with pytest.raises(ValueError, match=r"16 completions answer prompts with images.*e\.g\. \['c0', "):
        FollowupLikelihood(model=tiny).items(pictured)
    with pytest.raises(TrainingDataError, match="'user' shows an image or another part; only a model that sees"):
        measured(tmp_path, Likelihood(model=tiny), pictured)
    with pytest.raises(ValueError, match=r"14 completions have no prompt.*materialize"):
        Likelihood(model=tiny).items(type(pool)(pool.pairs, pool.completions, prompts=pool.prompts.head(1)))
    fewer = pool.completions.filter(pl.col("completion_id") != "r7")
    with pytest.raises(ValueError, match=r"1 completions of the pairs have no text.*\['r7'\]"):
        Likelihood(model=tiny).items(type(pool)(pool.pairs, fewer, prompts=pool.prompts))
    with pytest.raises(ValueError, match="reads at most 2048 tokens"):
        measured(tmp_path, Likelihood(model=tiny, max_length=4096), pool)


def test_a_model_that_gives_nan_is_named(tiny, pool, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "broken")
    with pytest.raises(ValueError, match=r"gives NaN or infinite numbers for 16 items, e\.g\. \["):
        measured(tmp_path, Likelihood(model=str(tmp_path / "broken")), pool)


def test_a_tokenizer_without_chat_template_is_refused(tiny, pool, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = None
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(TrainingDataError, match="no chat template"):
        measured(tmp_path, Likelihood(model=str(tmp_path / "plain")), pool)
