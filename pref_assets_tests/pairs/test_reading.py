import gzip
import json

import datasets
import polars as pl
import pytest

from pref_assets.pairs.locations import LocationError
from pref_assets.pairs.reading import UnreadableError, read_hub, read_rows
from pref_assets.pairs.schema import RAW

GOOD = {"prompt": "é\n", "chosen": "a", "rejected": "b"}


def rows_of(path, data: bytes):
    path.write_bytes(data)
    frame = read_rows(path, f"data/{path.name}", "s", "b1")
    assert frame.schema == RAW.schema
    return frame


def codes(frame):
    return frame.select("row", "code").rows()


def test_json_lines_keep_bad_rows_with_their_line_number_and_text(tmp_path):
    lines = [
        json.dumps(GOOD).encode(),
        b"",
        b"{oops",
        b'["a", "list"]',
        b'{"a": "\xff"}',
        b"null",
        b"  \r",
        b'{"a": 1}\r',
    ]
    frame = rows_of(tmp_path / "rows.jsonl", b"\n".join(lines))
    assert codes(frame) == [
        (1, None),
        (3, "not_json"),
        (4, "not_an_object"),
        (5, "not_utf8"),
        (6, "not_an_object"),
        (8, None),
    ]
    assert frame["payload"].to_list()[1:3] == ["{oops", '["a", "list"]']
    assert frame["payload"][5] == '{"a": 1}'
    assert frame["reason"][1].startswith("data/rows.jsonl, row 3: not JSON")
    assert frame["reason"][2] == "data/rows.jsonl, row 4: a JSON list, not an object with fields"
    assert frame["reason"][0] is None
    assert set(frame["source"]) == {"s"}
    assert set(frame["batch"]) == {"b1"}


def test_a_line_separator_inside_a_string_does_not_end_the_row(tmp_path):
    row = json.dumps({"a": "one\u2028two\x85three"}, ensure_ascii=False)
    frame = rows_of(tmp_path / "rows.jsonl", row.encode())
    assert frame["payload"].to_list() == [row]


def test_gzip_and_byte_order_mark(tmp_path):
    frame = rows_of(tmp_path / "rows.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()))
    assert codes(frame) == [(1, None)]


def test_nesting_deeper_than_the_parser_goes_is_not_json(tmp_path):
    frame = rows_of(tmp_path / "rows.jsonl", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert codes(frame) == [(1, "not_json")]


def test_a_json_list_gives_each_element_as_written(tmp_path):
    frame = rows_of(tmp_path / "rows.json", b'\n[ {"a": 1.50} ,\n 3, {"b" :[]}]\n')
    assert codes(frame) == [(1, None), (2, "not_an_object"), (3, None)]
    assert frame["payload"].to_list() == ['{"a": 1.50}', "3", '{"b" :[]}']


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'[{"a": 1}, {"b": }]', [(1, None), (2, "not_json")]),
        (b'[{"a": 1} {"b": 2}]', [(1, None), (2, "not_json")]),
        (b'[{"a": 1}', [(1, None), (2, "not_json")]),
        (b"[]", []),
        (b'{"a": 1}', [(1, None)]),
        (b'{"a": 1}\n{"b": 2}\n', [(1, None), (2, None)]),
        (b'{"a": 1,\n "b": 2}', [(1, None)]),
        (b"", []),
    ],
)
def test_json_documents(tmp_path, text, expected):
    assert codes(rows_of(tmp_path / "rows.json", text)) == expected


def test_parquet_rows_become_json(tmp_path):
    path = tmp_path / "rows.parquet"
    messages = [{"role": "user", "content": "é"}]
    pl.DataFrame({"prompt": [messages, None], "margin": [0.1, float("nan")], "n": [1, 2]}).write_parquet(path)
    frame = read_rows(path, "rows.parquet", "s", "b1")
    assert [json.loads(payload) for payload in frame["payload"]] == [
        {"prompt": messages, "margin": 0.1, "n": 1},
        {"prompt": None, "margin": None, "n": 2},
    ]
    assert frame["row"].to_list() == [1, 2]


def test_binary_columns_do_not_stop_a_parquet_file(tmp_path):
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"image": [{"bytes": b"\x00\xff", "path": "a.png"}]}).write_parquet(path)
    frame = read_rows(path, "rows.parquet", "s", "b1")
    assert json.loads(frame["payload"][0]) == {"image": {"bytes": "base64:AP8=", "path": "a.png"}}


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.parquet", "rows.csv"])
def test_an_unreadable_file_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"{}" * 1000)[:20])
    with pytest.raises(UnreadableError, match=f"somewhere/{name}"):
        read_rows(path, f"somewhere/{name}", "s", "b1")


def test_an_empty_parquet_file_has_no_rows(tmp_path):
    path = tmp_path / "rows.parquet"
    pl.DataFrame(schema={"prompt": pl.String}).write_parquet(path)
    assert read_rows(path, "rows.parquet", "s", "b1").height == 0


@pytest.fixture
def hub(monkeypatch):
    """The hub's two functions, answering with real data sets from memory."""
    calls = []
    train = datasets.Dataset.from_list([GOOD, {**GOOD, "chosen": "c"}])

    def load_dataset(path, split=None, **options):
        calls.append((path, split, options))
        if path == "org/gone":
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'org/gone' doesn't exist on the Hub")
        return train if split else datasets.DatasetDict({"train": train, "test": train.select([0])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name, revision=None: ["default", "small"])
    return calls


def test_a_hub_data_set_gives_all_its_splits(hub):
    frame = read_hub("hf://org/name@v1", "s", "b1")
    assert hub == [("org/name", None, {"revision": "v1"})]
    assert frame.select("uri", "row").rows() == [
        ("hf://org/name@v1:test", 1),
        ("hf://org/name@v1:train", 1),
        ("hf://org/name@v1:train", 2),
    ]
    assert json.loads(frame["payload"][0]) == GOOD


def test_a_hub_split_and_a_configuration_or_folder(hub):
    frame = read_hub("hf://org/name/small:train", "s", "b1")
    assert set(frame["uri"]) == {"hf://org/name/small:train"}
    read_hub("hf://org/name/harmless-base:test", "s", "b1")
    assert [options for _, _, options in hub] == [
        {"revision": None, "name": "small"},
        {"revision": None, "data_dir": "harmless-base"},
    ]


def test_a_missing_hub_data_set_is_named(hub):
    with pytest.raises(UnreadableError, match="hf://org/gone"):
        read_hub("hf://org/gone", "s", "b1")
    with pytest.raises(LocationError):
        read_hub("hf://gone", "s", "b1")
