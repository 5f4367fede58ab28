"""Judges and votes as a pipeline file writes them: errors name the place, and never repeat a key."""

from typing import Any

import pytest

from pref_assets.pipeline.spec_errors import SpecError, parse_spec

SERVER = {"url": "http://localhost:8000/v1", "model": "m"}


def attributes(scores: dict[str, Any], subsets: dict[str, Any] | None = None) -> dict[str, Any]:
    sources = {"mine": {"type": "trl", "location": "data"}}
    return {"name": "small", "sources": sources, "scores": scores, "subsets": subsets or {}}


def test_they_are_read() -> None:
    voters = {"longer": {"type": "trait", "trait": "words"}, "kind": {"type": "asked", "text": "Favour kindness."}}
    scores = {
        "judged": {"type": "judge", "endpoint": SERVER},
        "criteria": {"type": "criteria_vote", "voters": voters, "endpoint": SERVER},
        "constitution": {"type": "principle_votes", "voters": voters, "endpoint": SERVER},
    }
    asked = {"type": "add_one_in", "budget": 5, "judge": {"type": "asked", "endpoint": SERVER}}
    spec = parse_spec(attributes(scores, {"grown": asked}))
    assert [each.type for each in spec.scores.values()] == ["judge", "criteria_vote", "principle_votes"]
    assert spec.subsets["grown"].type == "add_one_in"
    assert len({each.digest() for each in spec.scores.values()}) == 3


@pytest.mark.parametrize(
    ("wrong", "place", "secret"),
    [
        ({"api_key_env": "sk-secret"}, "scores.judged.endpoint.api_key_env", "sk-secret"),
        ({"url": "http://me:password@host/v1"}, "scores.judged.endpoint.url", "password@"),
        ({"url": "http://host/v1?token=secret"}, "scores.judged.endpoint.url", "secret"),
    ],
)
def test_a_key_in_the_file_is_an_error_that_does_not_repeat_it(wrong: dict[str, Any], place: str, secret: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_spec(attributes({"judged": {"type": "judge", "endpoint": {**SERVER, **wrong}}}))
    assert place in str(raised.value)
    assert secret not in str(raised.value)


def test_names_that_judges_refer_to_are_checked() -> None:
    judge = {"type": "facility_location", "embeddings": "minilm"}
    with pytest.raises(SpecError, match=r"subsets\.grown\.judge.*minilm"):
        parse_spec(attributes({}, {"grown": {"type": "add_one_in", "budget": 5, "judge": judge}}))


def test_a_wrong_voter_is_named() -> None:
    voters = {"longer": {"type": "trait", "trait": "charm"}}
    with pytest.raises(SpecError, match=r"scores\.criteria\.voters\.longer\.trait"):
        parse_spec(attributes({"criteria": {"type": "criteria_vote", "voters": voters}}))
