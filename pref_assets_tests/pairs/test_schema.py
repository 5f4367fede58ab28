import math
from hashlib import sha256

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.schema import (
    COMPLETIONS,
    PAIRS,
    PROMPTS,
    ContentHasher,
    completion_id,
    content_hash,
    pair_id,
    prompt_id,
)

TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=20)})


@given(st.text(), st.text())
def test_a_pair_is_the_same_whichever_side_comes_first(a: str, b: str) -> None:
    assert pair_id(a, b) == pair_id(b, a)


@given(st.lists(TURN, max_size=3), st.lists(TURN, max_size=3))
def test_prompts_share_an_id_only_when_their_turns_are_equal(a: list[dict], b: list[dict]) -> None:
    assert (prompt_id(a) == prompt_id(b)) == (a == b)


def test_images_and_context_are_part_of_a_prompt() -> None:
    turns = [{"role": "user", "content": "Which is better?"}]
    assert len({prompt_id(turns), prompt_id(turns, ["a.png"]), prompt_id(turns, context="honesty")}) == 3


def test_the_same_answer_to_another_prompt_is_another_completion() -> None:
    answer = [{"role": "assistant", "content": "Yes."}]
    assert completion_id("p1", answer) != completion_id("p2", answer)


def test_turn_boundaries_are_part_of_the_content() -> None:
    one = [{"role": "user", "content": "ab"}]
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert prompt_id(one) != prompt_id(two)


def test_content_hash_ignores_row_order_and_chunks_but_not_values() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "value": [1.0, None, 3.0]})
    assert content_hash(frame) == content_hash(frame.reverse())
    assert content_hash(frame) == content_hash(pl.concat([frame[:1], frame[1:]], rechunk=False))
    assert content_hash(frame) != content_hash(frame.with_columns(pl.col("value") + 1))
    assert content_hash(frame) != content_hash(frame.rename({"value": "score"}))


def test_content_hash_tells_nan_infinity_null_and_zeros_apart_at_any_depth() -> None:
    values = [math.nan, math.inf, -math.inf, None, 0.0, -0.0]
    flat = [pl.DataFrame({"x": [value]}, schema={"x": pl.Float64}) for value in values]
    deep = [
        pl.DataFrame({"x": [[{"v": value}]]}, schema={"x": pl.List(pl.Struct({"v": pl.Float64}))}) for value in values
    ]
    arrays = [pl.DataFrame({"x": [[value]]}, schema={"x": pl.Array(pl.Float32, 1)}) for value in values]
    for frames in (flat, deep, arrays):
        assert len({content_hash(frame) for frame in frames}) == len(values)


def test_content_hash_counts_repeated_rows_and_knows_where_values_end() -> None:
    frame = pl.DataFrame({"id": ["a"], "value": ["b"]})
    assert content_hash(frame) != content_hash(pl.concat([frame, frame]))
    assert content_hash(pl.DataFrame({"id": ["a\n"], "value": ["b"]})) != content_hash(
        pl.DataFrame({"id": ["a"], "value": ["\nb"]})
    )


def test_content_hash_is_what_it_says_whatever_the_libraries_versions() -> None:
    """A change here makes every table of every deployment stale."""
    frame = pl.DataFrame({"id": ["b", "a"], "votes": [[{"who": 'é\u2028"', "x": 1e-7}], None], "n": [1, None]})
    columns = '[["id", "String"], ["votes", "List(Struct({\'who\': String, \'x\': Float64}))"], ["n", "Int64"]]'
    rows = [
        '{"id":"b","votes":[{"who":"é\u2028\\"","x":"1e-7"}],"n":1}',
        '{"id":"a","votes":null,"n":null}',
    ]
    hashes = sorted(sha256(row.encode()).digest()[:16] for row in rows)
    assert content_hash(frame) == sha256(columns.encode() + b"".join(hashes)).hexdigest()[:32]


def test_a_hasher_refuses_another_schema() -> None:
    hasher = ContentHasher(PAIRS.schema)
    with pytest.raises(ValueError, match="a frame with columns"):
        hasher.add(PROMPTS.empty())


def test_conform_orders_columns_and_names_what_does_not_fit() -> None:
    row = dict.fromkeys(PAIRS.columns)
    frame = PAIRS.frame([row]).select(reversed(list(PAIRS.columns)))
    assert PAIRS.conform(frame).columns == list(PAIRS.columns)
    with pytest.raises(ValueError, match=r"table pairs: missing columns \['split'\], unexpected columns \['extra'\]"):
        PAIRS.conform(frame.drop("split").with_columns(extra=1))


@pytest.mark.parametrize("table", [PROMPTS, COMPLETIONS, PAIRS], ids=lambda t: t.name)
def test_every_column_is_described_and_keys_exist(table) -> None:
    assert all(column.description for column in table.columns.values())
    assert set(table.key) <= set(table.columns)
    assert table.empty().schema == table.schema
