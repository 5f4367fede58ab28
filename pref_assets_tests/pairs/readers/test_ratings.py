"""Traps of formats with ratings and ranks: UltraFeedback, HelpSteer2's ratings, ranked lists, MM-RLHF's answers."""

import copy
import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers import Source
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.helpsteer2 import HelpSteer2Source
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.ranked import NemoRlSource, RankedSource
from pref_assets.pairs.readers.record import Record, check_prompt
from pref_assets.pairs.readers.tagged import tagged_text, tagged_turns, transcript, transcript_turns
from pref_assets.pairs.readers.ultrafeedback import UltraFeedbackSource
from pref_assets_tests.pairs.build import read, refusals

ULTRA = UltraFeedbackSource(location="x.jsonl")
HELP = HelpSteer2Source(location="x.jsonl")
NECTAR = RankedSource(location="x.jsonl", annotator="gpt-4")
MM = MmRlhfSource(location="x.jsonl")


def changed(row: dict[str, Any], *path: str | int, to: Any) -> dict[str, Any]:
    """A copy of the row with one value at a path replaced."""
    row = copy.deepcopy(row)
    inner: Any = row
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return row


def values(record: Record) -> list[dict[str, float]]:
    return [{rating.dimension: rating.value for rating in answer.ratings} for answer in record.answers]


def refusal(source: Source, row: dict[str, Any]) -> tuple[str, str]:
    records = read([row], source)
    [(_, code)] = refusals(records)
    return code, records.quarantine["reason"][0]


def ultra(overall: float | None, *aspects: str, **more: Any) -> dict[str, Any]:
    names = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    said = {name: {"Rating": value, "Rationale": name} for name, value in zip(names, aspects, strict=False)}
    item = {"model": "m", "response": "Yes.", "annotations": said, "overall_score": overall, **more}
    return {"instruction": "Is it so?", "source": "invented", "completions": [item]}


class TestUltraFeedback:
    def test_ratings_are_strings_and_may_not_apply(self) -> None:
        record = ULTRA.record(ultra(7.0, "4", "N/A", "3"))
        assert values(record) == [{"helpfulness": 4.0, "instruction_following": 3.0, "overall": 7.0}]
        assert record.metadata is not None
        assert record.metadata["completions"] == [
            {"annotations": {"honesty": {"Rating": "N/A", "Rationale": "honesty"}}}
        ]

    def test_a_rating_that_is_neither_is_refused_by_name(self) -> None:
        code, reason = refusal(ULTRA, ultra(7.0, "4", "good"))
        assert code == "wrong_type"
        assert "`completions[0].annotations.honesty.Rating` is 'good'" in reason

    @pytest.mark.parametrize(
        ("mean", "score"), [(1.0, 1.0), (2.0, 1.0), (2.25, None), (4.0, None), (4.25, 10.0), (5.0, 10.0)]
    )
    def test_the_wrong_tens_are_repaired_as_the_publisher_did(self, mean: float, score: float | None) -> None:
        row = ultra(10.0, **{"fine-grained_score": mean})
        [read_as] = values(ULTRA.record(row))
        assert read_as.get("overall") == score
        assert read_as["fine-grained_score"] == mean
        assert ULTRA.row(ULTRA.record(row)) == row

    def test_only_tens_are_repaired_and_only_when_asked(self) -> None:
        assert values(ULTRA.record(ultra(9.0, **{"fine-grained_score": 1.0})))[0]["overall"] == 9.0
        kept = UltraFeedbackSource(location="x.jsonl", tens="keep").record(ultra(10.0, **{"fine-grained_score": 1.0}))
        assert values(kept)[0]["overall"] == 10.0

    def test_without_the_hyphenated_mean_it_is_taken_here(self) -> None:
        assert values(ULTRA.record(ultra(10.0, "1", "2", "N/A", "2")))[0]["overall"] == 1.0  # 5/3 <= 2
        assert values(ULTRA.record(ultra(10.0)))[0]["overall"] == 10.0

    def test_the_reason_for_the_rating_is_the_one_kept_with_it(self) -> None:
        row = changed(ultra(7.0, "4"), "completions", 0, "annotations", "helpfulness", "Rationale For Rating", to="why")
        [answer] = ULTRA.record(row).answers
        assert answer.ratings[0].rationale == "why"
        assert ULTRA.row(ULTRA.record(row)) == row

    def test_an_empty_completion_is_refused_alone(self) -> None:
        row = ultra(7.0, "4")
        row["completions"] += ultra(3.0, response=" ")["completions"] + ultra(5.0, "2", principle="p")["completions"]
        records = read([row], ULTRA)
        assert records.completions.height == 2
        assert refusals(records) == [(1, "empty_side")]
        assert "`completions[1].response`" in records.quarantine["reason"][0]
        assert json.loads(records.prompts["metadata"][0])["completions"] == [{}, {"principle": "p"}]

    @pytest.mark.parametrize(
        ("row", "code", "said"),
        [
            (changed(ultra(1.0), "instruction", to=None), "missing_field", "`instruction`"),
            (changed(ultra(1.0), "completions", to=[]), "missing_field", "`completions`"),
            (changed(ultra(1.0), "completions", to=["x"]), "wrong_type", "`completions`"),
            (changed(ultra(1.0), "completions", 0, "response", to=3), "wrong_type", "`completions[0].response`"),
            (changed(ultra(1.0), "completions", 0, "annotations", to=["x"]), "wrong_type", "annotations"),
            (changed(ultra(1.0), "completions", 0, "annotations", to={"a": "x"}), "wrong_type", "annotations.a"),
            (changed(ultra(1.0), "completions", 0, "overall_score", to="7"), "wrong_type", "overall_score"),
        ],
    )
    def test_bad_rows(self, row: dict[str, Any], code: str, said: str) -> None:
        found, reason = refusal(ULTRA, row)
        assert found == code
        assert said in reason


class TestHelpSteer2Ratings:
    ROW: ClassVar[dict[str, Any]] = {"prompt": "Hi", "response": "Hello", "helpfulness": 4, "verbosity": 0}

    def test_attributes_are_dimensions(self) -> None:
        record = HELP.record(self.ROW)
        assert values(record) == [{"helpfulness": 4.0, "verbosity": 0.0}]
        assert record.answers[0].ratings[0].annotator == "unknown"

    def test_two_rows_of_a_prompt_make_a_pair(self) -> None:
        records = read([self.ROW, {**self.ROW, "response": "Go", "helpfulness": 1}], HELP)
        settings = PairsSettings.model_validate({"pairing": {"dimensions": ["helpfulness"]}})
        pairs = merge(records.prompts, records.completions, records.votes, settings).pairs
        assert pairs["strength"].to_list() == [3.0]

    def test_lists_are_of_one_rating_an_annotator(self) -> None:
        row = {**self.ROW, "helpfulness": [4, None, 2], "verbosity": [1, 1, 0]}
        [answer] = HELP.record(row).answers
        assert [(r.annotator, r.value) for r in answer.ratings if r.dimension == "helpfulness"] == [
            ("unknown 1", 4.0),
            ("unknown 3", 2.0),
        ]
        assert HELP.row(HELP.record(row)) == row

    def test_a_prompt_of_several_turns(self) -> None:
        row = {**self.ROW, "prompt": "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nMore?"}
        assert HELP.record(row).turns == [("user", "Hi"), ("assistant", "Hello"), ("user", "More?")]

    def test_a_prompt_that_ends_with_the_assistant_is_refused(self) -> None:
        code, reason = refusal(HELP, {**self.ROW, "prompt": "Hi\n<extra_id_1>Assistant\nHello"})
        assert code == "role_order"
        assert "`prompt`" in reason

    def test_a_turn_that_holds_a_mark_is_not_written(self) -> None:
        record = HELP.record(self.ROW)
        record.turns = [("user", "What is\n<extra_id_1>User\n?")]
        with pytest.raises(NoWayBackError, match="cannot hold"):
            HELP.row(record)


@given(st.lists(st.text(max_size=9), min_size=1, max_size=5))
def test_tagged_conversations_come_apart_as_they_were_put_together(said: list[str]) -> None:
    turns = [("assistant" if place % 2 else "user", text) for place, text in enumerate(said)]
    assert tagged_turns(tagged_text(turns)) == turns


class TestRanked:
    ROW: ClassVar[dict[str, Any]] = RankedSource.example[0]

    def test_rank_one_is_the_best(self) -> None:
        record = NECTAR.record(self.ROW)
        assert record.turns == [("user", "What do bees make?")]
        assert values(record) == [{"overall": -1.0}, {"overall": -2.0}, {"overall": -3.0}]
        assert record.answers[0].ratings[0].annotator == "gpt-4"

    def test_the_highest_rank_can_be_the_best(self) -> None:
        source = RankedSource(location="x.jsonl", best="highest")
        assert values(source.record(self.ROW))[2] == {"overall": 3.0}
        assert source.row(source.record(self.ROW)) == self.ROW

    def test_rank_zero_has_no_sign(self) -> None:
        [best, _] = NemoRlSource(location="x.jsonl").record(NemoRlSource.example[0]).answers
        assert [str(rating.value) for rating in best.ratings] == ["0.0", "1.5"]

    @pytest.mark.parametrize(
        "prompt",
        ["\n\nHuman: What?\n\nAssistant:", "\n\nHuman: What?", "What?", [{"role": "user", "content": "What?"}]],
    )
    def test_every_shape_of_a_question(self, prompt: Any) -> None:
        assert NECTAR.record({**self.ROW, "prompt": prompt}).turns == [("user", "What?")]

    def test_a_transcript_of_several_turns(self) -> None:
        prompt = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: More\n\nAssistant: "
        turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "More")]
        assert NECTAR.record({**self.ROW, "prompt": prompt}).turns == turns
        assert transcript(turns) == prompt

    def test_an_answer_without_a_rank_refuses_the_row(self) -> None:
        code, reason = refusal(NECTAR, changed(self.ROW, "answers", 1, "rank", to=None))
        assert code == "missing_field"
        assert "`answers[1].rank`" in reason

    def test_an_empty_answer_is_refused_alone(self) -> None:
        records = read([changed(self.ROW, "answers", 1, "answer", to="")], NECTAR)
        assert records.completions.height == 2
        assert refusals(records) == [(1, "empty_side")]

    def test_a_transcript_must_begin_with_a_turn(self) -> None:
        with pytest.raises(ValueError, match="does not begin with a turn"):
            transcript_turns("Hi\n\nHuman: Hello", "prompt")

    def test_an_empty_reply_inside_a_transcript_stays(self) -> None:
        turns = transcript_turns("\n\nHuman: Hi\n\nAssistant: \n\nHuman: Hello?", "prompt")
        assert turns == [("user", "Hi"), ("assistant", ""), ("user", "Hello?")]
        check_prompt(turns, "prompt")


class TestMmRlhfAnswers:
    ROW: ClassVar[dict[str, Any]] = MmRlhfSource.example[0]

    def test_scores_and_places(self) -> None:
        record = MM.record(self.ROW)
        assert values(record) == [
            {"faithfulness": 5.0, "helpfulness": 4.0, "ethical": 5.0, "reason": None, "overall": -2.0},
            {"faithfulness": 1.0, "helpfulness": 1.0, "ethical": 5.0, "overall": -3.0},
            {"faithfulness": 5.0, "helpfulness": 5.0, "reason": None, "overall": -1.0},
        ]
        assert record.answers[0].ratings[-1].rationale == "The second miscounts."
        assert record.images == ["short/s1.png"]
        assert record.metadata is not None
        assert record.metadata["image"] == "short/s1.png"

    def test_a_ranking_in_words(self) -> None:
        record = MM.record({**self.ROW, "final_ranking": "3 > 1=2"})
        assert [each["overall"] for each in values(record)] == [-2.0, -2.0, -1.0]

    @pytest.mark.parametrize("ranking", ["1>2", "1>2>2", "1>2>4", "best: 1", [1, 2], [1, 2, "x"], {"a": 1}])
    def test_a_ranking_that_does_not_fit_the_outputs_is_refused(self, ranking: Any) -> None:
        code, reason = refusal(MM, {**self.ROW, "final_ranking": ranking})
        assert code == "wrong_type"
        assert "`final_ranking" in reason

    def test_a_score_list_of_another_length_is_refused(self) -> None:
        code, reason = refusal(MM, {**self.ROW, "ethical": [5, 5]})
        assert code == "wrong_type"
        assert "`ethical` has 2 entries for 3 outputs" in reason

    def test_without_a_ranking_its_reason_is_metadata(self) -> None:
        row = {name: value for name, value in self.ROW.items() if name != "final_ranking"}
        record = MM.record(row)
        assert record.metadata is not None
        assert record.metadata["ranking_reason"] == "The second miscounts."
        assert MM.row(record) == row

    @pytest.mark.parametrize("media", [{"image": None}, {"image": ""}, {"image": "a.png", "video": "b"}])
    def test_a_row_shows_one_thing(self, media: dict[str, Any]) -> None:
        assert refusal(MM, {**self.ROW, **media})[0] == "missing_field"

    @pytest.mark.parametrize(
        ("ranks", "pairs"), [([1, 2, 3, 4], 6), ([1, 2, 2, 4], 5), ([1, 1, 1], 0), ([3, 3, 1, 2, 2], 8)]
    )
    def test_every_pair_of_another_rank_is_kept(self, ranks: list[int], pairs: int) -> None:
        outputs = [f"answer {place}" for place in range(len(ranks))]
        row = {"question": "?", "image": "a.png", "models_output": outputs, "final_ranking": ranks}
        records = read([row], MM)
        merged = merge(records.prompts, records.completions, records.votes, PairsSettings())
        assert merged.pairs.height == pairs
