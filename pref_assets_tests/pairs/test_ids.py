from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs import ids, schema

texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(['"', "\\", "\n\t\r", "\x00\x1f", "\x7f "])
turns = st.lists(st.tuples(texts, texts), max_size=3)


@given(turns, st.lists(texts, max_size=2), st.none() | texts)
def test_ids_from_turns_equal_the_schema_s(said, images, context):
    messages = [{"role": role, "content": content} for role, content in said]
    prompt = ids.prompt_id(said, images, context)
    assert prompt == schema.prompt_id(messages, images, context)
    assert ids.completion_id(prompt, said) == schema.completion_id(prompt, messages)


def test_pair_ids_equal_the_schema_s():
    assert ids.pair_id("0a", "0b") == schema.pair_id("0a", "0b") == schema.pair_id("0b", "0a")
