"""Constraints that are questions: the one right answer is known, so the prompt needs no other task."""

import re
from typing import Literal

from pydantic import Field

from pref_assets.synthesis.verifiable import text as rules
from pref_assets.synthesis.verifiable.constraints import Constraint


class Arithmetic(Constraint):
    family: Literal["arithmetic"] = "arithmetic"
    a: int = Field(ge=0, le=99)
    b: int = Field(ge=0, le=99)
    operation: Literal["plus", "minus", "times"] = "plus"

    @property
    def result(self) -> int:
        return {"plus": self.a + self.b, "minus": self.a - self.b, "times": self.a * self.b}[self.operation]

    def instruction(self) -> str:
        return f"What is {self.a} {self.operation} {self.b}?"

    def holds(self, answer: str) -> bool:
        """The last number said is the result."""
        return rules.numbers(answer)[-1:] == [self.result]


class Count(Constraint):
    family: Literal["count"] = "count"
    items: tuple[str, ...] = Field(min_length=1)

    def instruction(self) -> str:
        return f"How many words are in this list: {', '.join(self.items)}?"

    def holds(self, answer: str) -> bool:
        """The first number said is the count."""
        return rules.numbers(answer)[:1] == [len(self.items)]


class Largest(Constraint):
    family: Literal["largest"] = "largest"
    numbers: tuple[int, ...] = Field(min_length=2)

    def instruction(self) -> str:
        return f"Which number is the largest: {', '.join(map(str, self.numbers))}?"

    def holds(self, answer: str) -> bool:
        """The last number said is the largest."""
        return rules.numbers(answer)[-1:] == [max(self.numbers)]


class Sort(Constraint):
    family: Literal["sort"] = "sort"
    items: tuple[str, ...] = Field(min_length=2)

    def instruction(self) -> str:
        return f"Sort these words from A to Z: {', '.join(self.items)}."

    def holds(self, answer: str) -> bool:
        """The last mention of the words, as many as there are, is in order (the question may be repeated first)."""
        said = [word.lower() for word in rules.words(answer) if word.lower() in self.items]
        return said[-len(self.items) :] == sorted(self.items)


class Choice(Constraint):
    family: Literal["choice"] = "choice"
    question: str = Field(min_length=1)
    options: tuple[str, ...] = Field(min_length=2)
    right: str

    def instruction(self) -> str:
        return f"{self.question} Answer only with {' or '.join(self.options)}."

    def holds(self, answer: str) -> bool:
        """Nothing but the right option, punctuation aside."""
        return [word.lower() for word in rules.words(answer)] == [word.lower() for word in rules.words(self.right)]


class Repeat(Constraint):
    family: Literal["repeat"] = "repeat"
    phrase: str = Field(min_length=1)

    def instruction(self) -> str:
        return f"Repeat exactly this and nothing else: {self.phrase}"

    def holds(self, answer: str) -> bool:
        """The phrase, letter by letter; surrounding quotes and runs of white space do not matter."""
        return re.sub(r"\s+", " ", rules.unquoted(answer)) == self.phrase
