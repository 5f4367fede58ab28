import pytest

from pref_assets.models.tiny import tiny_llama
from pref_assets.pairs.drops import IdenticalAfterTruncation
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets_tests.pairs.build import read


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return str(tiny_llama(tmp_path_factory.mktemp("models") / "tiny"))


START = " ".join(["same"] * 30)
ROWS = [
    {"prompt": "Late", "chosen": f"{START} good", "rejected": f"{START} bad"},
    {"prompt": "Early", "chosen": f"good {START}", "rejected": f"bad {START}"},
    {"prompt": " ".join(["long"] * 40), "chosen": "good", "rejected": "bad"},
]


def dropped(tokenizer, max_length, **fields):
    rule = IdenticalAfterTruncation(tokenizer=tokenizer, max_length=max_length, chunk=2, **fields)
    records = read(ROWS)
    result = merge(records.prompts, records.completions, records.votes, PairsSettings(drops=(rule,)))
    assert result.pairs.height + result.drops.height == len(ROWS)
    assert set(result.drops["code"]) <= {"identical_after_truncation"}
    rows = sorted(place[0]["row"] for place in result.drops["provenance"])
    return [ROWS[row - 1]["prompt"].split()[0] for row in rows], result.drops["reason"].to_list()


@pytest.mark.parametrize(
    ("max_length", "fields", "expected"),
    [
        (512, {}, []),
        # 30 common words and at most 16 tokens of prompt: 40 tokens end before the words that differ.
        (40, {"min_prompt": 16}, ["Late"]),
        # The prompt of 40 words alone fills 40 tokens when nothing of it may go.
        (40, {"truncation": "keep_start"}, ["Late", "long"]),
        # Seen from the end, what differs at the start of 30 words is gone.
        (20, {"truncation": "keep_end"}, ["Early"]),
    ],
)
def test_pairs_that_truncation_makes_the_same(tokenizer, max_length, fields, expected):
    prompts, reasons = dropped(tokenizer, max_length, **fields)
    assert prompts == expected
    assert all(f"{max_length} are kept" in reason for reason in reasons)


def test_the_tokenizer_is_only_needed_when_the_rule_is_used():
    assert PairsSettings().drops == ()
    rule = PairsSettings.model_validate(
        {"drops": [{"type": "identical_after_truncation", "tokenizer": "package://x", "max_length": 9}]}
    ).drops[0]
    assert rule.max_length == 9
