"""Traps of AnnotatedPairs and of arena votes."""

import json
from typing import Any, ClassVar

import pytest

from pref_assets.pairs.readers.arena import ArenaSource
from pref_assets.pairs.readers.icai import IcaiSource
from pref_assets_tests.pairs.build import read, refusals
from pref_assets_tests.pairs.readers.test_judgements import refusal, said

X = "x.jsonl"


class TestIcai:
    SOURCE: ClassVar = IcaiSource(location=X)
    ROW: ClassVar[dict[str, Any]] = IcaiSource.example[0]
    DOCUMENT: ClassVar[dict[str, Any]] = {
        "metadata": {"version": "2.0", "default_annotator": "h"},
        "annotators": {"h": {"type": "human", "name": "people"}, "p": {"type": "principle", "description": "shorter"}},
        "comparisons": [
            {**IcaiSource.example[0], "id": "1", "annotations": {"h": {"pref": "a"}, "p": {"pref": "b"}}},
            {**IcaiSource.example[0], "id": "2", "prompt": None},
            {**IcaiSource.example[0], "id": "3", "prompt": "Hi", "annotations": {"h": {"pref": "b"}}},
        ],
    }

    def test_null_is_no_vote(self) -> None:
        record = self.SOURCE.record(self.ROW)
        assert said(record) == [("d36860a4", "overall", "a", None), ("90b4c1f7", "overall", "b", None)]

    def test_version_one(self) -> None:
        row = {"prompt": "Hi", "text_a": "a", "text_b": "b", "annotations": {"x": {"pref": "text_b"}}}
        record = self.SOURCE.record(row)
        assert said(record) == [("x", "overall", "b", None)]
        assert self.SOURCE.row(record)["response_b"] == {"text": "b"}

    def test_a_document_is_read_comparison_by_comparison(self) -> None:
        records = read([self.DOCUMENT], self.SOURCE)
        assert records.votes.select("annotator", "dimension").rows() == [("h", "overall")] * 2
        assert refusals(records) == [(1, "missing_field")]
        assert "comparisons[1]: field `prompt` is missing or null" in records.quarantine["reason"][0]
        [first, second] = [json.loads(each) for each in records.prompts["metadata"]]
        assert first["document"]["annotators"] == self.DOCUMENT["annotators"]
        assert first["annotations"] == {"p": {"pref": "b"}}
        assert "document" not in second

    def test_principles_vote_on_their_own_dimension_when_asked(self) -> None:
        source = IcaiSource(location=X, principles=True)
        first, _ = source.records(self.DOCUMENT, X)
        assert said(first) == [("h", "overall", "a", None), ("p", "shorter", "b", None)]

    def test_chosen_annotators(self) -> None:
        source = IcaiSource(location=X, annotators=("90b4c1f7",))
        assert said(source.record(self.ROW)) == [("90b4c1f7", "overall", "b", None)]
        assert source.row(source.record(self.ROW)) == self.ROW
        assert refusal(IcaiSource(location=X, annotators=("nobody",)), self.ROW)[0] == "no_judgement"

    def test_an_unknown_preference_is_refused_by_name(self) -> None:
        code, reason = refusal(self.SOURCE, {**self.ROW, "annotations": {"x": {"pref": "both"}}})
        assert code == "wrong_type"
        assert "`annotations.x.pref` is 'both'" in reason

    @pytest.mark.parametrize("comparisons", [[], None, [{"prompt": "Hi"}], "x"])
    def test_a_document_with_nothing_to_read_is_refused(self, comparisons: Any) -> None:
        records = read([{**self.DOCUMENT, "comparisons": comparisons}], self.SOURCE)
        assert records.quarantine.height == 1
        assert records.prompts.height == 0


class TestArena:
    SOURCE: ClassVar = ArenaSource(location=X)
    ROW: ClassVar[dict[str, Any]] = ArenaSource.example[0]
    LISTS: ClassVar[dict[str, Any]] = ArenaSource.example[1]

    @pytest.mark.parametrize(
        ("winner", "choice", "rationale"),
        [
            ("model_a", "a", None),
            ("model_b", "b", None),
            ("tie", "tie", None),
            ("tie (bothbad)", "tie", "tie (bothbad)"),
            ("both_bad", "tie", "both_bad"),
        ],
    )
    def test_winners(self, winner: str, choice: str, rationale: str | None) -> None:
        record = self.SOURCE.record({**self.ROW, "winner": winner})
        assert said(record) == [("arena_user_1", "overall", choice, None)]
        assert record.votes[0].rationale == rationale

    def test_two_bad_answers_can_be_no_judgement(self) -> None:
        assert refusal(ArenaSource(location=X, both_bad="drop"), self.ROW)[0] == "no_judgement"

    @pytest.mark.parametrize("winner", ["model_c", 1, ""])
    def test_an_unknown_winner_is_refused_by_name(self, winner: Any) -> None:
        code, reason = refusal(self.SOURCE, {**self.ROW, "winner": winner})
        assert code == "wrong_type"
        assert f"`winner` is {winner!r}" in reason

    def test_lists_of_questions_and_replies(self) -> None:
        record = self.SOURCE.record(self.LISTS)
        assert list(record.turns) == [("user", "Hi")]
        assert [[text for _, text in answer.turns] for answer in record.answers] == [
            ["Hello.", "Count to three.", "1, 2, 3."],
            ["Hey.", "Count to three.", "No."],
        ]
        assert said(record) == [("unknown", "overall", "a", None)]

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"winner_tie": 1}, "missing_field"),
            ({"winner_model_a": 0}, "missing_field"),
            ({"winner_model_a": 0.4}, "missing_field"),
            ({"response_a": '["Hello."]'}, "wrong_type"),
            ({"response_a": "Hello."}, "wrong_type"),
            ({"response_a": '["Hello.", 3]'}, "wrong_type"),
            ({"response_a": '["Hello.", null]'}, "empty_side"),
            ({"response_a": '["Hello.", "\\ud800"]'}, "not_utf8"),
        ],
    )
    def test_lists_that_do_not_fit(self, changed: dict[str, Any], code: str) -> None:
        assert refusal(self.SOURCE, {**self.LISTS, **changed})[0] == code

    def test_parts_of_a_message_are_its_text(self) -> None:
        parts = [{"type": "text", "text": "Quito.", "image": None, "mimeType": None}]
        side = [self.ROW["conversation_b"][0], {"role": "assistant", "content": parts}]
        assert self.SOURCE.record({**self.ROW, "conversation_b": side}) == self.SOURCE.record(self.ROW)

    def test_a_common_first_reply_belongs_to_the_prompt(self) -> None:
        start = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        asked = {"role": "user", "content": "More?"}
        sides = {
            f"conversation_{side}": [*start, asked, {"role": "assistant", "content": text}]
            for side, text in (("a", "Yes."), ("b", "No."))
        }
        record = self.SOURCE.record({**self.ROW, **sides})
        assert list(record.turns) == [("user", "Hi"), ("assistant", "Hello."), ("user", "More?")]

    def test_other_questions_are_refused(self) -> None:
        side = [{"role": "user", "content": "Another?"}, self.ROW["conversation_b"][1]]
        assert refusal(self.SOURCE, {**self.ROW, "conversation_b": side})[0] == "prompts_differ"

    def test_the_same_conversation_twice_is_refused(self) -> None:
        same = {**self.ROW, "conversation_b": self.ROW["conversation_a"]}
        assert refusal(self.SOURCE, same)[0] == "identical_sides"
