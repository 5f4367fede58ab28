import gzip
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pref_assets.pairs.locations import LocationError, find_files
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.reading import (
    ReadingLimits,
    RowFault,
    UnreadableError,
    documents,
    files,
    parse_row,
    pin_hub,
    read_chunks,
    read_hub,
    read_rows,
)
from pref_assets.pairs.reading import lines as lines_module
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


def test_chunks_hold_so_many_rows_and_number_on(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(json.dumps({"n": n}).encode() + b"\n" for n in range(25)))
    chunks = list(read_chunks(path, "rows.jsonl", "s", "b1", rows=10))
    assert [chunk.height for chunk in chunks] == [10, 10, 5]
    assert [row for chunk in chunks for row in chunk["row"]] == list(range(1, 26))
    assert all(chunk.schema == RAW.schema for chunk in chunks)
    assert pl.concat(chunks).equals(read_rows(path, "rows.jsonl", "s", "b1"))


def test_a_chunk_ends_early_where_rows_are_long(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(json.dumps({"n": "x" * 600}).encode() + b"\n" for _ in range(10)))
    chunks = read_chunks(path, "rows.jsonl", "s", "b1", limits=ReadingLimits(chunk_bytes=1024))
    assert [chunk.height for chunk in chunks] == [2] * 5


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.jsonl.gz"])
def test_the_first_chunk_needs_only_the_beginning_of_the_file(tmp_path, monkeypatch, name):
    row = {"a": "".join(chr(97 + n % 26) for n in range(2000)), "b": "y"}
    lines = [json.dumps({**row, "n": number}) for number in range(5_000)]
    text = {
        ".json": "[" + ",".join(lines) + "]",
        ".csv": "a,n\n" + "".join(f"{row['a']},{number}\n" for number in range(5_000)),
    }.get(Path(name).suffix, "\n".join(lines))
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode(), 1) if name.endswith(".gz") else text.encode())
    taken = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            count = super().readinto(buffer)
            taken.append(count)
            return count

        def readall(self):
            raise AssertionError("the whole file was read")

    monkeypatch.setattr(files, "open_place", lambda place: io.BufferedReader(Counting(place)))
    first = next(read_chunks(path, name, "s", "b1", rows=10))
    assert first.height == 10
    assert sum(taken) < max(len(text) // 2, 1 << 21)


def with_blocks_of(monkeypatch, size):
    monkeypatch.setattr(lines_module, "_BLOCK", size)
    monkeypatch.setattr(documents, "_BLOCK", size)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
JSON_OBJECTS = st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4)


def test_a_bracket_in_a_text_that_the_block_cuts_off_ends_nothing(tmp_path, monkeypatch):
    rows = [{"text": "} and }"}, {"text": "]"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    for block in range(1, 30):
        with_blocks_of(monkeypatch, block)
        frame = read_rows(tmp_path / "rows.json", "rows.json", "s", "b1")
        assert [json.loads(payload) for payload in frame["payload"]] == rows


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON_OBJECTS, max_size=5), st.integers(1, 40), st.sampled_from([None, 0, 2]))
def test_lists_and_lines_are_the_same_rows_whatever_the_blocks(tmp_path, rows, block, indent):
    with pytest.MonkeyPatch.context() as monkeypatch:
        with_blocks_of(monkeypatch, block)
        (tmp_path / "rows.json").write_text(json.dumps(rows, indent=indent), encoding="utf-8")
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        for name in ("rows.json", "rows.jsonl"):
            frame = read_rows(tmp_path / name, name, "s", "b1")
            assert [json.loads(payload) for payload in frame["payload"]] == rows
            assert frame["row"].to_list() == list(range(1, len(rows) + 1))
            assert frame["code"].null_count() == len(rows)


@settings(max_examples=100, deadline=None)
@given(JSON_OBJECTS, st.booleans())
def test_a_row_is_parsed_exactly(value, escaped):
    assert parse_row(json.dumps(value, ensure_ascii=escaped).encode()) == value
    assert parse_row(json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode()) == value


@settings(max_examples=100, deadline=None)
@given(JSON_OBJECTS, st.text(max_size=4), JSON_VALUES, JSON_VALUES)
def test_a_repeated_key_is_always_seen(value, name, first, second):
    pairs = [*((key, each) for key, each in value.items() if key != name), (name, first), (name, second)]
    text = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(each)}" for key, each in pairs) + "}"
    for row in (text, '{"nested":[' + text + "]}"):
        with pytest.raises(RowFault) as fault:
            parse_row(row.encode())
        assert fault.value.code == "duplicate_key"


def test_quotes_written_as_escapes_do_not_hide_a_repeated_key():
    text = rb'{"a":"\u0022\u0022\u0022\u0022\u0022\u0022","b":1,"b":2}'
    with pytest.raises(RowFault, match="field `b`"):
        parse_row(text)


def test_a_csv_row_is_an_object_of_texts(tmp_path):
    frame = rows_of(tmp_path / "rows.csv", 'prompt,chosen,n\n"a ""b"",\nc",é,007\n\nd,,1.50\n'.encode())
    assert [json.loads(payload) for payload in frame["payload"]] == [
        {"prompt": 'a "b",\nc', "chosen": "é", "n": "007"},
        {"prompt": "d", "chosen": None, "n": "1.50"},
    ]
    assert frame["row"].to_list() == [1, 2]


def test_a_csv_row_that_does_not_end_is_cut(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\n1,2\n"' + b"x" * 3000 + b"\n" + b"y" * 3000)
    limits = ReadingLimits(max_row_bytes=2048, kept_bytes=100)
    frame = pl.concat(read_chunks(path, "rows.csv", "s", "b1", limits=limits))
    assert frame["code"].to_list()[:2] == [None, "too_long"]
    assert all(len(payload) < 200 for payload in frame["payload"])


@pytest.mark.parametrize("name", ["rows.arrow", "rows.feather", "stream.arrow"])
def test_arrow_files_and_streams(tmp_path, name):
    frame = pl.DataFrame({"prompt": ["a", "b"], "turns": [[{"role": "user", "content": "é"}], []], "n": [1, None]})
    (frame.write_ipc_stream if name.startswith("stream") else frame.write_ipc)(tmp_path / name)
    read = read_rows(tmp_path / name, name, "s", "b1")
    assert [json.loads(payload) for payload in read["payload"]] == frame.to_dicts()


def test_every_file_of_an_archive_is_read_under_its_own_uri(tmp_path):
    frame = pl.DataFrame(GOOD)
    packed = {
        "list.json": b'[{"a": 1}]',
        "in/rows.jsonl.gz": gzip.compress(b'{"a": 2}\n{"a": 3}'),
        "table.csv": b"a\n4\n",
    }
    for name, write in (("t.parquet", frame.write_parquet), ("t.arrow", frame.write_ipc)):
        buffer = io.BytesIO()
        write(buffer)
        packed[name] = buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**packed, "README.md": b"Hello", "__MACOSX/._list.json": b"\0"}.items():
            archive.writestr(name, data)
    read = read_rows(tmp_path / "all.zip", "data/all.zip", "s", "b1")
    assert read.select("uri", "row", "code").rows() == [
        ("data/all.zip/in/rows.jsonl.gz", 1, None),
        ("data/all.zip/in/rows.jsonl.gz", 2, None),
        ("data/all.zip/list.json", 1, None),
        ("data/all.zip/t.arrow", 1, None),
        ("data/all.zip/t.parquet", 1, None),
        ("data/all.zip/table.csv", 1, None),
    ]
    assert json.loads(read["payload"][4]) == GOOD


def test_bytes_go_to_the_media_store(tmp_path):
    path = tmp_path / "rows.parquet"
    png = b"\x89PNG\r\n\x1a\n rest"
    row = {
        "image": {"bytes": png, "path": "a.png"},
        "images": [{"bytes": None, "path": "b.png"}, {"bytes": b"GIF89a", "path": None}],
        "audio": b"RIFF....WAVE",
        "score": float("nan"),
    }
    pl.DataFrame([row]).write_parquet(path)
    media = MediaStore(tmp_path / "media")
    (frame,) = read_chunks(path, "rows.parquet", "s", "b1", media=media)
    payload = json.loads(frame["payload"][0])
    assert media.path(payload["image"]).read_bytes() == png
    assert payload["image"].endswith(".png")
    assert payload["images"][0] == "b.png"
    assert payload["images"][1].endswith(".gif")
    assert payload["audio"].endswith(".wav")
    assert payload["score"] is None


def test_a_saved_data_set_is_read_like_any_other(tmp_path):
    saved = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list([GOOD, {**GOOD, "chosen": "c"}]),
            "test": datasets.Dataset.from_list([GOOD]),
        }
    )
    saved.save_to_disk(str(tmp_path / "saved"))
    found = find_files(str(tmp_path / "saved"))
    assert [uri.removeprefix(f"{tmp_path}/") for uri, _ in found] == [
        "saved/test/data-00000-of-00001.arrow",
        "saved/train/data-00000-of-00001.arrow",
    ]
    frames = [read_rows(path, uri, "s", "b1") for uri, path in found]
    assert [[json.loads(payload)["chosen"] for payload in frame["payload"]] for frame in frames] == [["a"], ["a", "c"]]
    assert len(find_files(str(tmp_path / "saved" / "train"))) == 1
    (tmp_path / "saved" / "train" / "state.json").write_text("{")
    with pytest.raises(LocationError, match="damaged"):
        find_files(str(tmp_path / "saved"))


def test_a_hub_location_is_pinned_to_its_commit(monkeypatch):
    asked = []

    class Hub:
        def dataset_info(self, name, revision, timeout):
            asked.append((name, revision))
            if name == "org/gone":
                raise OSError("no network")
            return SimpleNamespace(sha="c" * 40)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert pin_hub("hf://org/name/small@main:train") == f"hf://org/name/small@{'c' * 40}:train"
    assert pin_hub("hf://org/name") == f"hf://org/name@{'c' * 40}"
    assert asked == [("org/name", "main"), ("org/name", None)]
    assert pin_hub(f"hf://org/gone@{'a' * 40}") == f"hf://org/gone@{'a' * 40}"
    with pytest.raises(UnreadableError, match=r"hf://org/gone: cannot ask the hub .*no network"):
        pin_hub("hf://org/gone")


def test_a_pinned_hub_location_shows_the_location_as_written(hub):
    (frame,) = read_chunks(f"hf://org/name@{'c' * 40}:train", "hf://org/name:train", "s", "b1")
    assert set(frame["uri"]) == {"hf://org/name:train"}
    assert hub == [("org/name", "train", {"revision": "c" * 40})]
