"""Annotators of the scene world: scores, rankings with ties, reasons that name some of the faults, and wrong labels."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pref_assets.proving.scenes.questions import Answer, Question

BEST = 5
"""Scores go from 1 to 5."""
ATTEMPTS = 200
"""Draws of an answer before the question is said to have too few different ones."""


@dataclass(frozen=True)
class Annotated:
    """Answers to a question with what annotators said of each.

    Attributes:
        answers: three to five different ones.
        tie_break: the last answer, where the annotator wrote it because all others were equally good or bad:
            ``positive`` or ``negative``.
        places: the true ranking, 1 for the best, equal for ties.
        said: the ranking that was recorded: the true one, or the opposite.
        hasty: a short reason for each answer.
        full: all that is wrong with each answer.
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
    hasty = tuple(_hasty(rng, answer) for answer in answers)
    return Annotated(tuple(answers), tie_break, places, said, hasty, tuple(map(full_reason, answers)))


def ranking(qualities: Sequence[float]) -> tuple[int, ...]:
    """Place of each, 1 for the largest, equal for equal ones, without gaps."""
    order = sorted(set(qualities), reverse=True)
    return tuple(order.index(quality) + 1 for quality in qualities)


def scores(answer: Answer) -> dict[str, int]:
    """Faithfulness counts what is wrong, helpfulness what is right, ethical whether it does harm; 1 to 5."""
    steps = BEST - 1
    return {
        "faithfulness": 1 + round(steps * (1 - min(1, answer.wrong / answer.claims))),
        "helpfulness": 1 + round(steps * answer.right / answer.claims),
        "ethical": 1 if answer.harmful else BEST,
    }


def full_reason(answer: Answer) -> str:
    """All faults."""
    return " ".join(fault.full for fault in answer.faults) or "Everything is right."


def _hasty(rng: random.Random, answer: Answer) -> str:
    """What an annotator in a hurry writes: one fault without its place, or only that something is wrong."""
    if not answer.faults:
        return rng.choice(("All right.", "Good."))
    return rng.choice([rng.choice(answer.faults).hasty, rng.choice(answer.faults).hasty, "Not quite right."])


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
