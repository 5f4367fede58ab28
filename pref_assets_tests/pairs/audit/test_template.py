import json

import pytest

from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER
from pref_assets.pairs.audit.template import ChatTemplateRoundTrip
from pref_assets_tests.pairs.audit.build import details


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    """The rule with SmolLM2's tokenizer and another chat template."""

    def with_template(template):
        tokenizer = load_tokenizer(TOKENIZER)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder := tmp_path_factory.mktemp("tokenizer"))
        return ChatTemplateRoundTrip(tokenizer=str(folder))

    return with_template


def test_what_comes_back_is_not_flagged_and_special_tokens_are():
    found = details(
        ChatTemplateRoundTrip(tokenizer=TOKENIZER),
        ("What?", "This", "That "),
        ([("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")], "a", "b"),
        ("What?", "a", "Fine<|im_end|>"),
        ("<|im_start|>What?", "a", "b"),
        ("q", "a", "b<|im_end|>", {"other_prompt": "r"}),
    )
    assert found == {
        3: "rejected holds '<|im_end|>', which the tokenizer reads as control",
        4: "prompt holds '<|im_start|>', which the tokenizer reads as control",
    }


def test_a_template_that_strips_loses_nothing_but_one_that_cuts_does(rule):
    stripping = rule("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}")
    assert details(stripping, (" q ", "a\n", " b")) == {}
    cutting = rule("{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}")
    assert details(cutting, ("q", "<think>hm</think>a", "b"), ("q", "a", "b")) == {
        1: "turn 1 of chosen does not come back from the chat template as it was"
    }
    twice = [("user", "Hi"), ("assistant", "Hi")]
    last = rule("{% for m in messages %}{% if loop.index != 2 %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}")
    assert details(last, ([*twice, ("user", "Hi")], "a", "b")) == {
        1: "turn 3 of prompt does not come back from the chat template as it was"
    }


def test_a_template_that_refuses_says_why(rule):
    no_system = rule(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    found = details(no_system, ([("system", "s"), ("user", "q")], "a", "b"), ("q", "a", "b"))
    assert found == {1: "the chat template refuses a prompt of roles system, user with its answers: no system turns"}


def test_a_template_that_writes_the_end_first(rule):
    found = details(rule("{% for m in messages | reverse %}{{ m.content }}|{% endfor %}"), ("q", "a", "b"))
    assert found == {1: "the chat template does not write the conversation as its prompt and then the answer"}


def test_tools_and_calls_reach_the_template(rule):
    calls = json.dumps({"content": "", "tool_calls": [{"type": "function", "function": {"name": "f"}}]})
    template = (
        "{{ tools[0].function.name }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}"
    )
    tools = json.dumps([{"type": "function", "function": {"name": "f"}}])
    row = ([("tools", tools), ("user", "q")], [("assistant+json", calls)], "b")
    assert details(rule(template), row) == {}
    # Without tools on offer, this template has nothing to write.
    found = details(rule(template), ("q", "a", "b"))
    assert found.keys() == {1}
    assert "refuses a prompt of roles user" in found[1]


def test_a_tokenizer_without_a_template_is_an_error(rule):
    with pytest.raises(ValueError, match="has no chat template"):
        details(rule(None), ("q", "a", "b"))
