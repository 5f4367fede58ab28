"""The expression language of the declarative reader: values, missing fields, errors, and what is out of reach."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.readers.columns_expressions import compiled, evaluate, literal, scope_of
from pref_assets.pairs.readers.record import BadRowError

ROW = {
    "question": "Why?",
    "odd-name": 7,
    "items": ["a field", "not a method"],
    "worker": ["w0", "w1"],
    "person": {"keys": "door", "name": "Ada"},
    "range": "a field too",
    "_value_": "v",
    "self": "me",
    "nothing": None,
    "score": "4.5",
}


def value(source: str, **more: object) -> object:
    return evaluate(source, scope_of({**ROW, **more}, "rows.jsonl", {}), "prompt")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("question", "Why?"),
        ("row['odd-name']", 7),
        ("row['odd-name'] + 1", 8),
        ("items[1]", "not a method"),
        ("row.items[0]", "a field"),
        ("person.keys", "door"),
        ("person.values()|list", ["door", "Ada"]),
        ("person.get('age')", None),
        ("nothing", None),
        ("worker[-1] ~ '/' ~ question", "w1/Why?"),
        ("worker[0] ~ 1", "w01"),
        ("'text'", "text"),
        ("range", "a field too"),
        ("range(2)|list", [0, 1]),
        ("_value_ ~ (_value_|upper)", "vV"),
        ("self", "me"),
        ("file", "rows.jsonl"),
        ("score|float", 4.5),
        ("'12'|int", 12),
        ("'a' if person.name == 'Ada' else 'b'", "a"),
        ("zip(worker, [1, 2])[1]", ("w1", 2)),
        ("enumerate(worker)", [(0, "w0"), (1, "w1")]),
        ("pairs(3)", [(0, 1), (0, 2), (1, 2)]),
        ("-row['odd-name']", -7),
        ("age is defined", False),
        ("worker|map('upper')", ["W0", "W1"]),
        ("age|default('none')", "none"),
    ],
)
def test_values(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("age", "missing_field", "`prompt: age`: the row has no field `age` (text itself takes quotes: 'age')"),
        ("age|upper", "missing_field", "the row has no field `age`"),
        ("'x' ~ age", "missing_field", "the row has no field `age`"),
        ("row['age']", "missing_field", "the object has no field `age`"),
        ("person.age.years", "missing_field", "the object has no field `age`"),
        ("worker[5]", "missing_field", "the list has no element `5`"),
        ("question if none", "missing_field", "`prompt: question if none`"),
        ("score + 1", "bad_expression", "can only concatenate str"),
        ("question|float", "bad_expression", "could not convert string to float: 'Why?'"),
        ("'2.5'|int", "bad_expression", "'2.5' is no whole number"),
        ("true|int", "bad_expression", "True is no number"),
        ("'nan'|float", "bad_expression", "'nan' is no finite number"),
        ("1 / 0", "bad_expression", "division by zero"),
        ("zip(worker, [1])", "bad_expression", "shorter"),
        ("range(10000000)|list", "bad_expression", "at most 100000"),
        ("turns(worker)", "wrong_type", "expected a list of objects"),
    ],
)
def test_what_fails_says_where_and_why(source: str, code: str, said: str) -> None:
    with pytest.raises(BadRowError) as error:
        value(source)
    assert error.value.code == code
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a ~", "unexpected 'end of the expression'"),
        ("a b", "cannot read on at 'b'"),
        ("tunrs(a)", "there is no function `tunrs` (did you mean `turns`?)"),
        ("[1]|map('upper')|shout", "there is no filter `shout`"),
        ("a is vowel", "there is no test `vowel`"),
        ("a if b else c|shout", "there is no filter `shout`"),
        ("[1, 2]|random", "there is no filter `random`"),
        ("", "expression ``"),
    ],
)
def test_what_cannot_be_an_expression_is_refused_before_any_row(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^expression `") as error:
        compiled(source)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "source",
    [
        "question.__class__",
        "question.__class__.__mro__",
        "row.__init__.__globals__",
        "worker.append('w2')",
        "'{0.__class__}'.format(question)",
        "turns.__globals__",
    ],
)
def test_python_itself_is_out_of_reach_and_rows_cannot_be_changed(source: str) -> None:
    with pytest.raises(BadRowError):
        value(source)
    assert ROW["worker"] == ["w0", "w1"]


def test_an_expression_is_of_the_row_it_is_given_in_every_thread() -> None:
    def upper(number: int) -> list[object]:
        return [value("question|upper", question=f"q{number}_{index}") for index in range(200)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(upper, range(8)))
    assert found == [[f"Q{number}_{index}" for index in range(200)] for number in range(8)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_plain_values_mean_themselves(plain: object) -> None:
    assert compiled(literal(plain))({}) == plain


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=6), st.integers(), max_size=4), st.text(max_size=6))
def test_the_short_way_gives_what_a_template_gives(row: dict[str, int], name: str) -> None:
    scope = scope_of(row, "f", {})
    key = literal(name)
    assert evaluate(f"row.get({key})", scope, "p") == row.get(name)
    if name in row:
        assert evaluate(f"row[{key}]", scope, "p") == row[name] == evaluate(f"[row[{key}]][0]", scope, "p")
