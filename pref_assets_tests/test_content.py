"""The data version of a table."""

import math
from hashlib import sha256

import polars as pl
import pytest

from pref_assets.content import ContentHasher, content_hash
from pref_assets.pairs.schema import PAIRS, PROMPTS


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
