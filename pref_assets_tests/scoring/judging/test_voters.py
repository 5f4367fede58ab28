"""Rules that vote: what each counts, by hand."""

from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from pref_assets.scoring import CriteriaVote, PrincipleVotes
from pref_assets.scoring.judging.traits import amount
from pref_assets.scoring.judging.voters import VoterConfig, chosen_first, rule_votes, vote_of

VOTER: TypeAdapter = TypeAdapter(VoterConfig)


@pytest.mark.parametrize(
    ("trait", "text", "value"),
    [
        ("characters", "añb c", 5),
        ("words", "one two  three\nfour", 4),
        ("type_token_ratio", "The the cat, the dog.", 3 / 5),
        ("type_token_ratio", "", 1.0),
        ("lists", "- a\n- b\n3. c\nd - e", 3),
        ("headings", "# A\n## B\nC # D", 2),
        ("bold", "**a** and **b** * c", 2),
        ("code", "see\n```python\nx\n```\n", 2),
        ("tables", "|a|b|\n|1|2|\nno | row", 2),
        ("links", "https://a.b and http://c", 2),
        ("numbers", "12 of 300, x4", 3),
        ("questions", "Why? How?", 2),
        ("exclamations", "No!!", 2),
        ("politeness", "Please. Thank you, I'm happy to.", 3),
        ("apologies", "Sorry, I apologize.", 2),
        ("refusal", "I'm sorry, I can't help with that.", 1),
        ("refusal", "Here it is.", 0),
        ("ends_with_question", "Is it? Yes.", 0),
        ("ends_with_question", "Is it? \n", 1),
    ],
)
def test_amounts(trait: Any, text: str, value: float) -> None:
    found = pl.DataFrame({"text": [text]}).select(amount(trait, "text"))
    assert found.dtypes == [pl.Float64]
    assert found.item() == pytest.approx(value)


def test_votes_of_rules() -> None:
    texts = pl.DataFrame(
        {"pair_id": ["p0", "p1", "p2"], "chosen": ["aaaa", "a", "see x x"], "rejected": ["aaa", "aaaaa", "xxxxxxx"]}
    )
    rules = {
        "longer": {"type": "trait", "trait": "characters"},
        "shorter": {"type": "trait", "trait": "characters", "prefer": "less"},
        "much_longer": {"type": "trait", "trait": "characters", "least_difference": 1},
        "x": {"type": "pattern", "pattern": "x"},
    }
    votes = rule_votes(texts, {name: VOTER.validate_python(each) for name, each in rules.items()})
    assert votes.to_dict(as_series=False) == {
        "pair_id": ["p0", "p1", "p2"],
        "longer": [1, -1, 0],
        "shorter": [-1, 1, 0],
        "much_longer": [0, -1, 0],
        "x": [0, 0, -1],
    }


@pytest.mark.parametrize(
    ("verdict", "first", "vote"),
    [("A", True, 1), ("A", False, -1), ("B", True, -1), ("B", False, 1), ("tie", True, 0), (None, False, None)],
)
def test_a_verdict_is_a_vote_for_the_answer_behind_the_letter(verdict: Any, first: bool, vote: int | None) -> None:
    assert vote_of(verdict, chosen_is_first=first) == vote


def test_the_chosen_answer_is_shown_first_half_of_the_time() -> None:
    firsts = [chosen_first(f"p{i}", "criterion", 0) for i in range(4000)]
    assert 0.46 < sum(firsts) / 4000 < 0.54
    assert firsts != [chosen_first(f"p{i}", "criterion", 1) for i in range(4000)]
    assert firsts != [chosen_first(f"p{i}", "other", 0) for i in range(4000)]


@pytest.mark.parametrize("scorer", [CriteriaVote, PrincipleVotes])
def test_bad_settings_are_refused(scorer: Any) -> None:
    with pytest.raises(ValidationError, match=r"voters \['kind'\] are asked, so `endpoint` has to say"):
        scorer(voters={"kind": {"type": "asked", "text": "Favour the kinder answer."}})
    with pytest.raises(ValidationError, match="not a regular expression"):
        scorer(voters={"x": {"type": "pattern", "pattern": "("}})
    with pytest.raises(ValidationError, match="should match pattern"):
        scorer(voters={"Not a name": {"type": "trait", "trait": "words"}})
    with pytest.raises(ValidationError, match="at least 1 item"):
        scorer(voters={})
    with pytest.raises(ValidationError, match="Input should be"):
        scorer(voters={"x": {"type": "trait", "trait": "charm"}})
