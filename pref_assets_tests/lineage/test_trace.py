"""Questions a person asks of a row, and the answers."""

import io
import json
from dataclasses import asdict

import polars as pl
import pytest
from PIL import Image

from pref_assets.home import Home
from pref_assets.lineage.model import AmbiguousQueryError, Judgement, Origin, Side, UnknownQueryError
from pref_assets.lineage.render import _side, render, shorten
from pref_assets.lineage.trace import trace
from pref_assets.lineage.uses import uses
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.schema import CRITIQUES, FLAGS, PAIR_DUPLICATES, PROMPTS
from pref_assets_tests.lineage.conftest import URI


def test_a_pair_from_file_to_checkpoint(small):
    found = trace(small.home, "p", small.blue[:6])
    assert found.found == "pair"
    [pair] = found.pairs
    assert pair.pair_id == small.blue
    assert (pair.prompt, pair.chosen.text, pair.rejected.text) == ("Name a colour.", "Blue is a colour.", "No idea.")
    assert pair.origins == [Origin("answers", URI, 1, "b1"), Origin("answers", URI, 7, "b1")]
    assert {(vote["annotator"], vote["choice"]) for vote in pair.votes} == {("ann", "chosen"), ("bo", "chosen")}
    assert (pair.split, pair.p_chosen, pair.code) == ("train", 1.0, None)
    assert [(m.clusters, m.cluster, m.label) for m in pair.chosen.clusters] == [("topics", 3, "colours")]
    assert [(m.cluster, m.label) for m in pair.rejected.clusters] == [(1, "doubt")]
    assert pair.scores["strength"]["p_correct"] == 0.2
    assert [(d.subset, d.selected, d.reason) for d in pair.decisions] == [
        ("all", True, "picked"),
        ("few", False, "below_budget: rank 2 of 1"),
    ]
    assert [(u.checkpoint, u.version, u.subset, u.evaluations) for u in pair.checkpoints] == [
        ("rm_all", "aaaa1111", "all", ["rewards"])
    ]
    assert [(row.origin.row, row.code, row.completions) for row in found.rows] == [(1, None, 2), (7, None, 2)]


def test_a_pair_that_two_checkpoints_learned(small):
    [pair] = trace(small.home, "p", small.oak).pairs
    assert [use.checkpoint for use in pair.checkpoints] == ["rm_all", "rm_few"]
    assert pair.scores == {}


def test_the_start_of_a_completion(small):
    found = trace(small.home, "p", "  Blue is")
    assert (found.found, [pair.pair_id for pair in found.pairs]) == ("completion", [small.blue])


def test_a_completion_without_a_comparison_still_says_where_it_came_from(small):
    found = trace(small.home, "p", "Granite")
    assert (found.found, found.pairs) == ("completion", [])
    assert [row.origin.row for row in found.rows] == [6]
    assert "It is in no pair" in render(found)


def test_a_dropped_pair_says_why(small):
    found = trace(small.home, "p", "answers.jsonl:2")
    [pair] = found.pairs
    assert pair.code is not None
    assert pair.code in render(found)
    assert {pair.chosen.text, pair.rejected.text} == {"Trout, a fish.", "Cod, a fish."}
    assert trace(small.home, "p", pair.pair_id[:8]).pairs == [pair]


def test_a_refused_row_says_why(small):
    found = trace(small.home, "p", f"{URI}:3")
    assert (found.found, found.pairs) == ("row", [])
    [row] = found.rows
    assert row.code == "wrong_type"
    assert "completions[0].content" in row.reason
    assert json.loads(row.payload)["prompt"] == "Name a bird."
    text = render(found)
    assert "quarantined: wrong_type" in text
    assert "No pair came of it." in text


def test_a_refused_row_is_found_by_its_text(small):
    assert trace(small.home, "p", "Name a bird").rows[0].origin.row == 3


def test_a_row_read_in_part_shows_both(small):
    found = trace(small.home, "p", "answers.jsonl:5")
    assert [pair.pair_id for pair in found.pairs] == [small.oak]
    assert [(row.code, row.completions) for row in found.rows] == [("empty_side", 2)]
    assert "read in part: 2 completions" in render(found)


def test_a_pointer_finds_pairs_that_other_rows_share(small):
    assert [pair.pair_id for pair in trace(small.home, "p", "answers.jsonl:7").pairs] == [small.blue]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("answers.jsonl:4", "has no row 4: that line is blank"),
        ("answers.jsonl:99", "has no row 99: its last row is 7"),
        ("other.jsonl:1", "Files that were read: answers.jsonl"),
        ("Completely unheard of", "ask for a pair id"),
        ("ffffffff", "answers to 'ffffffff'"),
        (" ", "ask for a pair id"),
    ],
)
def test_what_answers_to_nothing(small, query, message):
    with pytest.raises(UnknownQueryError, match=message.replace(".", r"\.")):
        trace(small.home, "p", query)


def test_a_text_that_several_completions_share_lists_their_pairs(small):
    with pytest.raises(AmbiguousQueryError, match="2 completions start with 'No idea'") as error:
        trace(small.home, "p", "No idea")
    assert sorted(query for query, _ in error.value.candidates) == sorted([small.blue, small.oak])
    assert {what for _, what in error.value.candidates} == {
        "No idea.  (to: Name a colour.)",
        "No idea.  (to: Name a tree.)",
    }
    for query, _ in error.value.candidates:
        assert trace(small.home, "p", query).found == "pair"


def test_an_id_that_several_pairs_share_lists_them(small, monkeypatch):
    import re

    from pref_assets.lineage import find

    monkeypatch.setattr(find, "_HEX", re.compile("[0-9a-f]*"))
    with pytest.raises(AmbiguousQueryError, match="3 pairs have ids that start with ''") as error:
        trace(small.home, "p", "")
    assert len(error.value.candidates) == 3


def test_an_unknown_pipeline_names_those_there_are(small, tmp_path):
    with pytest.raises(UnknownQueryError, match="pipelines there: p"):
        trace(small.home, "q", small.blue)
    with pytest.raises(UnknownQueryError, match="pipelines there: none"):
        trace(Home(tmp_path), "p", small.blue)


def test_the_answer_reads_well_and_is_plain_data(small):
    found = trace(small.home, "p", small.blue)
    text = render(found)
    for expected in (
        f"read from {URI}:1  (source answers, batch b1)",
        f"pair {small.blue}",
        "chosen    Blue is a colour.  [tiny]",
        "ann on overall: chosen; bo on overall: chosen",
        "cluster topics 3 (colours), 0.250 from the centre",
        "strength: -1.500, spread 0.500, label right with probability 0.20, incorrect",
        "all: kept (picked, rank 1)",
        "few: not kept (below_budget: rank 2 of 1)",
        "rm_all@aaaa1111 (reward_model, subset all,",
        "measured by rewards",
    ):
        assert expected in text
    json.dumps(asdict(found))


def test_long_texts_are_shortened_to_a_line():
    assert shorten("a\n b", 10) == "a b"
    assert shorten("word " * 50, 12) == "word word w…"


def test_what_the_audit_found_and_which_copies_were_dropped_for_it(small):
    pair, other = small.merged.pairs["pair_id"].head(2)
    flag = {"pair_id": pair, "code": "length_gap", "severity": "info", "detail": "one answer is longer"}
    small.write(("pairs", "flags"), FLAGS.frame([flag]), FLAGS)
    copy = {"pair_id": other, "of": pair, "similarity": 0.9, "batch": "b1", "of_batch": "b1"}
    small.write(("pairs", "pair_duplicates"), PAIR_DUPLICATES.frame([copy]), PAIR_DUPLICATES)
    (found,) = trace(small.home, "p", pair).pairs
    assert found.flags == ["length_gap: one answer is longer"]
    assert found.copies == [other]
    said = render(trace(small.home, "p", pair))
    assert "  flag      length_gap: one answer is longer" in said
    assert f"  copies    dropped for it: {other}" in said
    (apart,) = trace(small.home, "p", other).pairs
    assert (apart.flags, apart.copies) == ([], [])


def test_a_trace_and_the_uses_tell_of_another_label(own):
    own.select("turned", own.ids, p_chosen=0.25, margin=1.5)
    text = render(trace(own.home, "p", own.ids[0]))
    assert "turned: kept (picked, rank 1, trains the other way round, label 0.75, margin 1.5)" in text
    assert "all: kept (picked, rank 1)" in text
    made = {use.name: use.made_from for use in uses(own.home, "p")}
    assert made["turned"] == "chosen from 2 pairs, 2 relabelled, 2 of them the other way round"
    assert made["all"] == "chosen from 2 pairs"


def test_images_and_critiques_of_a_pair(own, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(stream, "PNG")
    stored = MediaStore(own.home.media).put(stream.getvalue())
    broken = MediaStore(own.home.media).put(b"no image")
    uris = [stored, "media://" + "0" * 64 + ".png", broken, "http://elsewhere/1.png", *(f"{n}.png" for n in range(2))]
    seen = own.merged.prompts.with_columns(images=pl.lit(uris, pl.List(pl.String)))
    own.write(("pairs", "prompts"), seen, PROMPTS)
    row = own.merged.pairs.filter(pair_id=own.ids[0]).row(0, named=True)
    said = {"completion_id": row["chosen_id"], "critique": None, "writer": "human", "category": "silent"}
    own.write(("critiques", "raw"), CRITIQUES.frame([said]), CRITIQUES)
    found = trace(own.home, "p", own.ids[0])
    [pair] = found.pairs
    assert [(each.width, each.height, each.problem is None) for each in pair.images[:2]] == [
        (20, 10, True),
        (None, None, False),
    ]
    assert [each.critiques for each in pair.chosen.critiques] == ["raw"]
    assert (pair.rejected.critiques, pair.chosen.judgements) == ([], [])
    text = render(found)
    for expected in (
        f"  image     {MediaStore(own.home.media).path(stored)}  (20 x 10, {len(stream.getvalue())} bytes)",
        "not in the media store",
        f"{broken}: cannot identify image file",
        "http://elsewhere/1.png: not on this machine",
        "and 2 more images",
        "critique raw (human, silent)\n",
    ):
        assert expected in text
    json.dumps(asdict(found))


def test_of_many_critiques_some_are_shown_and_all_are_counted():
    judgement = Judgement("gap", 1.5, [f"Long {n} " * 50 for n in range(7)], [1.5] * 7, truncated=True)
    side = Side("id", "text", None, [], [], judgements=[judgement])
    lines = list(_side("chosen", side))
    assert lines[1].strip() == "reward gap +1.500, truncated"
    assert lines[-1].strip() == "and 4 more critiques"
    assert len(lines) == 6
    assert max(map(len, lines)) < 120


def test_reasons_of_votes_and_ratings_are_said():
    rating = {"dimension": "faithfulness", "value": 5.0, "annotator": "ann", "rationale": "All there."}
    comment = {"dimension": "reason", "value": None, "annotator": "ann", "rationale": "Right."}
    lines = [line.strip() for line in _side("chosen", Side("id", "text", None, [rating, comment], []))]
    assert lines[1:] == ["rated faithfulness=5 (ann), reason: 'Right.' (ann)", "because All there."]
