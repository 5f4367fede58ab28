"""Rules that ask a library: language, toxicity, personal data."""

import pytest

from pref_assets.pairs.audit.language import Language
from pref_assets.pairs.audit.pii import Pii, is_card, is_iban
from pref_assets.pairs.audit.toxicity import Toxicity
from pref_assets_tests.pairs.audit.build import audit, details, tables

ENGLISH = "The weather has been rather pleasant this week, and we walked along the river every single evening."
GERMAN = "Das Wetter war diese Woche sehr angenehm, und wir sind jeden Abend am Fluss entlang spazieren gegangen."


def test_language_other_than_declared():
    found = details(Language(), (ENGLISH, ENGLISH + " Yes.", GERMAN), (GERMAN, "short", "kurz und gut"))
    assert found.keys() == {1, 2}
    assert found[1] == "the rejected answer seems to be in `de` (confidence 1.00)"
    assert found[2].startswith("the prompt seems to be in `de`")
    assert details(Language(declared=("de", "en")), (ENGLISH, ENGLISH + " Yes.", GERMAN)) == {}
    assert details(Language(parts=("prompt",)), (ENGLISH, ENGLISH + " Yes.", GERMAN)) == {}


def test_a_language_that_nobody_knows_is_an_error():
    with pytest.raises(ValueError, match=r"\['xx'\] are none that py3langid knows"):
        details(Language(declared=("en", "xx")), ("q", "a", "b"))


def test_words_of_the_list_whole_and_in_any_case():
    found = details(
        Toxicity(),
        ("What a BASTARD!", "That bastard, that asshole", "classic analysis of Scunthorpe"),
        ("q", "passing", "nice"),
    )
    assert found == {
        1: "the prompt holds 1 words of the list: `bastard`; "
        "the chosen answer holds 2 words of the list: `asshole`, `bastard`"
    }
    assert details(Toxicity(), ("q", "Bastard bastard", "_bastard_"), ("q", "ass-fucker", "f.u.c.k. 'Piss off'")) == {
        1: "the chosen answer holds 2 words of the list: `bastard`",
        2: "the chosen answer holds 1 words of the list: `ass fucker`; "
        "the rejected answer holds 2 words of the list: `f u c k`, `piss off`",
    }
    rows = (("What a bastard!", "That bastard, that asshole", "nice"),)
    assert details(Toxicity(min_words=2, parts=("prompt", "rejected")), *rows) == {}
    assert details(Toxicity(ignore=("bastard",), parts=("prompt",)), *rows) == {}
    with pytest.raises(ValueError, match=r"\['flower'\]"):
        details(Toxicity(ignore=("flower",)), *rows)


@pytest.mark.parametrize(
    ("digits", "valid"),
    [
        ("4111 1111 1111 1111", True),
        ("4111-1111-1111-1112", False),
        ("378282246310005", True),
        ("5555555555554444", True),
        ("2223003122003222", True),
        ("6011111111111117", True),
        ("30569309025904", True),
        # The check digit fits, but no large issuer has these first digits or this length.
        ("79927398713", False),
        ("1234567812345670", False),
    ],
)
def test_cards(digits, valid):
    assert is_card(digits) == valid


@pytest.mark.parametrize(
    ("code", "valid"),
    [
        ("GB82 WEST 1234 5698 7654 32", True),
        ("DE89370400440532013000", True),
        ("DE88370400440532013000", False),
        ("NO9386011117947", True),
    ],
)
def test_ibans(code, valid):
    assert is_iban(code) == valid


def test_personal_data_is_counted_and_never_shown():
    found = details(
        Pii(),
        ("Mail jo.doe+x@mail.co.uk or me@example.com", "Call +44 20 7946 0958", "Call 020 7946 0958"),
        ("q", "Pay DE89 3704 0044 0532 0130 00.", "or 4111 1111 1111 1111, 123-45-6789, 666-45-6789"),
        ("q", "1234 5678 1234 5678 and 2024-11-22", "a@b, 10.1000/182, version 1.2.3.4.5.6.7.8"),
    )
    assert found == {
        1: "the prompt holds 1 e-mail addresses; the chosen answer holds 1 phone numbers",
        2: "the chosen answer holds 1 IBANs; the rejected answer holds 1 card numbers, 1 US social security numbers",
    }
    national = details(Pii(region="GB", kinds=("phone",)), ("q", "Call 020 7946 0958", "4111 1111 1111 1111"))
    assert national == {1: "the chosen answer holds 1 phone numbers"}
    assert details(Pii(kinds=("email",), parts=("chosen",)), ("me@mail.de", "a", "me@mail.de")) == {}


def test_flags_of_these_rules_keep_by_default():
    made = tables((ENGLISH, f"{GERMAN} bastard", "+44 20 7946 0958"))
    found = audit(made, Language(), Toxicity(), Pii())
    assert found.select("code", "severity").rows() == [
        ("language", "warning"),
        ("pii", "warning"),
        ("toxicity", "info"),
    ]
    assert {rule.action for rule in (Language(), Toxicity(), Pii())} == {"keep"}
