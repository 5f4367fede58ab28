"""MM-RLHF's records: reasons without numbers, tie-breaking answers, and pairs from every strict rank difference."""

from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.heads.ratings import ratings_of
from pref_assets.heads.side_values import rated_sides
from pref_assets.lineage.model import Side
from pref_assets.lineage.render import _side
from pref_assets.pairs.merge import Merged, PairsSettings, merge
from pref_assets.pairs.pairing import Pairing
from pref_assets.pairs.readers.back import records
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.columns import ColumnsSource
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.record import BadRowError, Record
from pref_assets.pairs.splits import Splits
from pref_assets.pool import Pool
from pref_assets.scoring.annotated import Ratings
from pref_assets.synthesis.critiques.human import HumanCritiques
from pref_assets_tests.pairs.build import raw, read

MM = MmRlhfSource(location="x.jsonl")
TIES = MmRlhfSource(location="x.jsonl", tie_positive="extra_good", tie_negative="extra_bad")


def pool(made: Merged) -> Pool:
    return Pool(pairs=made.pairs, prompts=made.prompts, completions=made.completions)


def row(ranks: Any, **more: Any) -> dict[str, Any]:
    outputs = [f"answer {place}" for place in range(len(ranks))]
    return {"question": "?", "image": "a.png", "models_output": outputs, "final_ranking": ranks, **more}


def comments(record: Record) -> list[dict[str, tuple[float | None, str | None]]]:
    return [{r.dimension: (r.value, r.rationale) for r in answer.ratings} for answer in record.answers]


class TestReasons:
    def test_a_reason_is_a_rating_without_a_number(self) -> None:
        record = MM.record(row([1, 2], score_reasons=["Clear.", None]))
        assert comments(record) == [{"reason": (None, "Clear."), "overall": (-1.0, None)}, {"overall": (-2.0, None)}]

    def test_further_lists_of_reasons_go_to_the_scores_of_their_dimension(self) -> None:
        source = MmRlhfSource(location="x", reasons={"score_reasons": "reason", "truth_reasons": "faithfulness"})
        said = row([1, 2], faithfulness=[5, None], truth_reasons=["As seen.", "Invented."], score_reasons=["", None])
        record = source.record(said)
        assert comments(record) == [
            {"faithfulness": (5.0, "As seen."), "overall": (-1.0, None)},
            {"faithfulness": (None, "Invented."), "overall": (-2.0, None)},
        ]
        assert source.row(record) == {name: value for name, value in said.items() if name != "score_reasons"}

    def test_objects_with_a_reason_for_each_dimension(self) -> None:
        said = row([2, 1], score_reasons=[{"faithfulness": "No cat.", "reason": "Short."}, None], faithfulness=[1, 4])
        record = MM.record(said)
        assert comments(record)[0] == {
            "faithfulness": (1.0, "No cat."),
            "reason": (None, "Short."),
            "overall": (-2.0, None),
        }
        assert MM.row(record) == said

    @pytest.mark.parametrize(
        ("reasons", "wrong"),
        [
            (["one"], "`score_reasons` has 1 entries for 2 outputs"),
            ("text", "`score_reasons` is a string"),
            ([1.5, None], r"`score_reasons\[0\]` is a"),
            ([{"overall": "x"}, None], r"`score_reasons\[0\]` has another text for 'overall'"),
        ],
    )
    def test_reasons_that_fit_no_output_refuse_the_row(self, reasons: Any, wrong: str) -> None:
        with pytest.raises(BadRowError, match=wrong) as caught:
            MM.record(row([1, 2], score_reasons=reasons))
        assert caught.value.code == "wrong_type"

    @pytest.mark.parametrize("reasons", [{"a": "x", "b": "x"}, {"a": "overall"}])
    def test_a_dimension_has_one_text(self, reasons: dict[str, str]) -> None:
        with pytest.raises(ValueError, match="a dimension of its own"):
            MmRlhfSource(location="x", reasons=reasons)

    def test_the_reasons_of_a_pair_stay_with_their_answers(self) -> None:
        said = MmRlhfSource.example[1]
        record = MM.record(said)
        assert comments(record) == [
            {"reason": (None, "As the frames show.")},
            {"reason": (None, "It is never still.")},
        ]
        assert record.votes[0].rationale == "As the frames show."
        assert MM.row(record) == said
        stored = read([said], MM)
        [(_, _, again)] = records(stored.prompts, stored.completions, stored.votes)
        assert comments(again) == comments(record)

    def test_a_declarative_reader_has_comments_too(self) -> None:
        rating = {"dimension": "'reason'", "rationale": "why"}
        source = ColumnsSource(location="x", prompt="q", answers=[{"text": "a", "ratings": [rating]}], votes=[])
        assert comments(source.record({"q": "?", "a": "b", "why": "so"})) == [{"reason": (None, "so")}]
        assert comments(source.record({"q": "?", "a": "b", "why": None})) == [{}]
        with pytest.raises(ValueError, match="a `value`, a `rationale`, or both"):
            ColumnsSource(location="x", prompt="q", answers=[{"text": "a", "ratings": [{"dimension": "'x'"}]}])


class TestCommentsAreNoNumbers:
    """Who counts ratings leaves comments out; who wants words finds them."""

    def test_pairing_takes_no_vote_from_them(self) -> None:
        completions = read([row([1, 2], score_reasons=["Clear.", "Wrong."])], MM).completions
        every = Pairing(dimensions=None).votes(completions)
        assert every["dimension"].to_list() == ["overall"]
        assert Pairing(dimensions=("reason",)).votes(completions).is_empty()

    def test_heads_and_scores_see_numbers_alone(self) -> None:
        stored = read([row([1, 2], score_reasons=["Clear.", "Wrong."])], MM)
        merged = merge(stored.prompts, stored.completions, stored.votes, PairsSettings())
        made = pool(merged)
        assert ratings_of(made, made.pairs, None)["dimension"].unique().to_list() == ["overall"]
        with pytest.raises(ValueError, match="no usable rating of 'reason'"):
            rated_sides(made, made.pairs, "reason")
        assert Ratings(weights={"reason": 1.0}).score(made)["category"].to_list() == ["unrated"]
        assert Ratings(weights={"overall": 1.0}).score(made)["score"].to_list() == [1.0]

    def test_critiques_and_traces_have_the_words(self) -> None:
        stored = read([row([1, 2], score_reasons=["Clear.", "Wrong."])], MM)
        merged = merge(stored.prompts, stored.completions, stored.votes, PairsSettings())
        made = pool(merged)
        found = HumanCritiques().critiques(made)
        assert sorted(found["critique"].to_list()) == ["Clear.", "Wrong."]
        [ratings] = merged.completions.filter(completion_id=merged.pairs["chosen_id"][0])["ratings"].to_list()
        shown = "\n".join(_side("chosen", Side("c", "answer 0", None, ratings, [])))
        assert "reason: 'Clear.' (unknown)" in shown
        assert "overall=-1 (unknown)" in shown


class TestTieBreaks:
    def test_a_right_answer_to_a_question_whose_outputs_are_bad(self) -> None:
        said = row([1, 1, 1], extra_good="the truth", ranking_reason="All are wrong.")
        record = TIES.record(said)
        assert [(a.turns[0][1], a.model, a.ratings[-1].value) for a in record.answers][-1] == (
            "the truth",
            "annotator",
            0.0,
        )
        pairs = merged([said], TIES).pairs
        assert pairs.height == 3
        assert pairs["chosen_id"].n_unique() == 1
        assert TIES.row(record) == said

    def test_a_wrong_answer_to_a_question_whose_outputs_are_good(self) -> None:
        said = row([0, 0, 0], extra_bad="a lie") | {"final_ranking": "1=2>3"}
        record = TIES.record(said)
        assert record.answers[-1].ratings[-1].value == -3.0
        # Two strict ranks against the third, and three against the lie.
        assert merged([said], TIES).pairs.height == 5
        assert TIES.row(record) == {**said, "final_ranking": [1, 1, 2]}

    def test_both(self) -> None:
        said = row([1, 1], extra_good="the truth", extra_bad="a lie")
        record = TIES.record(said)
        assert [answer.ratings[-1].value for answer in record.answers] == [-1.0, -1.0, 0.0, -2.0]
        assert merged([said], TIES).pairs.height == 5
        assert TIES.row(record) == said

    def test_other_directions_of_rank(self) -> None:
        source = TIES.model_copy(update={"best": "highest"})
        assert source.record(row([4, 4], extra_good="yes")).answers[-1].ratings[-1].value == 5.0

    def test_an_answer_without_a_rank_to_stand_against_refuses_the_row(self) -> None:
        with pytest.raises(BadRowError, match="`extra_good` needs a place of every output") as caught:
            TIES.record(row([1, None], extra_good="yes"))
        assert caught.value.code == "missing_field"

    def test_an_empty_one_is_refused_alone(self) -> None:
        record = TIES.record(row([1, 1], extra_good=" "))
        assert len(record.answers) == 2
        assert [error.code for error in record.refused] == ["empty_side"]

    def test_a_reader_that_names_no_field_leaves_them_in_the_metadata(self) -> None:
        record = MM.record(row([1, 1], extra_good="yes"))
        assert record.metadata == {"image": "a.png", "extra_good": "yes"}
        with pytest.raises(NoWayBackError, match="no setting names the field"):
            MM.row(TIES.record(row([1, 1], extra_good="yes")))


def merged(rows: list[dict[str, Any]], source: MmRlhfSource = MM, **pairs: Any) -> Merged:
    stored = source.read(raw(rows))
    assert stored.quarantine.is_empty()
    return merge(stored.prompts, stored.completions, stored.votes, PairsSettings(**pairs))


def preferred(ranks: list[int]) -> set[tuple[int, int]]:
    """(better, worse) places of the outputs, as reader, pairing and votes make them."""
    found = merged([row(ranks)])
    place = {
        completion: int(messages[0]["content"].removeprefix("answer "))
        for completion, messages in found.completions.select("completion_id", "messages").iter_rows()
    }
    return {(place[a], place[b]) for a, b in found.pairs.select("chosen_id", "rejected_id").iter_rows()}


class TestPairsFromRanks:
    """Oracle O5: every strict difference of rank is a pair (arXiv:2502.10391, section 4.2)."""

    @pytest.mark.parametrize(
        ("ranks", "count"),
        [([1, 2, 3, 4], 6), ([1, 2, 2, 4], 5), ([1, 1, 1], 0), ([1, 1, 2, 2], 4), ([3, 3, 1, 2, 2], 8)],
    )
    def test_how_many(self, ranks: list[int], count: int) -> None:
        assert len(preferred(ranks)) == count

    def test_which(self) -> None:
        assert preferred([2, 1, 3]) == {(1, 0), (0, 2), (1, 2)}

    @settings(max_examples=12, deadline=None)
    @given(ranks=st.lists(st.integers(1, 4), min_size=2, max_size=5), data=st.data())
    def test_their_laws(self, ranks: list[int], data: st.DataObject) -> None:
        found = preferred(ranks)
        assert found == {(a, b) if ranks[a] < ranks[b] else (b, a) for a, b in combinations(range(len(ranks)), 2)
                         if ranks[a] != ranks[b]}  # fmt: skip
        # The same order under other numbers is the same; moving outputs about moves their pairs with them.
        assert preferred([rank * 3 + 7 for rank in ranks]) == found
        order = data.draw(st.permutations(range(len(ranks))))
        assert {(order[a], order[b]) for a, b in preferred([ranks[place] for place in order])} == found

    def test_all_pairs_of_a_prompt_share_its_split(self) -> None:
        rows = [row([1, 2, 3, 4]) | {"question": f"How many {thing}?"} for thing in range(40)]
        pairs = merged(rows, splits=Splits(test=0.3, validation=0.3)).pairs
        splits = pairs.group_by("prompt_id").agg(pl.col("split").n_unique(), pairs=pl.len())
        assert splits["split"].to_list() == [1] * 40
        assert splits["pairs"].to_list() == [6] * 40
        assert set(pairs["split"]) == {"train", "validation", "test"}

    def test_an_id_may_repeat(self) -> None:
        said = [MmRlhfSource.example[1] | {"chosen": f"yes {n}"} for n in range(3)]
        found = merged(said)
        assert (found.prompts.height, found.pairs.height) == (1, 3)
