"""What takes a comparison out of the pairs, which of several reasons is given, and that the rest are kept."""

import polars as pl
import pytest

from pref_assets.pairs.audit import AuditSettings
from pref_assets.pairs.curation import Findings, PairsBlock, dropped, kept, survivors, verdicts
from pref_assets.pairs.schema import (
    COMPARISONS,
    CONTAMINATION,
    FLAGS,
    PAIR_DROPS,
    PAIR_DUPLICATES,
    PAIRS,
    PROMPT_DUPLICATES,
    PROMPTS,
)

BLOCK = PairsBlock(audit=AuditSettings(policy={"tie": "quarantine", "empty_answer": "drop", "swapped_copies": "keep"}))


def comparison(pair: str, prompt: str = "p1", code: str | None = None) -> dict[str, object]:
    return {
        "pair_id": pair,
        "prompt_id": prompt,
        "chosen_id": f"{pair}a",
        "rejected_id": f"{pair}b",
        "p_chosen": 1.0,
        "strength": None,
        "votes": [],
        "split": "train",
        "provenance": [],
        "code": code,
        "reason": code and f"because {code}",
    }


def flag(pair: str, code: str) -> dict[str, object]:
    return {"pair_id": pair, "code": code, "severity": "error", "detail": f"{code} of {pair}"}


def duplicate(pair: str, of: str, similarity: float = 0.9) -> dict[str, object]:
    return {"pair_id": pair, "of": of, "similarity": similarity, "batch": "b2", "of_batch": "b1"}


COMPARED = COMPARISONS.frame(
    [
        comparison("good"),
        comparison("unsettled", code="no_vote"),
        comparison("tied"),
        comparison("empty"),
        comparison("swapped"),
        comparison("copied"),
        comparison("benched"),
        comparison("leaking", prompt="p2"),
    ]
).lazy()
SPLITS = PROMPTS.frame(
    {
        "prompt_id": prompt,
        "messages": [],
        "images": [],
        "context": None,
        "metadata": None,
        "group_id": prompt,
        "split": split,
        "provenance": [],
    }
    for prompt, split in (("p1", "train"), ("p2", "test"), ("p3", "train"))
).lazy()
FOUND = Findings(
    flags=FLAGS.frame(
        [
            flag("tied", "tie"),
            flag("empty", "empty_answer"),
            flag("unsettled", "empty_answer"),
            flag("swapped", "swapped_copies"),
            flag("empty", "tie"),
        ]
    ),
    contamination=CONTAMINATION.frame(
        [
            {
                "pair_id": "benched",
                "bench": "arena",
                "bench_row": 7,
                "part": "prompt",
                "kind": "near_duplicate",
                "similarity": 0.875,
                "detail": "words",
            }
        ]
    ),
    pair_duplicates=PAIR_DUPLICATES.frame([duplicate("copied", "good", 0.81), duplicate("copied", "swapped", 0.95)]),
    prompt_duplicates=PROMPT_DUPLICATES.frame(
        [
            {"prompt_id": "p2", "of": "p3", "similarity": 0.85, "batch": "b2", "of_batch": "b1"},
            {"prompt_id": "p1", "of": "p3", "similarity": 0.85, "batch": "b2", "of_batch": "b1"},
        ]
    ),
)


def test_every_comparison_is_kept_or_has_one_verdict() -> None:
    out = verdicts(COMPARED, SPLITS, FOUND, BLOCK)
    assert dict(out.select("pair_id", "code").iter_rows()) == {
        "unsettled": "no_vote",
        "tied": "tie",
        "empty": "empty_answer",
        "benched": "contaminated",
        "copied": "near_duplicate",
        "leaking": "near_duplicate_across_splits",
    }
    assert dict(out.select("pair_id", "action").iter_rows())["tied"] == "quarantine"
    rest = pl.concat(kept(COMPARED, out, rows=1))
    assert sorted(rest["pair_id"]) == ["good", "swapped"]
    assert rest.schema == PAIRS.schema
    drops = dropped(COMPARED, out)
    assert drops.schema == PAIR_DROPS.schema
    assert drops.height + rest.height == COMPARED.collect().height


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ("unsettled", "because no_vote"),
        ("empty", "empty_answer of empty"),
        ("benched", "its prompt holds row 7 of arena (near duplicate, 0.875)"),
        ("copied", "repeats pair swapped of batch b1 (similarity 0.95)"),
        ("leaking", "its prompt is in test but nearly repeats prompt p3 of train (similarity 0.85)"),
    ],
)
def test_the_reason_says_what_was_found(pair: str, reason: str) -> None:
    out = verdicts(COMPARED, SPLITS, FOUND, BLOCK)
    assert out.filter(pl.col("pair_id") == pair)["reason"].to_list() == [reason]


def test_only_sound_texts_stand_in_for_a_later_copy_whatever_the_votes() -> None:
    left = survivors(COMPARED, FOUND, BLOCK).collect()
    assert sorted(left["pair_id"]) == ["copied", "good", "leaking", "swapped", "tied"]


def test_another_audit_leaves_the_comparisons_as_they_are() -> None:
    assert PairsBlock().merging() == BLOCK.merging()
    assert PairsBlock().merging().digest() == BLOCK.merging().digest()
