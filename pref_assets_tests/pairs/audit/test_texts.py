import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.audit.texts import TEXTS, loose, spoken, with_texts
from pref_assets.pairs.schema import PAIR_TEXTS
from pref_assets_tests.pairs.audit.build import texts


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": [{"type": "image"}, {"type": "text", "text": "what?"}]}, "[image]\nwhat?"),
        ({"content": "hm", "tool_calls": [{"name": "f"}]}, 'hm\n{"tool_calls":[{"name":"f"}]}'),
        ({"content": [{"type": "box", "x": 1}, "c"]}, '{"type":"box","x":1}\nc'),
        ({"content": None, "name": "n"}, '{"name":"n"}'),
    ],
)
def test_what_a_turn_says(message, said):
    assert spoken({"role": "assistant+json", "content": json.dumps(message)}) == said
    assert spoken({"role": "assistant", "content": "{}"}) == "{}"


def test_texts_of_a_chunk():
    image = json.dumps({"content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]})
    frame = texts(
        ([("user", "Hi"), ("assistant", "Hello"), ("user+json", image)], "a", [("assistant", "b"), ("assistant", "c")]),
        ("q", "", "d", {"other_prompt": "r"}),
    )
    assert frame.schema == TEXTS
    columns = frame.select("prompt_text", "question", "chosen_text", "rejected_text").rows()
    assert columns == [
        ("Hi\nHello\n[image]\nWhat is it?", "[image]\nWhat is it?", "a", "b\nc"),
        (None, None, "", "d"),
    ]


def test_no_pairs_have_no_texts():
    assert with_texts(PAIR_TEXTS.to_frame()).schema == TEXTS


@given(st.text(alphabet=" \t\n\u00a0\u3000aBç", max_size=12))
def test_loose_texts_are_those_split_at_white_space(text):
    assert pl.select(loose(pl.lit(text))).item() == " ".join(text.split()).lower()
