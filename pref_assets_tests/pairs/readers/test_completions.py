import json

import pytest

from pref_assets.pairs.schema import completion_id, prompt_id
from pref_assets_tests.pairs.build import read_completions, refusals

HI = {"role": "user", "content": "Hi"}


def rated(value, dimension="overall", annotator="ann"):
    return {"dimension": dimension, "value": value, "annotator": annotator}


ROW = {
    "prompt": "Hi",
    "completions": [
        {"content": "one", "model": "m", "ratings": [rated(1), {"value": 0.5}]},
        {"content": "two", "ratings": [{**rated(0), "rationale": "short"}]},
        {"messages": [{"role": "assistant", "content": "three"}]},
    ],
    "votes": [
        {"a": 2, "b": 0, "choice": "b", "annotator": "x", "dimension": "kind", "strength": 2, "rationale": "r"},
        {"a": 1, "b": 2, "choice": "tie"},
    ],
    "metadata": {"family": ["length"]},
}


def test_a_row_with_ratings_and_votes():
    records = read_completions([ROW])
    asked = prompt_id([HI])
    one, two, three = (completion_id(asked, [{"role": "assistant", "content": t}]) for t in ("one", "two", "three"))
    assert records.completions["completion_id"].to_list() == [one, two, three]
    assert records.completions["ratings"].to_list() == [
        [
            {"dimension": "overall", "value": 1.0, "annotator": "ann", "rationale": None},
            {"dimension": "overall", "value": 0.5, "annotator": "unknown", "rationale": None},
        ],
        [{"dimension": "overall", "value": 0.0, "annotator": "ann", "rationale": "short"}],
        [],
    ]
    assert records.completions["model"].to_list() == ["m", None, None]
    first, second = records.votes.rows(named=True)
    assert first[f"completion_{first['choice']}"] == one
    assert {first["completion_a"], first["completion_b"]} == {one, three}
    assert (first["annotator"], first["dimension"], first["strength"], first["rationale"]) == ("x", "kind", 2.0, "r")
    assert (second["choice"], second["annotator"], second["dimension"]) == ("tie", "unknown", "overall")
    assert json.loads(records.prompts["metadata"][0]) == {"family": ["length"]}
    assert records.quarantine.height == 0


def test_an_empty_completion_is_refused_alone_with_its_votes():
    row = {**ROW, "completions": [ROW["completions"][0], {"content": " \n"}, ROW["completions"][2]]}
    records = read_completions([row])
    assert records.completions.height == 2
    [vote] = records.votes.rows(named=True)
    assert vote["annotator"] == "x"
    assert refusals(records) == [(1, "empty_side")]
    assert records.quarantine["reason"][0] == (
        "rows.jsonl, row 1: field `completions[1]` is empty or only whitespace; the rest of the row was read"
    )


def test_a_row_of_empty_completions_is_refused_whole():
    records = read_completions([{**ROW, "completions": [{"content": ""}, {"content": " "}], "votes": []}])
    assert refusals(records) == [(1, "empty_side")]
    assert records.prompts.height == 0


def changed(**fields):
    return {**ROW, "votes": [], **fields}


def vote(**fields):
    return {**ROW, "votes": [{"a": 0, "b": 1, "choice": "a", **fields}]}


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        (changed(prompt=None), "missing_field", "`prompt`"),
        (changed(completions=None), "missing_field", "`completions`"),
        (changed(completions=[]), "missing_field", "`completions`"),
        (changed(completions=["one"]), "wrong_type", "`completions`"),
        (changed(completions=[{"model": "m"}]), "missing_field", "`completions[0].content`"),
        (changed(completions=[{"content": 3}]), "wrong_type", "`completions[0].content`"),
        (
            changed(completions=[{"content": "a", "ratings": [{}]}]),
            "missing_field",
            "`completions[0].ratings[0].value`",
        ),
        (
            changed(completions=[{"content": "a", "ratings": [rated("N/A")]}]),
            "wrong_type",
            "`completions[0].ratings[0].value`",
        ),
        (changed(completions=[{"content": "a", "ratings": {"x": 1}}]), "wrong_type", "`completions[0].ratings`"),
        (changed(completions=[{"messages": [HI]}]), "role_order", "`completions[0]`"),
        (changed(metadata="x"), "wrong_type", "`metadata`"),
        (vote(choice="c"), "wrong_type", "`votes[0].choice`"),
        (vote(b=3), "wrong_type", "`votes[0].b`"),
        (vote(a=True), "wrong_type", "`votes[0].a`"),
        (vote(b=0), "identical_sides", "`votes[0]`"),
        (vote(strength="much"), "wrong_type", "`votes[0].strength`"),
    ],
)
def test_bad_rows(row, code, said):
    records = read_completions([row])
    assert refusals(records) == [(1, code)]
    assert said in records.quarantine["reason"][0]
    assert records.completions.height == 0
