import json

import pytest

from pref_assets.pairs.readers import TrlSource
from pref_assets.pairs.schema import (
    QUARANTINE,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
    completion_id,
    prompt_id,
)
from pref_assets_tests.pairs.build import read, refusals

HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
GO = {"role": "assistant", "content": "Go away"}
MORE = {"role": "user", "content": "More"}
BE_KIND = {"role": "system", "content": "Be kind"}

STANDARD = {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}
CONVERSATIONAL = {"prompt": [HI], "chosen": [HELLO], "rejected": [GO]}
IMPLICIT = {"chosen": [HI, HELLO], "rejected": [HI, GO]}
BINARIZED = {"prompt": "Hi", "chosen": [HI, HELLO], "rejected": [HI, GO]}
MIXED = {"prompt": [HI], "chosen": "Hello", "rejected": "Go away"}
CHAT_WITH_WHOLE_SIDES = {"prompt": [HI], "chosen": [HI, HELLO], "rejected": [HI, GO]}


@pytest.mark.parametrize("row", [STANDARD, CONVERSATIONAL, IMPLICIT, BINARIZED, MIXED, CHAT_WITH_WHOLE_SIDES])
def test_every_layout_of_the_same_pair_gives_the_same_record(row):
    records = read([row])
    asked = prompt_id([HI])
    chosen, rejected = completion_id(asked, [HELLO]), completion_id(asked, [GO])
    assert records.prompts.select("prompt_id", "messages", "metadata").rows() == [(asked, [HI], None)]
    assert records.completions.select("completion_id", "prompt_id", "messages").rows() == [
        (chosen, asked, [HELLO]),
        (rejected, asked, [GO]),
    ]
    [vote] = records.votes.rows(named=True)
    assert {vote["completion_a"], vote["completion_b"]} == {chosen, rejected}
    assert vote["completion_a"] < vote["completion_b"]
    assert vote[f"completion_{vote['choice']}"] == chosen
    assert (vote["annotator"], vote["dimension"], vote["strength"]) == ("unknown", "overall", None)
    assert (vote["uri"], vote["row"], vote["batch"]) == ("rows.jsonl", 1, "b1")
    assert records.quarantine.height == 0


def test_frames_have_the_schema_even_when_nothing_was_read():
    for records in (read([STANDARD]), read(["{oops"]), read([])):
        assert records.prompts.schema == RECORD_PROMPTS.schema
        assert records.completions.schema == RECORD_COMPLETIONS.schema
        assert records.votes.schema == RECORD_VOTES.schema
        assert records.quarantine.schema == QUARANTINE.schema


def test_optional_columns():
    row = {
        **STANDARD,
        "score_chosen": 8.5,
        "score_rejected": 7,
        "annotator": 12,
        "chosen_model": "m1",
        "images": ["a.png"],
        "source": "web",
        "tags": ["x"],
    }
    records = read([row, {**STANDARD, "margin": 3, "score_chosen": 1.0}])
    assert records.votes.select("annotator", "strength").rows() == [("12", 1.5), ("unknown", 3.0)]
    first, second = records.completions["ratings"].to_list()[:2]
    assert first == [{"dimension": "score", "value": 8.5, "annotator": "12", "rationale": None}]
    assert second[0]["value"] == 7.0
    assert records.completions["model"].to_list() == ["m1", None, None, None]
    assert records.prompts["images"].to_list() == [["a.png"], []]
    assert json.loads(records.prompts["metadata"][0]) == {"source": "web", "tags": ["x"]}
    assert records.prompts["metadata"][1] is None


def test_columns_can_have_other_names():
    source = TrlSource(location="x", prompt="question", chosen="good", rejected="bad", dimension="kind")
    records = read([{"question": "Hi", "good": "Hello", "bad": "Go away"}], source)
    assert records.votes["dimension"].to_list() == ["kind"]
    assert records.prompts["prompt_id"].to_list() == [prompt_id([HI])]


def test_an_implicit_prompt_ends_at_the_last_common_question():
    first = {"role": "assistant", "content": "Same"}
    records = read([{"chosen": [BE_KIND, HI, first, MORE, HELLO], "rejected": [BE_KIND, HI, first, MORE, GO]}])
    assert records.prompts["messages"].to_list() == [[BE_KIND, HI, first, MORE]]


def test_sides_that_begin_with_the_same_answer_keep_it():
    records = read([{"chosen": [HI, HELLO, MORE, HELLO], "rejected": [HI, HELLO]}])
    assert records.prompts["messages"].to_list() == [[HI]]
    assert records.completions["messages"].to_list() == [[HELLO, MORE, HELLO], [HELLO]]


def test_implicit_text_is_cut_before_the_last_common_word():
    source = TrlSource(location="x", prompt_format="implicit")
    records = read([{"chosen": "The sky is blue.", "rejected": "The sky is black."}], source)
    assert records.prompts["messages"][0][0]["content"] == "The sky is"
    assert [turns[0]["content"] for turns in records.completions["messages"].to_list()] == [" blue.", " black."]


def test_text_without_a_prompt_is_only_cut_on_request():
    records = read([{"chosen": "The sky is blue.", "rejected": "The sky is black."}])
    assert refusals(records) == [(1, "missing_field")]
    assert "prompt_format: implicit" in records.quarantine["reason"][0]


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    records = read([{**CONVERSATIONAL, "prompt": [{"role": "user", "content": parts}]}])
    assert records.prompts["messages"].to_list() == [[HI]]


BAD = [
    ("{oops", "not_json", "not JSON"),
    ("[1]", "not_an_object", "list"),
    ({}, "missing_field", "`chosen`"),
    ({**STANDARD, "rejected": None}, "missing_field", "`rejected`"),
    ({**STANDARD, "prompt": None}, "missing_field", "`prompt`"),
    ({"chosen": "a", "rejected": "b"}, "missing_field", "`prompt`"),
    ({**STANDARD, "chosen": 3}, "wrong_type", "`chosen`"),
    ({**STANDARD, "rejected": {"text": "x"}}, "wrong_type", "`rejected`"),
    ({**STANDARD, "prompt": 3}, "wrong_type", "`prompt`"),
    ({**STANDARD, "margin": "3"}, "wrong_type", "`margin`"),
    ({**STANDARD, "margin": True}, "wrong_type", "`margin`"),
    ({**STANDARD, "score_chosen": float("inf")}, "not_finite", "Infinity"),
    ({**STANDARD, "annotator": ["x"]}, "wrong_type", "`annotator`"),
    ({**STANDARD, "images": [{"bytes": ""}]}, "wrong_type", "`images[0]`"),
    ({**STANDARD, "chosen": ""}, "empty_side", "`chosen`"),
    ({**STANDARD, "rejected": " \n\t\u00a0"}, "empty_side", "`rejected`"),
    ({**STANDARD, "rejected": "Hello"}, "identical_sides", "`chosen` and `rejected`"),
    ({**STANDARD, "prompt": " "}, "empty_prompt", "`prompt`"),
    ({**CONVERSATIONAL, "chosen": "Hello"}, "wrong_type", "`chosen`"),
    ({**CONVERSATIONAL, "chosen": []}, "missing_field", "`chosen`"),
    ({**CONVERSATIONAL, "chosen": ["Hello"]}, "wrong_type", "`chosen[0]`"),
    ({**CONVERSATIONAL, "chosen": [{"role": "assistant"}]}, "missing_field", "`chosen[0].content`"),
    ({**CONVERSATIONAL, "chosen": [{**HELLO, "tool_calls": [{}]}]}, "wrong_type", "`chosen[0].tool_calls[0]`"),
    ({**CONVERSATIONAL, "chosen": [{"role": "bot", "content": "x"}]}, "unknown_role", "'bot'"),
    ({**CONVERSATIONAL, "chosen": [{"role": ["x"], "content": "x"}]}, "wrong_type", "`chosen[0].role`"),
    ({**CONVERSATIONAL, "chosen": [HELLO, HELLO]}, "role_order", "`chosen`"),
    ({**CONVERSATIONAL, "chosen": [HELLO, MORE]}, "role_order", "`chosen`"),
    ({**CONVERSATIONAL, "prompt": [HI, MORE]}, "role_order", "`prompt`"),
    ({**CONVERSATIONAL, "prompt": [HI, HELLO]}, "role_order", "`prompt`"),
    ({**CONVERSATIONAL, "prompt": [HI, BE_KIND]}, "role_order", "`prompt`"),
    ({**CONVERSATIONAL, "prompt": [HELLO]}, "role_order", "`prompt`"),
    ({"chosen": [HI, HELLO], "rejected": [MORE, GO]}, "prompts_differ", "`chosen` and `rejected`"),
    ({"chosen": [HI, HELLO], "rejected": [HI, HELLO]}, "identical_sides", "`chosen` and `rejected`"),
    ({**BINARIZED, "prompt": "Bye"}, "prompts_differ", "`prompt`"),
    ('{"prompt": "Hi", "chosen": "a \\ud800", "rejected": "b"}', "not_utf8", "character"),
]


@pytest.mark.parametrize(("row", "code", "said"), BAD)
def test_a_bad_row_goes_to_quarantine_with_file_row_field_and_payload(row, code, said):
    records = read([STANDARD, row], uri="data/part.jsonl", start=7)
    assert refusals(records) == [(8, code)]
    [refused] = records.quarantine.rows(named=True)
    assert refused["reason"].startswith("data/part.jsonl, row 8: ")
    assert said in refused["reason"]
    assert refused["payload"] == (row if isinstance(row, str) else json.dumps(row))
    assert (refused["source"], refused["batch"]) == ("s", "b1")
    assert records.votes["row"].to_list() == [7]


def test_a_whole_emoji_written_as_escapes_is_no_half_character():
    row = '{"prompt": "Hi", "chosen": "\\ud83d\\ude00", "rejected": "b"}'
    assert read([row]).completions["messages"][0][0]["content"] == "😀"


def test_source_settings_refuse_unknown_fields():
    with pytest.raises(ValueError, match="choosen"):
        TrlSource(location="x", choosen="y")
