import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.audit.texts import TEXTS, loose, with_texts
from pref_assets.pairs.schema import PAIR_TEXTS
from pref_assets_tests.pairs.audit.build import texts


def test_texts_of_a_chunk():
    image = json.dumps({"content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]})
    call = json.dumps({"content": "hm", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]})
    frame = texts(
        ([("user", "Hi"), ("assistant", "Hello"), ("user+json", image)], "a", [("assistant", "b"), ("assistant", "c")]),
        ("q", "", [("assistant+json", call)], {"other_prompt": "r"}),
    )
    assert frame.schema == TEXTS
    columns = frame.select("prompt_text", "question", "chosen_text", "rejected_text").rows()
    assert columns == [
        ("Hi\nHello\n<image>What is it?", "<image>What is it?", "a", "b\nc"),
        (None, None, "", 'hm\nf({"x":1})'),
    ]


def test_no_pairs_have_no_texts():
    assert with_texts(PAIR_TEXTS.to_frame()).schema == TEXTS


@given(st.text(alphabet=" \t\n\u00a0\u3000aBç", max_size=12))
def test_loose_texts_are_those_split_at_white_space(text):
    assert pl.select(loose(pl.lit(text))).item() == " ".join(text.split()).lower()
