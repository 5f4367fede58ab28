import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.models.loading import load_tokenizer
from pref_assets.pairs.messages import shown_images
from pref_assets.pairs.schema import COMPLETIONS, DECISIONS, MESSAGES, PAIR_SCORES, PAIRS, PROMPTS
from pref_assets.training.data import (
    PAIR_NAMED_TEXTS,
    TRAINING_ROWS,
    ScoreColumn,
    buckets,
    encode,
    texts_named,
    training_rows,
)
from pref_assets.training.errors import TrainingDataError
from pref_assets_tests.training.conftest import message


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny)


PROMPT = message("user", "Name three colours.")
ANSWER = message("assistant", "Red, green\n\nand blue.")


def test_completion_tokens_are_what_the_template_renders_for_the_answer(tokenizer):
    e = encode(tokenizer, PROMPT, ANSWER, 512)
    prompt = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True)["input_ids"]
    assert list(e.ids[: e.n_prompt]) == prompt
    assert tokenizer.decode(e.completion_ids) == "Red, green\n\nand blue.<|im_end|>\n"
    assert list(e.ids) == tokenizer.apply_chat_template([*PROMPT, *ANSWER])["input_ids"]
    assert not e.truncated


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=60), max_length=st.integers(24, 80))
def test_prompt_is_one_prefix_for_both_sides_and_truncation_keeps_its_end(tokenizer, text, max_length):
    e = encode(tokenizer, PROMPT, message("assistant", text), max_length)
    prompt = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True)["input_ids"]
    whole = encode(tokenizer, PROMPT, message("assistant", text), 10_000)
    assert list(whole.ids[: whole.n_prompt]) == prompt
    assert len(e.ids) == min(max_length, len(whole.ids))
    assert list(e.ids[: e.n_prompt]) == prompt[-e.n_prompt :]
    assert e.completion_ids == whole.completion_ids[: e.n_completion]
    assert e.n_prompt >= 16
    assert e.truncated == (e.n_completion < whole.n_completion)
    # The completion loses tokens only when the prompt has nothing left to give.
    assert not e.truncated or e.n_prompt == 16


def test_truncation_by_hand(tokenizer):
    whole = encode(tokenizer, PROMPT, ANSWER, 512)
    e = encode(tokenizer, PROMPT, ANSWER, len(whole.ids) - 3)
    assert e.n_prompt == whole.n_prompt - 3
    assert e.completion_ids == whole.completion_ids
    e = encode(tokenizer, PROMPT, ANSWER, 16 + 4)
    assert (e.n_prompt, e.n_completion, e.truncated) == (16, 4, True)


def test_what_cannot_be_encoded_says_why(tokenizer):
    with pytest.raises(ValueError, match="leaves no completion"):
        encode(tokenizer, PROMPT, ANSWER, 16)
    template = tokenizer.chat_template
    try:
        tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
        with pytest.raises(TrainingDataError, match=r"roles \['user', 'assistant'\].*must alternate"):
            encode(tokenizer, PROMPT, ANSWER, 64)
        tokenizer.chat_template = "{{ messages | length }}{{ messages[-1]['content'] }}"
        with pytest.raises(TrainingDataError, match="does not render"):
            encode(tokenizer, PROMPT, ANSWER, 64)
        tokenizer.chat_template = None
        with pytest.raises(TrainingDataError, match="no chat template"):
            encode(tokenizer, PROMPT, ANSWER, 64)
    finally:
        tokenizer.chat_template = template


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200), st.integers(1, 2))
def test_buckets_hold_every_item_once_within_the_budget(lengths, budget, rows):
    batches = buckets(lengths, budget, rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or rows * len(batch) * max(lengths[i] for i in batch) <= budget


def tables():
    prompts = PROMPTS.frame([{"prompt_id": "q", "messages": PROMPT, "split": "train"}])
    completions = COMPLETIONS.frame(
        {"completion_id": name, "prompt_id": "q", "messages": message("assistant", name)} for name in "abc"
    )
    pairs = PAIRS.frame(
        [
            {"pair_id": "2", "prompt_id": "q", "chosen_id": "a", "rejected_id": "b", "p_chosen": 1.0},
            {"pair_id": "1", "prompt_id": "q", "chosen_id": "c", "rejected_id": "b", "p_chosen": 0.75},
            {"pair_id": "3", "prompt_id": None, "chosen_id": "a", "rejected_id": "c", "p_chosen": 1.0},
        ]
    )
    decisions = DECISIONS.frame(
        {"pair_id": i, "selected": i != "3", "reason": "kept", "weight": 0.5, "stage": 2} for i in "213"
    )
    return decisions, pairs, prompts, completions


def test_training_rows_are_the_selected_pairs_with_texts():
    rows = training_rows(*tables())
    assert rows.schema == TRAINING_ROWS
    assert rows["pair_id"].to_list() == ["1", "2"]
    assert rows.row(0, named=True) == {
        "pair_id": "1",
        "prompt": PROMPT,
        "chosen": message("assistant", "c"),
        "rejected": message("assistant", "b"),
        "chosen_id": "c",
        "rejected_id": "b",
        "p_chosen": 0.75,
        "weight": 0.5,
        "stage": 2,
        "margin": None,
        "swapped": False,
        "rejected_prompt": None,
        "columns": [],
        "texts": [],
    }


def relabelled(**decided):
    decisions, *others = tables()
    return training_rows(decisions.with_columns(**{k: pl.lit(v, pl.Float64) for k, v in decided.items()}), *others)


def test_a_label_below_one_half_swaps_the_sides():
    plain, turned = relabelled(), relabelled(p_chosen=0.25, margin=1.5)
    assert turned["swapped"].to_list() == [True, True]
    assert turned["p_chosen"].to_list() == [0.75, 0.75]
    assert turned["margin"].to_list() == [1.5, 1.5]
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        assert turned[side].to_list() == plain[other].to_list()
        assert turned[f"{side}_id"].to_list() == plain[f"{other}_id"].to_list()


def test_a_label_of_the_selector_replaces_the_votes_and_none_keeps_them():
    soft = relabelled(p_chosen=0.5)
    assert soft["p_chosen"].to_list() == [0.5, 0.5]
    assert not soft["swapped"].any()
    assert soft["chosen_id"].to_list() == relabelled()["chosen_id"].to_list()
    assert relabelled()["p_chosen"].to_list() == [0.75, 1.0]


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan")])
def test_a_label_that_is_no_probability_cannot_train(bad):
    with pytest.raises(TrainingDataError, match=r"2 pairs cannot train: the selector's p_chosen is no probability"):
        relabelled(p_chosen=bad)
    with pytest.raises(TrainingDataError, match=r"2 pairs cannot train: the selector's margin is not finite"):
        relabelled(margin=float("inf"))


def test_rows_that_cannot_train_are_named():
    decisions, pairs, prompts, completions = tables()
    with pytest.raises(TrainingDataError, match=r"not in the pairs table: 2"):
        training_rows(decisions, pairs.filter(pl.col("pair_id") != "2"), prompts, completions)
    with pytest.raises(TrainingDataError, match=r"missing: 1"):
        training_rows(decisions, pairs, prompts, completions.filter(pl.col("completion_id") != "c"))
    with pytest.raises(TrainingDataError, match=r"2 pairs cannot train: the label contradicts"):
        training_rows(decisions, pairs.with_columns(p_chosen=pl.lit(0.25)), prompts, completions)


def test_images_stand_in_their_prompts_and_a_model_of_text_alone_refuses_them(tokenizer):
    decisions, pairs, prompts, completions = tables()
    pictured = prompts.with_columns(images=pl.lit(["media://a.png"], dtype=pl.List(pl.String)))
    row = training_rows(decisions, pairs, pictured, completions).row(0, named=True)
    assert shown_images(row["prompt"]) == ["media://a.png"]
    with pytest.raises(TrainingDataError, match="'user' shows an image or another part; only a model that sees can"):
        encode(tokenizer, row["prompt"], row["chosen"], 512)
    one_place = [{"role": "user+json", "content": '{"content":[{"type":"image"}]}'}]
    two = pictured.with_columns(
        messages=pl.Series([one_place], dtype=MESSAGES), images=pl.Series([["media://a.png", "media://b.png"]])
    )
    with pytest.raises(TrainingDataError, match="prompt q: the turns have places for 1 images, and there are 2"):
        training_rows(decisions, pairs, two, completions)


WITH_TOOLS = (
    "{% if tools %}[{% for tool in tools %}{{ tool.function.name }}{% endfor %}]{% endif %}{% for m in messages %}"
    "<{{ m.role }}>{{ m.content }}{% for call in m.tool_calls %}{{ call.function.name }}"
    "({{ call.function.arguments.x }}){% endfor %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
OFFER = {"role": "tools", "content": '[{"function":{"name":"plus"},"type":"function"}]'}
CALL = [{"role": "assistant+json", "content": '{"tool_calls":[{"function":{"arguments":{"x":1},"name":"plus"}}]}'}]


def test_tools_and_calls_reach_the_template(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", WITH_TOOLS)
    e = encode(tokenizer, [OFFER, *PROMPT], CALL, 512)
    assert tokenizer.decode(e.ids[: e.n_prompt]) == "[plus]<user>Name three colours.<assistant>"
    assert tokenizer.decode(e.completion_ids) == "plus(1)"


def test_what_a_template_would_lose_is_refused(tokenizer, monkeypatch):
    shown = [{"role": "user+json", "content": '{"content":[{"type":"image"},{"text":"What?","type":"text"}]}'}]
    with pytest.raises(TrainingDataError, match="'user' shows an image"):
        encode(tokenizer, shown, ANSWER, 512)
    plain = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", plain)
    for prompt, answer in (([OFFER, *PROMPT], ANSWER), (PROMPT, CALL)):
        with pytest.raises(TrainingDataError, match="does not show the function 'plus'"):
            encode(tokenizer, prompt, answer, 512)


def two_prompts():
    """Pair 3 compares answers to two prompts."""
    decisions, pairs, prompts, completions = tables()
    other = [{"prompt_id": "other", "messages": message("user", "Else?"), "split": "train"}]
    completions = completions.with_columns(
        prompt_id=pl.when(pl.col("completion_id") == "c").then(pl.lit("other")).otherwise("prompt_id")
    )
    decisions = decisions.with_columns(selected=pl.col("pair_id") == "3")
    return decisions, pairs, pl.concat([prompts, PROMPTS.frame(other)]), completions


def test_sides_of_two_prompts_have_both():
    row = training_rows(*two_prompts()).row(0, named=True)
    assert (row["pair_id"], row["prompt"], row["rejected_prompt"]) == ("3", PROMPT, message("user", "Else?"))


def scored(values):
    details = [{"name": "gap", "value": 4.0}]
    return PAIR_SCORES.frame(
        {"pair_id": i, "score": v, "score_chosen": 2.0, "score_rejected": 1.0, "details": details}
        for i, v in values.items()
    )


def test_columns_come_from_scores_and_turn_with_the_label():
    decisions, *others = tables()
    asked = {
        "delta": ScoreColumn("rm"),
        "better": ScoreColumn("rm", "score_chosen"),
        "gap": ScoreColumn("rm", "gap", signed=False),
    }
    scores = {"rm": scored({"1": 0.5, "2": -3.0, "3": 0.0})}
    for turned, expected in ((1.0, [0.5, 2.0, 4.0]), (0.0, [-0.5, 1.0, 4.0])):
        labels = decisions.with_columns(p_chosen=pl.lit(turned))
        found = training_rows(labels, *others, columns=asked, scores=scores)["columns"][0].to_list()
        assert [(each["name"], each["value"]) for each in found] == list(zip(asked, expected, strict=True))
    with pytest.raises(TrainingDataError, match=r"1 pairs .*no usable 'score' in scores 'rm', .*as delta: 2"):
        training_rows(decisions, *others, columns=asked, scores={"rm": scored({"1": 0.5})})


def test_a_probability_of_the_label_turns_with_it_and_is_checked():
    decisions, *others = tables()
    table = scored({"1": 0.5, "2": 0.0, "3": 0.0}).with_columns(p_correct=pl.Series([0.9, 0.6, 0.7]))
    asked = {"sure": ScoreColumn("rm", "p_correct", probability=True)}
    for turned, expected in ((1.0, 0.9), (0.0, 0.1)):
        labels = decisions.with_columns(p_chosen=pl.lit(turned))
        rows = training_rows(labels, *others, columns=asked, scores={"rm": table})
        assert rows["columns"][0][0]["value"] == pytest.approx(expected)
    wrong = table.with_columns(p_correct=pl.Series([0.9, 1.1, 0.7]))
    with pytest.raises(
        TrainingDataError, match=r"'p_correct' in scores 'rm', the objective's sure, is not in \[0, 1\]: 2"
    ):
        training_rows(decisions, *others, columns=asked, scores={"rm": wrong})


def test_stages_are_trained_apart():
    decisions, *others = tables()
    staged = decisions.with_columns(stage=pl.when(pl.col("pair_id") == "1").then(1).otherwise(2))
    assert training_rows(staged, *others, stage=1)["pair_id"].to_list() == ["1"]
    assert training_rows(staged, *others, stage=3).is_empty()


def test_without_a_prompt_all_but_the_first_token_count(tokenizer):
    encoded = encode(tokenizer, [], PROMPT, 64)
    assert encoded.n_prompt == 1
    assert tokenizer.decode(encoded.ids).count(PROMPT[0]["content"]) == 1
    assert encode(tokenizer, [], PROMPT, 18).truncated


def test_texts_that_an_objective_makes_come_with_the_rows():
    def source(rows, pairs, completions):
        assert rows.schema == TRAINING_ROWS
        assert len(pairs)
        assert len(completions)
        named = [("1", "why", "because"), ("1", "answer", "yes")]
        return pl.DataFrame(named, schema=PAIR_NAMED_TEXTS, orient="row")

    rows = training_rows(*tables(), texts=source)
    assert rows.schema == TRAINING_ROWS
    of = dict(rows.select("pair_id", "texts").iter_rows())
    assert of.pop("1") == [{"name": "answer", "text": "yes"}, {"name": "why", "text": "because"}]
    assert of
    assert all(each == [] for each in of.values())
    assert texts_named(rows, "why") == {"1": "because"}
    assert texts_named(training_rows(*tables()), "why") == {}
