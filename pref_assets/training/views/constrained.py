"""Prompts with instructions added that an answer follows, or does not: made from the answers, checked by a program.

Every instruction has a twin that says the opposite ("at least" and "at most", "use" and "do not use"), and which of
the two an answer follows is a coin's toss. So the words of a prompt and the number of its instructions hardly tell
whether an answer follows them; the answer does. On the shipped verifiable answers, whose lengths lie close together, a
linear probe of the added instructions is right for 52 % of them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pref_assets.synthesis.verifiable.constraints import Constraint, Exclude, Include, MaxWords, MinWords
from pref_assets.synthesis.verifiable.text import words
from pref_assets.training.views.parts import Messages, draws, edit_last, last_text

_GAP = (0.02, 0.1)
"""How far a number of words is from the answer's, as a share of it."""


@dataclass(frozen=True)
class Twins:
    """Two instructions of which every answer follows exactly one; ``first`` is the one at hand."""

    first: Constraint
    second: Constraint


@dataclass(frozen=True)
class Instructed:
    """Two prompts that differ in the instructions added to them.

    Attributes:
        prompt_1, prompt_2: the conversations.
        constraints_1, constraints_2: what was added to each, as many to both.
    """

    prompt_1: list[dict[str, str]]
    prompt_2: list[dict[str, str]]
    constraints_1: tuple[Constraint, ...]
    constraints_2: tuple[Constraint, ...]


def intra(
    prompt: Messages, answer: Messages, other: Messages, count: int, violated: int, seed: int, name: str
) -> Instructed | None:
    """Prompts for one answer: the first adds ``count`` instructions that it follows, the second the same but for
    ``violated`` of them, which it does not.

    Args:
        prompt: the conversation up to the answer.
        answer: what is to follow them.
        other: another answer to the prompt; its words serve as well as the answer's.
        count: instructions, the first of them on length.
        violated: of them, those turned round in the second prompt.
        seed: of the draws.
        name: of the pair, so that its draws are its own.

    Returns:
        Null when the answers do not give as many instructions, or hold more than text.
    """
    text, second = last_text(answer, "assistant"), last_text(other, "assistant")
    if text is None or second is None:
        return None
    draw = draws(seed, "intra", name)
    twins = [_length(draw, len(words(text))), *_words(draw, text, second, count - 1)]
    if None in twins or len(twins) < count:
        return None
    known = [each for each in twins if each is not None]
    turned = set(draw.sample(range(count), violated))
    order = draw.sample(range(count), count)
    followed = tuple(known[i].first for i in order)
    broken = tuple(known[i].second if i in turned else known[i].first for i in order)
    return _instructed(prompt, followed, broken)


def inter(prompt: Messages, chosen: Messages, rejected: Messages, seed: int, name: str) -> Instructed | None:
    """Prompts for two answers: the first adds an instruction that the chosen one follows and the rejected one does
    not, the second the opposite. Null when the answers differ in no word and hardly in length, or hold more than text.
    """
    better, worse = last_text(chosen, "assistant"), last_text(rejected, "assistant")
    if better is None or worse is None:
        return None
    draw = draws(seed, "inter", name)
    found = _between(draw, len(words(better)), len(words(worse)))
    by_word = _words(draw, better, worse, 1)
    options = [each for each in (found, *by_word) if each is not None]
    if not options:
        return None
    twins = draw.choice(options)
    return _instructed(prompt, (twins.first,), (twins.second,))


def _instructed(prompt: Messages, first: Sequence[Constraint], second: Sequence[Constraint]) -> Instructed | None:
    one, two = (_added(prompt, constraints) for constraints in (first, second))
    return None if one is None or two is None else Instructed(one, two, tuple(first), tuple(second))


def _added(prompt: Messages, constraints: Sequence[Constraint]) -> list[dict[str, str]] | None:
    told = " ".join(each.instruction() for each in constraints)
    return edit_last(prompt, "user", lambda text: f"{text.rstrip()} {told}")


def _length(draw: random.Random, n: int) -> Twins | None:
    """A number of words near ``n``, above or below it alike; the instruction that an answer of ``n`` words follows."""
    # Near: a number far below or above the lengths that answers have would tell by itself.
    gap = max(1, round(n * draw.uniform(*_GAP)))
    if n - gap < 1:
        return None
    if draw.random() < 0.5:
        return Twins(MaxWords(n=n + gap), MinWords(n=n + gap))
    return Twins(MinWords(n=n - gap), MaxWords(n=n - gap))


def _between(draw: random.Random, chosen: int, rejected: int) -> Twins | None:
    """A number of words strictly between two; first the instruction that the chosen one follows."""
    low, high = sorted((chosen, rejected))
    if high - low < 2:
        return None
    n = draw.randint(low + 1, high - 1)
    at_least, at_most = MinWords(n=n), MaxWords(n=n)
    return Twins(at_least, at_most) if chosen > rejected else Twins(at_most, at_least)


def _words(draw: random.Random, text: str, other: str, count: int) -> list[Twins | None]:
    """Words that only one of two texts uses, that one by a coin's toss; the instruction that ``text`` follows."""
    mine, others = ({word.lower() for word in words(each) if word.isalpha()} for each in (text, other))
    only = sorted(mine - others), sorted(others - mine)
    found: list[Twins | None] = []
    for _ in range(count):
        # Without a word on either side the toss would not be fair, and the instruction would tell.
        if not only[0] or not only[1]:
            break
        side = draw.randrange(2)
        word = only[side].pop(draw.randrange(len(only[side])))
        use, avoid = Include(word=word), Exclude(word=word)
        found.append(Twins(use, avoid) if side == 0 else Twins(avoid, use))
    return found
