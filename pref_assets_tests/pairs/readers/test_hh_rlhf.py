from pathlib import Path

import pytest

from pref_assets.pairs.locations import list_files
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers import HhRlhfSource
from pref_assets.pairs.reading import read_rows
from pref_assets_tests.pairs.build import read, refusals

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "hh_rlhf"
ASKED = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: More"
SOURCE = HhRlhfSource(location="x", dimension="harmless")


def side(reply, before=ASKED):
    return f"{before}\n\nAssistant:{reply}"


def test_turns_of_a_transcript():
    records = read([{"chosen": side(" Sure: here.\n\nDone "), "rejected": side(" No.")}], SOURCE)
    assert records.prompts["messages"].to_list() == [
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "More"},
        ]
    ]
    assert [turns[0]["content"] for turns in records.completions["messages"]] == ["Sure: here.\n\nDone ", "No."]
    assert records.votes["dimension"].to_list() == ["harmless"]


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ({"chosen": side(" a")}, "missing_field", "`rejected`"),
        ({"chosen": side(" a"), "rejected": ["b"]}, "wrong_type", "`rejected`"),
        ({"chosen": side(" a"), "rejected": "b"}, "role_order", "`rejected`"),
        ({"chosen": side(" a"), "rejected": "\n\nHuman: b"}, "role_order", "`rejected`"),
        ({"chosen": side(" a"), "rejected": side("")}, "empty_side", "`rejected`"),
        ({"chosen": side(" "), "rejected": side(" b")}, "empty_side", "`chosen`"),
        ({"chosen": side(" a"), "rejected": side(" a")}, "identical_sides", "`chosen` and `rejected`"),
        ({"chosen": side(" a"), "rejected": side(" b", "\n\nHuman: Hi")}, "prompts_differ", "from turn 2 on"),
        ({"chosen": side(" a", side(" b")), "rejected": side(" c", side(" b"))}, "role_order", "ends with 'assistant'"),
        ({"chosen": ASKED, "rejected": ASKED + "!"}, "role_order", "user"),
    ],
)
def test_bad_transcripts(row, code, said):
    records = read([row], SOURCE)
    assert refusals(records) == [(1, code)]
    assert said in records.quarantine["reason"][0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared HH-RLHF rows are not on this machine")
def test_the_real_rows():
    [file] = list_files(str(REAL))
    raw = read_rows(file.path, file.uri, "hh", "b1")
    assert raw.height == 2312
    records = HhRlhfSource(location=str(REAL)).read(raw)
    by_code: dict[str, list[int]] = {}
    for row, code in sorted(refusals(records)):
        by_code.setdefault(code, []).append(row)
    assert by_code == {
        "prompts_differ": [1255, 1689, 1951, 1953, 2037],
        "empty_side": [87, 517, 926, 1104],
        "role_order": [668, 764, 1320, 1850],
    }
    assert records.votes.height == 2299
    merged = merge(records.prompts, records.completions, records.votes, PairsSettings())
    assert merged.pairs.height + merged.drops.height == records.votes.select("completion_a", "completion_b").n_unique()
