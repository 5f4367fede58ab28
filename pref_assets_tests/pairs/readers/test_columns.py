"""The declarative reader: what a description makes of rows, and what becomes of rows that do not fit it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pref_assets.pairs.readers.columns import ColumnsSource
from pref_assets.pairs.schema import completion_id, prompt_id
from pref_assets.pipeline.spec_errors import SpecError, parse_spec
from pref_assets.pipeline.yaml_marks import parse
from pref_assets_tests.pairs.build import read, refusals

HI = prompt_id([{"role": "user", "content": "Hi"}])


def source(text: str, **more: Any) -> ColumnsSource:
    return ColumnsSource.model_validate({"location": "rows.jsonl", **yaml.safe_load(text), **more})


def answer(content: str, prompt: str = HI) -> str:
    return completion_id(prompt, [{"role": "assistant", "content": content}])


TWO = """
prompt: question
answers:
  - text: left
    model: models[0]
  - {text: right, model: row.get('other')}
votes:
  - choice: label
    choices: {1: a, 2: b, 0: tie, null: none}
    annotator: who
    strength: margin|float
    rationale: why
context: about
metadata: {number: n, doubled: n * 2}
"""
ROW = {
    "question": "Hi",
    "left": "one",
    "right": "two",
    "models": ["m"],
    "label": 2,
    "who": 17,
    "margin": "0.5",
    "why": None,
    "about": "kindness",
    "n": 4,
}


def test_a_row_with_everything() -> None:
    records = read([ROW], source(TWO))
    asked = prompt_id([{"role": "user", "content": "Hi"}], context="kindness")
    assert records.prompts["prompt_id"].to_list() == [asked]
    assert json.loads(records.prompts["metadata"][0]) == {"number": 4, "doubled": 8}
    assert records.completions["completion_id"].to_list() == [answer("one", asked), answer("two", asked)]
    assert records.completions["model"].to_list() == ["m", None]
    (vote,) = records.votes.rows(named=True)
    assert vote[f"completion_{vote['choice']}"] == answer("two", asked)
    assert (vote["annotator"], vote["dimension"], vote["strength"], vote["rationale"]) == ("17", "overall", 0.5, None)
    assert records.quarantine.height == 0


def test_choices_say_what_labels_mean() -> None:
    labels = [1, "1", 0, None, 3, True]
    records = read([{**ROW, "label": label} for label in labels], source(TWO))
    chosen = {(row, vote[f"completion_{vote['choice']}"] if vote["choice"] != "tie" else "tie")
              for vote in records.votes.rows(named=True) for row in [vote["row"]]}  # fmt: skip
    one = answer("one", prompt_id([{"role": "user", "content": "Hi"}], context="kindness"))
    assert chosen == {(1, one), (2, one), (3, "tie")}
    assert refusals(records) == [(5, "wrong_type"), (6, "wrong_type")]
    assert "row 5: field `votes[0].choice: label` is 3; `choices` has 1, 2, 0, null" in records.quarantine["reason"][0]


LOOPS = """
prompt: q
answers:
  - each: {item: outputs}
    when: item.done
    id: item.id
    text: item.text
    ratings:
      - each: {dimension: [kind, true_to_fact]}
        dimension: dimension
        value: item[dimension]
        annotator: "'panel'"
votes:
  - each: {judge: judges.items(), dimension: "['x', 'y']"}
    let: {said: 'judge[1][dimension]'}
    when: said is not none
    a: said.better
    b: said.worse
    choice: "'a'"
    annotator: judge[0]
    dimension: dimension
"""


def test_loops_over_answers_ratings_and_votes() -> None:
    row = {
        "q": "Hi",
        "outputs": [
            {"id": "p", "text": "one", "done": True, "kind": 3, "true_to_fact": None},
            {"id": "q", "text": "unfinished", "done": False},
            {"id": "r", "text": "three", "done": True, "kind": 1, "true_to_fact": 2.5},
        ],
        "judges": {
            "ann": {"x": {"better": "r", "worse": "p"}, "y": None},
            "bob": {"x": {"better": "p", "worse": "r"}, "y": {"better": "r", "worse": "p"}},
        },
    }
    records = read([row], source(LOOPS))
    assert records.quarantine.height == 0
    assert records.completions["completion_id"].to_list() == [answer("one"), answer("three")]
    rated = [[(each["dimension"], each["value"]) for each in some] for some in records.completions["ratings"].to_list()]
    assert rated == [[("kind", 3.0)], [("kind", 1.0), ("true_to_fact", 2.5)]]
    said = {
        (vote["annotator"], vote["dimension"], vote[f"completion_{vote['choice']}"])
        for vote in records.votes.rows(named=True)
    }
    assert said == {("ann", "x", answer("three")), ("bob", "x", answer("one")), ("bob", "y", answer("three"))}


TREE = """
each: {step: "walk(root, 'replies')"}
let: {below: step.node.replies}
when: step.node.by == 'asker' and below
prompt: turns(step.path, role='by', content='said', roles=dict(asker='user', helper='assistant'))
answers:
  - each: {reply: below}
    text: reply.said
    ratings: [{value: -reply.rank}]
"""


def node(by: str, said: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"by": by, "said": said, "replies": list(replies), **more}


def test_a_tree_has_a_record_for_every_question() -> None:
    deeper = node("asker", "More", node("helper", "x", rank=1), node("helper", "y", rank=0))
    tree = node("asker", "Hi", node("helper", "one", deeper, rank=0), node("helper", "two", rank=1))
    records = read([{"root": tree}], source(TREE))
    talk = [("user", "Hi"), ("assistant", "one"), ("user", "More")]
    later = prompt_id([{"role": role, "content": content} for role, content in talk])
    assert records.prompts.select("prompt_id", "row").rows() == [(HI, 1), (later, 1)]
    expected = [answer("one"), answer("two"), answer("x", later), answer("y", later)]
    assert records.completions["completion_id"].to_list() == expected
    assert [some[0]["value"] for some in records.completions["ratings"].to_list()] == [0.0, -1.0, -1.0, 0.0]


def test_a_record_that_fails_is_refused_alone_and_named() -> None:
    broken = node("asker", "More", node("helper", "x", rank="first"))
    tree = node("asker", "Hi", node("helper", "one", broken, rank=0), node("helper", "two", rank=1))
    records = read([{"root": tree}], source(TREE))
    assert records.prompts["prompt_id"].to_list() == [HI]
    assert refusals(records) == [(1, "bad_expression")]
    assert "row 1: `answers[0].ratings[0].value: -reply.rank`: bad operand" in records.quarantine["reason"][0]
    assert records.quarantine["reason"][0].endswith("the rest of the row was read")


def test_a_row_left_with_no_record_is_in_quarantine() -> None:
    records = read([{"root": node("asker", "Hi")}, {"root": node("helper", "Hi")}], source(TREE))
    assert refusals(records) == [(1, "left_out"), (2, "left_out")]


PLAIN = """
prompt: q
answers: [{text: left}, {text: right}]
votes: [{choice: "'a'"}]
"""


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ({"left": "one", "right": "two"}, "missing_field", "`prompt: q`: the row has no field `q`"),
        ({"q": None, "left": "one", "right": "two"}, "missing_field", "field `prompt` is null"),
        ({"q": 3, "left": "one", "right": "two"}, "wrong_type", "field `prompt` is a number, expected text or a list"),
        ({"q": " ", "left": "one", "right": "two"}, "empty_prompt", "`prompt`"),
        ({"q": "Hi", "left": ["one"], "right": "two"}, "wrong_type", "answers[0].text[0]"),
        ({"q": [{"role": "assistant", "content": "x"}], "left": "a", "right": "b"}, "role_order", "`prompt`"),
        ({"q": "Hi", "left": " ", "right": ""}, "empty_side", "answer 0: field `answers[0].text` is empty"),
    ],
)
def test_a_row_that_does_not_fit(row: dict[str, Any], code: str, said: str) -> None:
    fits = {"q": "Hi", "left": "one", "right": "two"}
    records = read([fits, row], source(PLAIN), uri="data/part.jsonl", start=7)
    assert refusals(records) == [(8, code)]
    assert records.quarantine["reason"][0].startswith("data/part.jsonl, row 8: ")
    assert said in records.quarantine["reason"][0]
    assert json.loads(records.quarantine["payload"][0]) == row
    assert records.prompts["row"].to_list() == [7]


def test_an_empty_answer_and_two_equal_ones_are_refused_alone_with_their_votes() -> None:
    votes = """
prompt: q
answers: [{each: {text: texts}, text: text}]
votes: [{each: {pair: pairs(4)}, a: 'pair[0]', b: 'pair[1]', choice: "'a'"}]
"""
    records = read([{"q": "Hi", "texts": ["one", "", "three", "one"]}], source(votes))
    assert records.completions["completion_id"].to_list() == [answer("one"), answer("three"), answer("one")]
    assert records.votes.height == 2  # of six, three have the empty answer and one compares `one` with itself
    assert refusals(records) == [(1, "empty_side")]
    assert "`votes[0]` compares two answers that are the same" in records.quarantine["reason"][0]


def test_metadata_is_plain_or_refused() -> None:
    kept = source(PLAIN, metadata={"items": "[row.items()]", "range": "range(2)", "pair": "(1, none)"})
    records = read([{"q": "Hi", "left": "one", "right": "two"}], kept)
    items = [[["q", "Hi"], ["left", "one"], ["right", "two"]]]
    assert json.loads(records.prompts["metadata"][0]) == {"items": items, "range": [0, 1], "pair": [1, None]}
    odd = source(PLAIN, metadata={"method": "q.upper"})
    records = read([{"q": "Hi", "left": "one", "right": "two"}], odd)
    assert refusals(records) == [(1, "wrong_type")]
    assert "`metadata.method` is no plain value" in records.quarantine["reason"][0]


def test_conditions_have_codes_of_their_own() -> None:
    rules = source(PLAIN, require=[{"that": "left|length < 4", "code": "too_long", "reason": "left is long"}])
    records = read([{"q": "Hi", "left": "four", "right": "x"}, {"q": "Hi", "left": "one", "right": "x"}], rules)
    assert refusals(records) == [(1, "too_long")]
    assert records.quarantine["reason"][0] == "rows.jsonl, row 1: left is long"
    assert records.votes["row"].to_list() == [2]


def test_two_votes_of_one_judge_on_one_thing_would_count_once_and_are_refused() -> None:
    votes = [{"each": {"label": "labels"}, "choice": "label"}]
    records = read([{"q": "Hi", "left": "one", "right": "two", "labels": ["a", "b"]}], source(PLAIN, votes=votes))
    assert refusals(records) == [(1, "repeated_vote")]
    assert "annotator 'unknown' votes twice" in records.quarantine["reason"][0]


def test_a_vote_on_an_answer_that_is_not_there_is_refused() -> None:
    records = read([{"q": "Hi", "left": "one", "right": "two"}], source(PLAIN, votes=[{"b": 2, "choice": "'a'"}]))
    assert refusals(records) == [(1, "wrong_type")]
    assert "field `votes[0].b` is 2; the answers are 0, 1" in records.quarantine["reason"][0]


def test_the_file_and_images_are_known() -> None:
    settings = source(PLAIN, metadata={"part": "file"}, images="['a.png', left ~ '.png']")
    records = read([{"q": "Hi", "left": "one", "right": "two"}], settings, uri="data/Natural.json")
    assert json.loads(records.prompts["metadata"][0]) == {"part": "Natural.json"}
    assert records.prompts["images"].to_list() == [["a.png", "one.png"]]


FILE = """\
attributes:
  name: mine
  sources:
    rows:
      type: columns
      location: data
      prompt: question
      answers:
        - text: left
        - text: right
      votes:
        - choice: label
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "prompt: question",
            "prompt: question ~",
            "7: sources.rows.prompt: expression `question ~`: unexpected 'end of the expression'",
        ),
        (
            "choice: label",
            "choice: label|uper",
            "12: sources.rows.votes.0.choice: expression `label|uper`: there is no filter `uper` "
            "(did you mean `upper`?)",
        ),
        (
            "text: right",
            "text: right\n          model: [x]",
            "11: sources.rows.answers.1.model: an expression is text; put it in quotes when it begins with [ or {",
        ),
        (
            "choice: label",
            "choice: label\n          each:\n            row: range(3)",
            "14: sources.rows.votes.0.each.row: 'row' has a meaning of its own in expressions; choose another name",
        ),
        (
            "choice: label",
            "choice: label\n          each: {it: zipp(a)}",
            "13: sources.rows.votes.0.each.it: expression `zipp(a)`: there is no function `zipp` (did you mean `zip`?)",
        ),
        (
            "prompt: question",
            "prompt: question\n      joins:\n        texts: {location: x, key: a..b}",
            "9: sources.rows.joins.texts.key: expression `a..b`: expected name or number",
        ),
        (
            "choice: label",
            "choice: label\n          choices: {1: first}",
            "13: sources.rows.votes.0.choices.1: Input should be 'a', 'b', 'tie' or 'none' (got 'first')",
        ),
    ],
)
def test_a_wrong_description_names_file_line_and_field(old: str, new: str, expected: str) -> None:
    (document,) = parse(FILE.replace(old, new))
    with pytest.raises(SpecError) as error:
        parse_spec(document.value["attributes"], document.mark.at(["attributes"]), Path("defs.yaml"))
    assert error.value.errors == [f"defs.yaml:{expected}"]


def test_every_setting_is_documented() -> None:
    from pref_assets.pairs.readers import columns_blocks as blocks

    for model in (ColumnsSource, blocks.AnswerBlock, blocks.VoteBlock, blocks.RatingBlock, blocks.Join,
                  blocks.Requirement):  # fmt: skip
        assert [name for name, text in model.descriptions().items() if not text and name != "type"] == []


def test_values_that_yaml_cannot_mean_are_refused() -> None:
    with pytest.raises(ValidationError, match="put dates and the like in quotes"):
        source(PLAIN, each={"day": yaml.safe_load("[2020-01-01]")})
    with pytest.raises(ValidationError, match="the expression is missing"):
        source(PLAIN, prompt=None)


def test_the_example_is_read() -> None:
    settings = source("""
prompt: question
answers: [{text: left}, {text: right}]
votes:
  - each: {ballot: "zip(workers, votes)"}
    annotator: ballot[0]
    choice: ballot[1]
    choices: {1: a, 0: b}
""")
    records = read(list(ColumnsSource.example), settings)
    assert records.votes["annotator"].sort().to_list() == ["w1", "w2"]
    assert records.quarantine.height == 0
