"""What a judge's words mean."""

import re
from typing import Literal

Verdict = Literal["A", "B", "tie"]

_THOUGHT = re.compile(r"(?s)^.*</think>")
_BRACKETS = re.compile(r"(?i)\[\[\s*(A|B|C|U|TIE)\s*\]\]")
_SENTENCE = re.compile(
    r"(?im)^\W*(?:(?:my|the|final)\s+)*(?:verdict|answer|choice|winner|decision)\b\W*(?:is\b|:)?\W*"
    r"(?:(?:answer|assistant|response)\W+)?(A|B|C|U|tie)\W*$"
)
_BARE = re.compile(r"(?i)^\W*(?:(?:answer|assistant|response)\W+)?(A|B|C|U|tie)\W*$")
_LINE = re.compile(
    r"(?im)(?:^|[\s{,])[\"'(\[*]*(\d{1,3})[\"')\]*]*\s*[:.)\-=]*\s*[\"'\[(*]*(A|B|both|neither|none|U|tie)\b"
    r"(?=[\"')\].*]*\s*(?:$|[,;}]))"
)


def verdict(answer: str) -> Verdict | None:
    """The verdict in an answer: ``[[A]]``, ``[[B]]``, or ``[[C]]``, ``[[U]]`` and ``[[tie]]`` for neither; else a line
    that says ``verdict: A``; else an answer that is nothing but the letter. What a model thinks aloud before
    ``</think>`` does not count. Null when there is none, or there are several that differ."""
    said = _THOUGHT.sub("", answer)
    for pattern in (_BRACKETS, _SENTENCE):
        found = {_meant(letter) for letter in pattern.findall(said)}
        if found:
            return found.pop() if len(found) == 1 else None
    bare = _BARE.match(said.strip())
    return _meant(bare.group(1)) if bare else None


def verdicts_by_number(answer: str, n: int) -> list[Verdict | None]:
    """The verdicts on ``n`` numbered questions: lines ``3: A``, or JSON of the same; both, neither and none are
    ``tie``. Null where a number is absent, or has several that differ."""
    found: dict[int, set[Verdict]] = {}
    for number, letter in _LINE.findall(_THOUGHT.sub("", answer)):
        found.setdefault(int(number), set()).add(_meant(letter))
    return [next(iter(found[i])) if len(found.get(i, ())) == 1 else None for i in range(1, n + 1)]


def _meant(letter: str) -> Verdict:
    upper = letter.upper()
    return "A" if upper == "A" else "B" if upper == "B" else "tie"
