"""What identifies a person."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import PARTS, Part, TextRule, named, rows_found

Kind = Literal["email", "phone", "iban", "card", "us_ssn"]
KINDS: tuple[Kind, ...] = ("email", "phone", "iban", "card", "us_ssn")

_EMAIL = r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_RESERVED = re.compile(r"(?:^|[.@])(?:example\.(?:com|net|org)|example|invalid|test|localhost)$", re.IGNORECASE)
"""Domains that belong to nobody (RFC 2606)."""
_IBAN = r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_CARD = r"\b[0-9](?:[ -]?[0-9]){12,18}\b"
_SSN = r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"
_PHONE = r"\+ ?[0-9]|[0-9](?:[ ()./-]*[0-9]){6}"
_PATTERNS: dict[Kind, str] = {"email": _EMAIL, "phone": _PHONE, "iban": _IBAN, "card": _CARD, "us_ssn": _SSN}
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 19)),
    (re.compile(r"30[0-5]|36|38"), (14,)),
)
"""First digits and lengths of the large card issuers (ISO/IEC 7812)."""
_NAMES: dict[Kind, str] = {
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "iban": "IBANs",
    "card": "card numbers",
    "us_ssn": "US social security numbers",
}


class Pii(TextRule):
    """A prompt or an answer holds what looks like personal data: e-mail addresses (not those of reserved domains),
    phone numbers that the package phonenumbers finds valid, IBANs and card numbers whose check digits fit, US social
    security numbers. The flag says how many of what, never the data.

    Severity warning; keeps by default.
    """

    type: Literal["pii"] = "pii"
    severity = "warning"
    action = "keep"
    costly = True
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)
    """What is looked for."""
    parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    """Where: prompt, chosen answer, rejected answer."""
    region: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    """Country (ISO 3166) whose national phone numbers count too; null: only numbers that begin with ``+``."""

    def version(self) -> list[Any]:
        from importlib.metadata import version

        return [*super().version(), version("phonenumbers")]

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        pattern = "|".join(f"(?:{_PATTERNS[kind]})" for kind in self.kinds)
        columns = [f"{part}_text" for part in self.parts]
        near = texts.select("pair_id", *columns).filter(
            pl.any_horizontal(pl.col(name).str.contains(pattern) for name in columns)
        )
        rows = []
        for pair, *said in near.iter_rows():
            counts = [(part, self._counts(text)) for part, text in zip(self.parts, said, strict=True) if text]
            detail = "; ".join(f"{named(part)} holds {_says(count)}" for part, count in counts if count)
            if detail:
                rows.append((pair, detail))
        return rows_found(rows)

    def _counts(self, text: str) -> Counter[Kind]:
        return Counter(kind for kind in self.kinds for _ in _occurrences(kind, text, self.region))


def _says(counts: Counter[Kind]) -> str:
    return ", ".join(f"{number} {_NAMES[kind]}" for kind, number in counts.items())


def _occurrences(kind: Kind, text: str, region: str | None) -> Iterator[str]:
    if kind == "phone":
        yield from _phones(text, region)
        return
    fits = {"email": _is_anyones, "iban": is_iban, "card": is_card, "us_ssn": _is_ssn}[kind]
    yield from (match[0] for match in re.finditer(_PATTERNS[kind], text, re.ASCII) if fits(match[0]))


def _phones(text: str, region: str | None) -> Iterator[str]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
        # A card number holds digits that make a phone number.
        if not is_card(match.raw_string):
            yield match.raw_string


def _is_anyones(address: str) -> bool:
    return not _RESERVED.search(address.rpartition("@")[2])


def is_iban(text: str) -> bool:
    """Whether the check digits fit (ISO 13616, modulo 97); spaces do not matter."""
    code = text.replace(" ", "")
    turned = code[4:] + code[:4]
    return 15 <= len(code) <= 34 and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def is_card(text: str) -> bool:
    """Whether the digits are those of a large issuer's card and their check digit fits (Luhn); blanks and hyphens do
    not matter."""
    digits = re.sub(r"[ -]", "", text)
    if not digits.isdigit() or not any(f.match(digits) and len(digits) in lengths for f, lengths in _ISSUERS):
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0


def _is_ssn(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
