"""What plain rules can tell of a critique that a model made of short reasons: whether it kept to them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMPTY, REFUSED, TOO_LONG = "empty", "refused", "too_long"
ANSWERS, DROPS, ADDS, GUESSES = "answers", "drops", "adds", "guesses"
REFUSALS = (
    "i cannot",
    "i can't",
    "i am unable",
    "i'm unable",
    "i am sorry",
    "i'm sorry",
    "sorry",
    "i will not",
    "i won't",
    "as an ai",
    "unfortunately, i",
)
ANSWERING = (
    "the correct answer is",
    "the right answer is",
    "the answer to the question is",
    "to answer the question",
    "final answer",
)
GUESSING = ("perhaps", "probably", "possibly", "presumably", "might be", "may be", "could be", "i think", "i guess")
POINT_WORDS = 3
"""Words that a reason must have for ``drops`` to look at it; fewer are easily said in others."""
COPIED_WORDS = 5
"""Words that an answer must have for its repetition to count as answering."""
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LISTED = re.compile(r"(?m)^\s*\d+[.)]\s")
_THOUGHT = re.compile(r"(?s)^.*</think>")
_STEM = 4
_COMMON = frozenset(
    _WORD.findall(
        "the and but for not are was were this that these those with has have had its from they them their there which "
        "who what when where very too than then also into out all any can does did been being"
    )
)


@dataclass(frozen=True)
class Said:
    """An expansion beside what it was made of. ``cut`` says that the model was stopped at its limit."""

    critique: str
    cut: bool
    question: str
    answer: str
    reasons: Sequence[str]


def cleaned(answer: str) -> str:
    """What a model says after it has thought."""
    return _THOUGHT.sub("", answer).strip()


def fault(
    said: Said,
    *,
    most_words: int,
    kept_words: float,
    refusals: Iterable[str],
    answering: Iterable[str],
    guessing: Iterable[str],
) -> str | None:
    """The first rule that the expansion breaks, in this order; null when it breaks none.

    - ``empty``: nothing but whitespace.
    - ``refused``: it begins with one of ``refusals``.
    - ``too_long``: cut off at the limit of tokens, or of more than ``most_words`` words.
    - ``answers``: it has one of ``answering`` that no reason has, or begins with the whole answer.
    - ``drops``: of a reason's words of three letters or more and its numbers, common words aside, fewer than
      ``kept_words`` occur, compared by their first four letters. Reasons of fewer than three such words are not looked
      at, nor are scripts that put no spaces between words.
    - ``adds``: a number that neither question, answer nor reasons have; numbers that count points do not.
    - ``guesses``: it has one of ``guessing`` that no reason has.
    """
    text, stated = _plain(said.critique), _plain(" ".join(said.reasons))
    if not text:
        return EMPTY
    if any(_begins(text, each) for each in refusals):
        return REFUSED
    if said.cut or len(text.split()) > most_words:
        return TOO_LONG
    if _has_new(text, stated, answering) or _repeats(text, said.answer):
        return ANSWERS
    words = _words(text)
    if any(_kept(_words(_plain(reason)), words) < kept_words for reason in said.reasons):
        return DROPS
    known = f"{_plain(said.question)} {_plain(said.answer)} {stated}"
    if set(_NUMBER.findall(_LISTED.sub(" ", said.critique))) - set(_NUMBER.findall(known)):
        return ADDS
    return GUESSES if _has_new(text, stated, guessing) else None


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").casefold().split())


def _begins(text: str, phrase: str) -> bool:
    return re.match(rf"\W*{re.escape(_plain(phrase))}\b", text) is not None


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(_plain(phrase))}\b", text) is not None


def _has_new(text: str, stated: str, phrases: Iterable[str]) -> bool:
    return any(_has(text, each) and not _has(stated, each) for each in phrases)


def _repeats(text: str, answer: str) -> bool:
    said = _plain(answer)
    return len(said.split()) >= COPIED_WORDS and text.startswith(said)


def _words(text: str) -> set[str]:
    """Beginnings of the words that carry meaning, and numbers whole."""
    found = [each for each in _WORD.findall(text) if all(ord(letter) < 0x2E80 for letter in each)]
    words = {each[:_STEM] for each in found if len(each) >= 3 and not each.isdigit() and each not in _COMMON}
    return words | {each for each in found if each.isdigit()}


def _kept(reason: set[str], words: set[str]) -> float:
    return len(reason & words) / len(reason) if len(reason) >= POINT_WORDS else 1.0
