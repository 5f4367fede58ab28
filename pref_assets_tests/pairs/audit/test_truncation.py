import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER
from pref_assets.pairs.audit import truncation
from pref_assets.pairs.audit.byte_level import byte_level
from pref_assets.pairs.audit.template import render, tokenizer_of
from pref_assets.pairs.audit.truncation import IdenticalAfterTruncation, OverLongTokens, PromptTruncatedAway
from pref_assets_tests.pairs.audit.build import details, texts


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves SmolLM2's tokenizer, changed as asked, and gives the folder."""
    tokenizer = load_tokenizer(TOKENIZER)
    template = tokenizer.chat_template

    def save(name, chat_template=template):
        tokenizer.chat_template = chat_template
        tokenizer.save_pretrained(folder := tmp_path_factory.mktemp(name))
        return str(folder)

    return save


@pytest.fixture(scope="module")
def tokenizer(saved):
    return saved("as_it_is")


START = " ".join(["same"] * 30)
ROWS = [
    ("Late", f"{START} good", f"{START} bad"),
    ("Early", f"good {START}", f"bad {START}"),
    (" ".join(["long"] * 40), "good", "bad"),
]


@pytest.mark.parametrize(
    ("max_length", "fields", "expected"),
    [
        (512, {}, []),
        # 30 common words and at most 16 tokens of prompt: 40 tokens end before the words that differ.
        (40, {"min_prompt": 16}, [1]),
        # The prompt of 40 words alone fills 40 tokens when nothing of it may go.
        (40, {"truncation": "keep_start"}, [1, 3]),
        # Seen from the end, what differs at the start of 30 words is gone.
        (20, {"truncation": "keep_end"}, [2]),
    ],
)
def test_pairs_that_truncation_makes_the_same(tokenizer, max_length, fields, expected):
    found = details(IdenticalAfterTruncation(tokenizer=tokenizer, max_length=max_length, chunk=2, **fields), *ROWS)
    assert sorted(found) == expected
    assert all(f"{max_length} are kept" in detail for detail in found.values())


def test_answers_to_different_prompts_are_left_alone(tokenizer):
    rule = IdenticalAfterTruncation(tokenizer=tokenizer, max_length=40)
    assert details(rule, ("q", f"{START} good", f"{START} bad", {"other_prompt": "r"})) == {}


@pytest.fixture(scope="module")
def written(saved):
    """Folders of the tokenizer with its own template, one that strips texts, and none."""
    trims = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}</s>{% endfor %}"
    return {"own": saved("own"), "trims": saved("trims", trims), "none": saved("none", None)}


# Each byte of these is a token: the bound is as tight as it can be. U+0004 has none.
BYTES = "\x01\x02\x03\x05" * 4
WORDS = ["same ", "é語", "\n", "  ", "x" * 30, BYTES, "\x01", "\x04", "\x0b" * 8, "</think>"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=16).map("".join)
LENGTHS = (*range(1, 40), *range(40, 400, 9))


def judged(rule, folder, prompt, chosen, rejected):
    """Whether the rule flags the pair, at every length, and whether counting bytes leaves it to be tokenised."""
    frame, tokenizer, bounds = texts((prompt, chosen, rejected)), tokenizer_of(folder), byte_level(folder)
    rules = [rule.model_copy(update={"max_length": length}) for length in LENGTHS]
    turns = [frame[part][0].to_list() for part in ("prompt", "chosen", "rejected")]
    tokens = tokenizer(render(tokenizer, turns[0], turns[1:]), add_special_tokens=False)["input_ids"]
    flagged = [each._judge(*tokens) is not None for each in rules]
    may_be = frame.select(
        (each._may_be_flagged(bounds) | bounds.not_bounded()).alias(str(each.max_length)) for each in rules
    )
    return flagged, list(may_be.row(0))


@pytest.mark.parametrize("template", ["own", "trims", "none"])
@given(
    prompt=TEXT, start=TEXT, ends=st.tuples(TEXT, TEXT), how=st.sampled_from(["prompt_first", "keep_start", "keep_end"])
)
@example(prompt="q", start="a", ends=("", "\x04"), how="prompt_first")
@example(prompt="q", start="a", ends=("", "  "), how="prompt_first")
@example(prompt="", start=BYTES * 16, ends=("y", "z"), how="prompt_first")
@example(prompt="", start="\x0b" * 200 + BYTES * 4, ends=("y", "z"), how="prompt_first")
@example(prompt=BYTES * 3, start=BYTES, ends=("y", "z"), how="keep_start")
@example(prompt="q", start="", ends=("y", BYTES * 40), how="prompt_first")
@settings(max_examples=10, deadline=None)
def test_counting_bytes_leaves_out_no_pair_that_tokens_would_flag(written, template, prompt, start, ends, how):
    chosen, rejected = (start + end for end in ends)
    assume(chosen != rejected)
    folder = written[template]
    common = {"tokenizer": folder, "truncation": how}
    rules = (
        IdenticalAfterTruncation(**common),
        IdenticalAfterTruncation(**common, min_prompt=0),
        PromptTruncatedAway(**common),
        PromptTruncatedAway(**common, min_share=1),
        OverLongTokens(tokenizer=folder),
    )
    for rule in rules:
        flagged, may_be = judged(rule, folder, prompt, chosen, rejected)
        assert all(may_be[place] for place, flag in enumerate(flagged) if flag)


def test_most_pairs_are_never_tokenised(tokenizer, monkeypatch):
    assert byte_level(tokenizer) is not None
    seen = []
    monkeypatch.setattr(truncation, "render", lambda tokenizer, prompt, answers: seen.append(answers) or ["", "a", "b"])
    rule = IdenticalAfterTruncation(tokenizer=tokenizer, max_length=600)
    long = "word " * 400
    rule.find(texts(("q", "a", "b"), ("q", f"a {long}", f"b {long}"), ("q", f"{long} a", f"{long} b")))
    assert len(seen) == 1
    assert seen[0][0][0]["content"] == f"{long} a"


def test_a_tokenizer_that_is_not_of_bytes_is_asked_every_time(tmp_path):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "yes": 1, "no": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.normalizer = normalizers.Lowercase()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path)
    assert byte_level(str(tmp_path)) is None
    rule = IdenticalAfterTruncation(tokenizer=str(tmp_path))
    assert sorted(details(rule, ("q", "yes", "no"), ("q", "Yes", "yes"), ("q", "this", "that"))) == [2, 3]


def test_prompt_truncated_away(tokenizer):
    ten, forty = " ".join(["long"] * 10), " ".join(["long"] * 40)
    rows = ((ten, "good", "bad"), (forty, "good", "bad"), ("q", forty, "bad"))

    def flagged(**fields):
        return sorted(details(PromptTruncatedAway(tokenizer=tokenizer, **fields), *rows))

    assert flagged(max_length=512) == []
    # With SmolLM2's template and system prompt the questions have 40, 70 and 31 tokens, the answers 3, 3 and 42.
    assert flagged(max_length=38, min_prompt=0) == [3]
    assert flagged(max_length=37, min_prompt=0) == [2, 3]
    assert flagged(max_length=37, min_prompt=16) == [2]
    assert flagged(max_length=37, min_prompt=16, min_share=0.6) == [2, 3]


def test_prompt_truncated_away_counts_what_is_left(tokenizer):
    rule = PromptTruncatedAway(tokenizer=tokenizer, max_length=40)
    assert rule._judge([0] * 60, [0] * 11, [0] * 10) == (
        "of 60 tokens of prompt 29 are left beside 11 of answer, of 40 in all"
    )
    assert rule._judge([0] * 58, [0] * 11, [0] * 10) is None
    # An answer of any length leaves `min_prompt` tokens.
    assert rule._judge([0] * 32, [0] * 90, [0]) is None
    assert rule._judge([0] * 33, [0] * 90, [0]).startswith("of 33 tokens of prompt 16 are left")
    start = rule.model_copy(update={"truncation": "keep_start"})
    assert start._judge([0] * 80, [0] * 90, [0]) is None
    assert start._judge([0] * 81, [0], [0]).startswith("of 81 tokens of prompt 40 are left")
    end = rule.model_copy(update={"truncation": "keep_end"})
    assert end._judge([0] * 2, [0] * 39, [0]) is None
    assert end._judge([0] * 2, [0] * 40, [0]).startswith("of 2 tokens of prompt 0 are left")


def test_tokens_are_counted_with_the_template(tokenizer):
    tokens = load_tokenizer(TOKENIZER)
    whole = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a word more"}]
    length = len(tokens.apply_chat_template(whole, tokenize=True)["input_ids"])
    row = ("q", "a word more", "b")
    assert details(OverLongTokens(tokenizer=tokenizer, max_length=length), row) == {}
    says = f"prompt and longer answer have {length} tokens, above {length - 1}"
    assert details(OverLongTokens(tokenizer=tokenizer, max_length=length - 1), row) == {1: says}


def test_a_template_that_never_writes_prompt_and_answer_is_an_error(saved):
    folder = saved("last_first", "{% for m in messages | reverse %}{{ m.content }}|{{ m.role }}{% endfor %}")
    with pytest.raises(ValueError, match="does not render a conversation as prompt and answer"):
        details(IdenticalAfterTruncation(tokenizer=folder), ("q", "a", "b"))
