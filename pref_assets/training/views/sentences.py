"""Answers broken on purpose: other first and last sentences, or sentences in another order."""

import re

from pref_assets.training.views.parts import draws

_GAP = re.compile(r"((?<=[.!?…])[\"'”’)*]*\s+|\n+)")


def split_sentences(text: str) -> tuple[list[str], list[str]]:
    """Sentences, and what stands between them (one fewer); joined in turn they are the text, stripped.

    A sentence ends at ``.``, ``!``, ``?`` or ``…`` before white space, or at the end of its line.
    """
    pieces = _GAP.split(text.strip())
    return pieces[::2], pieces[1::2]


def _joined(sentences: list[str], gaps: list[str]) -> str:
    return "".join(part for pair in zip(sentences, [*gaps, ""], strict=True) for part in pair)


def other_boundary(text: str, other: str) -> str | None:
    """The text with the first and last sentence of another in the place of its own.

    Null where the text has fewer than three sentences, so that none of its own would be left, or nothing changes.
    """
    sentences, gaps = split_sentences(text)
    borrowed, _ = split_sentences(other)
    if len(sentences) < 3 or not other.strip():
        return None
    changed = _joined([borrowed[0], *sentences[1:-1], borrowed[-1]], gaps)
    return changed if changed != text.strip() else None


def shuffled_sentences(text: str, seed: int, name: str) -> str | None:
    """The text with its sentences in another order, what stands between them left in place.

    Null where there is no other order: fewer than two different sentences.
    """
    sentences, gaps = split_sentences(text)
    if len(set(sentences)) < 2:
        return None
    order = list(sentences)
    random = draws(seed, "structure", name)
    while order == sentences:
        random.shuffle(order)
    return _joined(order, gaps)
