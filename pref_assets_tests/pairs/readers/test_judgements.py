"""Traps of formats with votes: HelpSteer2's preferences, HelpSteer3, SHP, MultiPref, MM-RLHF's pairs and RLAIF-V."""

import copy
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from pref_assets.pairs.readers import Source
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.helpsteer2 import HelpSteer2Source
from pref_assets.pairs.readers.helpsteer3 import HelpSteer3Source
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.multipref import MultiPrefSource
from pref_assets.pairs.readers.record import Record, Vote
from pref_assets.pairs.readers.rlaif_v import RlaifVSource
from pref_assets.pairs.readers.shp import ShpSource
from pref_assets_tests.pairs.build import read, refusals

X = "x.jsonl"


def said(record: Record) -> list[tuple[str, str, str, float | None]]:
    return [(vote.annotator, vote.dimension, vote.choice, vote.strength) for vote in record.votes]


def refusal(source: Source, row: dict[str, Any]) -> tuple[str, str]:
    records = read([row], source)
    [(_, code)] = refusals(records)
    assert records.votes.height == 0
    return code, records.quarantine["reason"][0]


def written_by_another(source: Source, row: dict[str, Any]) -> dict[str, Any]:
    """The row of the record with its two answers, and the votes on them, the other way round."""
    record = source.record(row)
    record.answers = record.answers[::-1]
    record.votes = [
        Vote(0, 1, {"a": "b", "b": "a", "tie": "tie"}[v.choice], v.annotator, v.dimension, v.strength, v.rationale)
        for v in record.votes
    ]
    return source.row(record)


class TestHelpSteer2Preferences:
    SOURCE: ClassVar = HelpSteer2Source(location=X)
    ROW: ClassVar[dict[str, Any]] = HelpSteer2Source.example[2]

    def test_negative_is_for_the_first_response(self) -> None:
        judged = [{"strength": strength, "statement": "s"} for strength in (-3, 0, 1)]
        record = self.SOURCE.record({**self.ROW, "three_most_similar_preferences": judged})
        assert said(record) == [
            ("unknown 1", "overall", "a", 3.0),
            ("unknown 2", "overall", "tie", 0.0),
            ("unknown 3", "overall", "b", 1.0),
        ]

    def test_neither_valid_is_no_vote(self) -> None:
        source = HelpSteer2Source(location=X, judgements="all_preferences_unprocessed")
        assert len(source.record(self.ROW).votes) == 3
        neither = [{"strength": -100, "justification": "Both are wrong."}]
        code, reason = refusal(source, {**self.ROW, "all_preferences_unprocessed": neither})
        assert (code, "`all_preferences_unprocessed`" in reason) == ("no_judgement", True)

    def test_the_label_alone(self) -> None:
        source = HelpSteer2Source(location=X, judgements="preference_strength")
        assert said(source.record(self.ROW)) == [("unknown", "overall", "b", 2.0)]
        assert refusal(source, {**self.ROW, "preference_strength": -100})[0] == "no_judgement"
        assert refusal(source, {**self.ROW, "preference_strength": None})[0] == "missing_field"

    def test_a_strength_off_the_scale_is_refused_by_name(self) -> None:
        code, reason = refusal(self.SOURCE, {**self.ROW, "three_most_similar_preferences": [{"strength": 4}]})
        assert code == "wrong_type"
        assert "`three_most_similar_preferences[0].strength` is 4, expected -3 to 3" in reason

    def test_the_same_response_twice_is_refused(self) -> None:
        assert refusal(self.SOURCE, {**self.ROW, "response_1": self.ROW["response_2"]})[0] == "identical_sides"

    def test_answers_the_other_way_round(self) -> None:
        row = written_by_another(self.SOURCE, self.ROW)
        assert (row["response_1"], row["response_2"]) == (self.ROW["response_2"], self.ROW["response_1"])
        assert [each["strength"] for each in row["three_most_similar_preferences"]] == [-2, -3, -1]


class TestHelpSteer3:
    SOURCE: ClassVar = HelpSteer3Source(location=X)
    ROW: ClassVar[dict[str, Any]] = HelpSteer3Source.example[0]

    def test_negative_is_for_the_first_response(self) -> None:
        record = self.SOURCE.record(self.ROW)
        assert said(record) == [("unknown 1", "overall", "a", 3.0), ("unknown 2", "overall", "a", 2.0)]
        assert record.votes[0].rationale == "Only the first is right."
        assert record.metadata is not None
        assert record.metadata["individual_preference"][0] == {"feedback1": "Right and short.", "feedback2": "Wrong."}

    def test_an_annotator_without_a_score_keeps_his_place(self) -> None:
        row = copy.deepcopy(self.ROW)
        row["individual_preference"][0]["score"] = None
        record = self.SOURCE.record(row)
        assert said(record) == [("unknown 2", "overall", "a", 2.0)]
        assert self.SOURCE.row(record) == row

    def test_nobody_judged(self) -> None:
        assert refusal(self.SOURCE, {**self.ROW, "individual_preference": []})[0] == "no_judgement"
        label = HelpSteer3Source(location=X, judgements="overall_preference")
        assert said(label.record(self.ROW)) == [("unknown", "overall", "a", 2.0)]

    def test_a_conversation_that_ends_with_the_assistant_is_refused(self) -> None:
        context = [*self.ROW["context"], {"role": "assistant", "content": "Hm."}]
        assert refusal(self.SOURCE, {**self.ROW, "context": context})[0] == "role_order"


class TestShp:
    SOURCE: ClassVar = ShpSource(location=X)
    ROW: ClassVar[dict[str, Any]] = ShpSource.example[0]

    @pytest.mark.parametrize(("label", "choice"), [(1, "a"), (0, "b")])
    def test_one_is_for_a(self, label: int, choice: str) -> None:
        record = self.SOURCE.record({**self.ROW, "labels": label})
        assert said(record) == [("unknown", "overall", choice, 4.0)]
        assert [answer.ratings[0].value for answer in record.answers] == [3.0, 12.0]

    @pytest.mark.parametrize("label", [2, -1, "1", True])
    def test_another_label_is_refused(self, label: Any) -> None:
        code, reason = refusal(self.SOURCE, {**self.ROW, "labels": label})
        assert code == "wrong_type"
        assert "`labels`" in reason

    def test_a_tie_is_not_written(self) -> None:
        record = self.SOURCE.record(self.ROW)
        record.votes = [Vote(0, 1, "tie")]
        with pytest.raises(NoWayBackError, match="the votes"):
            self.SOURCE.row(record)


class TestMultiPref:
    SOURCE: ClassVar = MultiPrefSource(location=X)
    ROW: ClassVar[dict[str, Any]] = MultiPrefSource.example[0]

    def test_five_points_and_four_aspects(self) -> None:
        record = self.SOURCE.record(self.ROW)
        assert said(record) == [
            ("normal:3", "overall", "a", 2.0),
            ("normal:3", "helpful", "a", 1.0),
            ("normal:3", "truthful", "tie", 0.0),
            ("normal:3", "harmless", "tie", 0.0),
            ("expert:3", "overall", "b", 1.0),
            ("expert:3", "helpful", "a", 2.0),
            ("expert:3", "truthful", "tie", 0.0),
        ]
        assert record.votes[0].rationale == "More specific; More complete"
        assert [answer.model for answer in record.answers] == ["model-one", "model-two"]

    def test_an_unknown_label_is_refused_by_name(self) -> None:
        row = copy.deepcopy(self.ROW)
        row["expert_worker_annotations"][0]["helpful_pref"] = "A is better"
        code, reason = refusal(self.SOURCE, row)
        assert code == "wrong_type"
        assert "`expert_worker_annotations[0].helpful_pref` is 'A is better'" in reason

    def test_the_keys_are_settings(self) -> None:
        source = MultiPrefSource(
            location=X,
            groups={"crowd": "votes"},
            dimensions=("tone",),
            labels={"first": -1, "second": 1},
            evaluator="who",
        )
        row = {
            "text": "Hi",
            "completion_a": "a",
            "completion_b": "b",
            "votes": [{"who": 7, "tone_pref": "second"}],
            "model_a": None,
            "model_b": None,
        }
        assert said(source.record(row)) == [("crowd:7", "tone", "b", 1.0)]
        assert source.row(source.record(row)) == row

    def test_labels_that_mean_the_same_have_no_way_back(self) -> None:
        with pytest.raises(ValidationError, match="two labels mean the same"):
            MultiPrefSource(location=X, labels={"A": -1, "a": -1})

    def test_nobody_judged(self) -> None:
        row = {**self.ROW, "normal_worker_annotations": [], "expert_worker_annotations": None}
        assert refusal(self.SOURCE, row)[0] == "no_judgement"

    def test_an_annotation_needs_an_evaluator(self) -> None:
        row = {**self.ROW, "normal_worker_annotations": [{"overall_pref": "Tie"}]}
        assert refusal(self.SOURCE, row)[0] == "missing_field"


class TestMmRlhfPairs:
    SOURCE: ClassVar = MmRlhfSource(location=X)
    ROW: ClassVar[dict[str, Any]] = MmRlhfSource.example[1]

    def test_a_pair_about_a_video(self) -> None:
        record = self.SOURCE.record(self.ROW)
        assert said(record) == [("unknown", "overall", "a", None)]
        assert record.images == ["video/v1"]
        assert record.votes[0].rationale == "As the frames show."

    def test_a_tie(self) -> None:
        assert said(self.SOURCE.record({**self.ROW, "is_tie": True}))[0][2] == "tie"
        assert refusal(self.SOURCE, {**self.ROW, "is_tie": "no"})[0] == "wrong_type"

    def test_the_chosen_answer_is_written_first(self) -> None:
        assert written_by_another(self.SOURCE, self.ROW) == self.ROW


class TestRlaifV:
    SOURCE: ClassVar = RlaifVSource(location=X)
    ROW: ClassVar[dict[str, Any]] = RlaifVSource.example[0]

    def test_an_image_stored_by_content(self) -> None:
        uri = f"media://{'0' * 64}.png"
        assert self.SOURCE.record({**self.ROW, "image": {"bytes": uri, "path": "a.png"}}).images == [uri]
        by_path = RlaifVSource(location=X, image="image_path")
        assert by_path.record(self.ROW).images == ["invented/0001.jpg"]

    def test_a_row_without_an_image_is_refused(self) -> None:
        assert refusal(self.SOURCE, {**self.ROW, "image": None})[0] == "missing_field"

    def test_the_chosen_answer_is_written_first(self) -> None:
        assert written_by_another(self.SOURCE, self.ROW) == self.ROW
