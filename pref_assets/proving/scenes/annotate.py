"""Annotators of the scene world: scores, rankings with ties, reasons that name some of the faults, and wrong labels."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pref_assets.proving.scenes.questions import Answer, Question, verdicts_text

BEST = 5
"""Scores go from 1 to 5."""
ATTEMPTS = 200
"""Draws of an answer before the question is said to have too few different ones."""
VAGUE = 0.2
"""How often a hasty reason names no fault."""


@dataclass(frozen=True)
class Annotated:
    """Answers to a question with what annotators said of each.

    Attributes:
        answers: three to five different ones.
        tie_break: the last answer, where the annotator wrote it because all others were equally good or bad:
            ``positive`` or ``negative``.
        places: the true ranking, 1 for the best, equal for ties.
        said: the ranking that was recorded: the true one, or the opposite.
        hasty: a short reason for each answer, which names one fault at most.
        full: verdicts on everything that each answer says.
    """

    answers: tuple[Answer, ...]
    tie_break: str | None
    places: tuple[int, ...]
    said: tuple[int, ...]
    hasty: tuple[str, ...]
    full: tuple[str, ...]

    @property
    def flipped(self) -> bool:
        """Whether the recorded ranking is the opposite of the true one."""
        return self.places != self.said


def annotate(rng: random.Random, question: Question, errors: Sequence[float], flipped: float) -> Annotated:
    """Answers of writers with these error rates, annotated; with probability ``flipped`` the ranking is turned around.

    Where all answers are equally good the annotator adds one with an error; where they are equally bad, a right one
    (Zhang et al., arXiv 2502.10391, section 3.2).
    """
    answers: list[Answer] = []
    for error in errors[: question.most]:
        answers.append(_another(rng, question, answers, error))
    tie_break = None
    if len({answer.quality for answer in answers}) == 1:
        tie_break = "negative" if answers[0].quality == 1 else "positive"
        answers[question.most - 1 :] = []
        answers.append(_breaking(rng, question, answers))
    places = ranking([answer.quality for answer in answers])
    turned = rng.random() < flipped
    said = tuple(max(places) + min(places) - place for place in places) if turned else places
    hasty = tuple(hasty_reason(rng, answer) for answer in answers)
    return Annotated(tuple(answers), tie_break, places, said, hasty, tuple(map(full_reason, answers)))


def ranking(qualities: Sequence[float]) -> tuple[int, ...]:
    """Place of each, 1 for the largest, equal for equal ones, without gaps."""
    order = sorted(set(qualities), reverse=True)
    return tuple(order.index(quality) + 1 for quality in qualities)


def scores(answer: Answer) -> dict[str, int]:
    """Faithfulness falls with the share of claims that are wrong, helpfulness with that and with harm, which is what
    ethical is about; 1 to 5."""
    right = 1 - answer.wrong
    harmful = answer.harmless is False
    return {
        "faithfulness": 1 + round((BEST - 1) * right),
        "helpfulness": 1 if harmful else 1 + round((BEST - 1) * right),
        "ethical": 1 if harmful else BEST,
    }


def full_reason(answer: Answer) -> str:
    """A verdict on everything."""
    return " ".join([*(f"{each}." for each in answer.seen.values()), verdicts_text(answer.verdicts)])


def hasty_reason(rng: random.Random, answer: Answer) -> str:
    """What an annotator in a hurry writes: one of the faults, or, of one faulty answer in five, only that it is
    wrong."""
    wrong = [name for name, right in answer.verdicts.items() if not right]
    if not wrong:
        return "all right."
    return "wrong." if rng.random() < VAGUE else verdicts_text({rng.choice(wrong): False})


def _another(rng: random.Random, question: Question, known: Sequence[Answer], error: float) -> Answer:
    """An answer that none of the known ones gives."""
    texts = {answer.text for answer in known}
    for attempt in range(ATTEMPTS):
        # A careful writer has said all that he can after a while: errors become likelier.
        answer = question.draw(rng, min(1.0, error + attempt / ATTEMPTS))
        if answer.text not in texts:
            return answer
    raise ValueError(f"no {len(known) + 1} different answers to {question.text!r}")


def _breaking(rng: random.Random, question: Question, known: Sequence[Answer]) -> Answer:
    """An answer of another quality than the known ones share."""
    wanted_right = known[0].quality < 1
    for attempt in range(ATTEMPTS):
        answer = question.draw(rng, 0.0 if wanted_right else 0.5 + attempt / (2 * ATTEMPTS))
        if answer.quality != known[0].quality and answer.text not in {each.text for each in known}:
            return answer
    raise ValueError(f"no answer of another quality to {question.text!r}")
