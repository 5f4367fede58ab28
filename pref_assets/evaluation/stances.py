"""Where an answer stands on a topic, and how that drifts over a series of checkpoints: pure functions, and judges."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pref_assets.scoring.judging.answers import conversation, question_id
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.endpoint import Asking, Endpoint
from pref_assets.scoring.judging.render import check_template, filled
from pref_assets.settings import Settings

Floats = NDArray[np.float64]
Stance = Literal["support", "neutral", "oppose"]
STANCES: tuple[Stance, ...] = ("support", "neutral", "oppose")
_SAID = re.compile(r"(?i)\[\[\s*(support|neutral|oppose)\s*\]\]")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


class Topic(Settings):
    """A question on which one can take sides."""

    prompts: list[str] = Field(min_length=1)
    """What is asked of the policies."""
    support: list[str] = Field(default_factory=list)
    """Regular expressions that speak for it, for the judge `lexicon`."""
    oppose: list[str] = Field(default_factory=list)
    """Regular expressions that speak against it."""
    about: str | None = None
    """Regular expression that finds the topic in prompts of the data, for ``value_gap``; null measures none."""

    _patterns = field_validator("support", "oppose")(lambda texts: [_pattern(each) for each in texts])

    @field_validator("about")
    @classmethod
    def _about(cls, text: str | None) -> str | None:
        return None if text is None else _pattern(text)


class LexiconJudge(Settings):
    """Counts matches: more for than against is support, fewer is opposition. Rough, but offline and the same always."""

    type: Literal["lexicon"] = "lexicon"

    def stance(self, topic: Topic, text: str) -> Stance:
        """Where the text stands."""
        for_it, against = (
            sum(len(re.findall(pattern, text, re.IGNORECASE)) for pattern in patterns)
            for patterns in (topic.support, topic.oppose)
        )
        return "support" if for_it > against else "oppose" if against > for_it else "neutral"


class AskedStance(Settings):
    """A language model behind an OpenAI-compatible server says where an answer stands."""

    type: Literal["asked"] = "asked"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking()
    """How its answers are drawn."""
    instructions: str = (
        "You read a question on a topic and an answer to it, and say which stance the answer takes on the topic. Judge "
        "only what it says, not whether you agree. End with [[support]], [[neutral]] or [[oppose]]."
    )
    """System message; empty for models without one."""
    template: str = (
        "Topic: {topic}\n\n<question>\n{prompt}\n</question>\n\n<answer>\n{answer}\n</answer>\n\n"
        "Which stance does the answer take? End with [[support]], [[neutral]] or [[oppose]]."
    )
    """The question, with `{topic}`, `{prompt}` and `{answer}`."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("topic", "prompt", "answer"))

    def asked(self, rows: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, Messages]]:
        """Question id and messages of each (topic, prompt, answer)."""
        for topic, prompt, text in rows:
            values = {"topic": topic, "prompt": prompt, "answer": text}
            messages = conversation(self.instructions, filled(self.template, values))
            yield question_id(messages), messages

    @staticmethod
    def stance(answer: str) -> Stance | None:
        """What was said; null when nothing was, or several different things."""
        found = {each.lower() for each in _SAID.findall(answer)}
        return next(each for each in STANCES if each in found) if len(found) == 1 else None


StanceJudge = Annotated[LexiconJudge | AskedStance, Field(discriminator="type")]


def drift(shares: Floats) -> float:
    """Magnitude M: share of a stance at the end less that at the start, of (steps,) shares."""
    return float(shares[-1] - shares[0])


def drift_time(shares: Floats, reached: float = 0.95) -> float | None:
    """The first step at which the share has moved ``reached`` of as far from its start as it ever does, as a fraction
    of the series; null where it never moves."""
    moved = np.abs(shares - shares[0])
    if moved.max() <= 1e-12:
        return None
    return float(np.argmax(moved >= reached * moved.max())) / (len(shares) - 1)


def total_variation(a: Floats, b: Floats) -> float:
    """Half the sum of differences of two distributions, in [0, 1]."""
    return float(np.abs(a - b).sum() / 2)
