"""What counts as a word, a sentence, a line, an item or a number. Every verdict rests on these rules."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)*]*(?=\s|$)")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?![\w]|[.,]\d)")
_ITEM = re.compile(r"^\s*(?:[-*•])\s+(\S.*)$")
_NUMBERED = re.compile(r"^\s*(\d+)[.)]\s+(\S.*)$")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def words(text: str) -> list[str]:
    """Runs of letters and digits; an inner apostrophe or hyphen does not split (``don't``, ``well-known``)."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """Parts closed by ``.``, ``!`` or ``?`` before a space or the end; an unclosed rest with a word counts."""
    return [part for part in _SENTENCE_END.split(text) if words(part)]


def lines(text: str) -> list[str]:
    """Lines that hold something, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def bullets(text: str) -> list[str]:
    """Contents of lines that start with ``-``, ``*`` or ``•`` and a space."""
    return [match[1] for line in text.splitlines() if (match := _ITEM.match(line))]


def numbered(text: str) -> list[tuple[int, str]]:
    """Number and content of lines that start with ``1.`` or ``1)``."""
    return [(int(match[1]), match[2]) for line in text.splitlines() if (match := _NUMBERED.match(line))]


def numbers(text: str) -> list[int]:
    """Whole numbers in order: digits (``1,000`` is one number, ``2.5`` none) and the words zero to ten."""
    found = [(match.start(), int(match[0].replace(",", ""))) for match in _NUMBER.finditer(text)]
    for match in _WORD.finditer(text):
        if match[0].lower() in NUMBER_WORDS:
            found.append((match.start(), NUMBER_WORDS.index(match[0].lower())))
    return [number for _, number in sorted(found)]


def unquoted(text: str) -> str:
    """The text without surrounding space and one pair of surrounding quotes."""
    text = text.strip()
    if len(text) >= 2 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’")}:
        return text[1:-1].strip()
    return text
