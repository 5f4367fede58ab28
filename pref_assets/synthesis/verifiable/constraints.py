"""Constraints on the form of an answer: length, words, case, layout. Each says itself in English and checks itself.

In the manner of IFEval (Zhou et al. 2023, arXiv 2311.07911), cut down to what a very small model meets now and then.
"""

import json
import re
from typing import Literal

from pydantic import Field

from pref_assets.settings import Settings
from pref_assets.synthesis.verifiable import text as rules


class Constraint(Settings):
    """A condition on an answer that a program decides. Subclasses set ``family``."""

    def instruction(self) -> str:
        """The condition as a sentence of the prompt."""
        raise NotImplementedError

    def holds(self, answer: str) -> bool:
        """Whether a non-empty answer, stripped of surrounding white space, meets it."""
        raise NotImplementedError


class MaxWords(Constraint):
    family: Literal["max_words"] = "max_words"
    n: int = Field(ge=1)

    def instruction(self) -> str:
        return f"Use at most {self.n} words."

    def holds(self, answer: str) -> bool:
        return len(rules.words(answer)) <= self.n


class MinWords(Constraint):
    family: Literal["min_words"] = "min_words"
    n: int = Field(ge=1)

    def instruction(self) -> str:
        return f"Use at least {self.n} words."

    def holds(self, answer: str) -> bool:
        return len(rules.words(answer)) >= self.n


class Sentences(Constraint):
    family: Literal["sentences"] = "sentences"
    n: int = Field(ge=1, le=10)

    def instruction(self) -> str:
        return f"Write exactly {rules.NUMBER_WORDS[self.n]} sentence{'s' if self.n > 1 else ''}."

    def holds(self, answer: str) -> bool:
        return len(rules.sentences(answer)) == self.n


class Include(Constraint):
    family: Literal["include"] = "include"
    word: str = Field(min_length=1)

    def instruction(self) -> str:
        return f"Use the word '{self.word}'."

    def holds(self, answer: str) -> bool:
        return self.word.lower() in (word.lower() for word in rules.words(answer))


class Exclude(Constraint):
    family: Literal["exclude"] = "exclude"
    word: str = Field(min_length=1)

    def instruction(self) -> str:
        return f"Do not use the word '{self.word}'."

    def holds(self, answer: str) -> bool:
        return self.word.lower() not in (word.lower() for word in rules.words(answer))


class NoCommas(Constraint):
    family: Literal["no_commas"] = "no_commas"

    def instruction(self) -> str:
        return "Do not use any commas."

    def holds(self, answer: str) -> bool:
        return "," not in answer


class LetterCase(Constraint):
    family: Literal["letter_case"] = "letter_case"
    case: Literal["lower", "upper"]

    def instruction(self) -> str:
        return f"Use only {'small' if self.case == 'lower' else 'capital'} letters."

    def holds(self, answer: str) -> bool:
        return answer.islower() if self.case == "lower" else answer.isupper()


class Start(Constraint):
    family: Literal["start"] = "start"
    phrase: str = Field(min_length=1)

    def instruction(self) -> str:
        return f"Start with '{self.phrase}'."

    def holds(self, answer: str) -> bool:
        return bool(re.match(rf"\W*{re.escape(self.phrase)}(?!\w)", answer, re.IGNORECASE))


class EndMark(Constraint):
    family: Literal["end_mark"] = "end_mark"
    mark: Literal["?", "!", "."]

    def instruction(self) -> str:
        name = {"?": "question mark", "!": "exclamation mark", ".": "full stop"}[self.mark]
        return f"End with a{'n' if name[0] in 'aeiou' else ''} {name}."

    def holds(self, answer: str) -> bool:
        return answer.rstrip("\"'”’)* \n").endswith(self.mark)


class OneLine(Constraint):
    family: Literal["one_line"] = "one_line"

    def instruction(self) -> str:
        return "Answer on one line."

    def holds(self, answer: str) -> bool:
        return len(rules.lines(answer)) == 1


class Bullets(Constraint):
    family: Literal["bullets"] = "bullets"
    n: int = Field(ge=2, le=10)

    def instruction(self) -> str:
        return f"Give exactly {rules.NUMBER_WORDS[self.n]} bullet points that start with '- '."

    def holds(self, answer: str) -> bool:
        return len(rules.bullets(answer)) == self.n


class Numbered(Constraint):
    family: Literal["numbered"] = "numbered"
    n: int = Field(ge=2, le=10)

    def instruction(self) -> str:
        return f"Answer with a numbered list of {rules.NUMBER_WORDS[self.n]} items."

    def holds(self, answer: str) -> bool:
        return [number for number, _ in rules.numbered(answer)] == list(range(1, self.n + 1))


class CommaList(Constraint):
    family: Literal["comma_list"] = "comma_list"
    n: int = Field(ge=2, le=10)

    def instruction(self) -> str:
        return f"Answer with {rules.NUMBER_WORDS[self.n]} words separated by commas."

    def holds(self, answer: str) -> bool:
        items = [item.strip() for item in answer.rstrip(".").split(",")]
        return (
            len(rules.lines(answer)) == 1 and len(items) == self.n and all(1 <= len(rules.words(i)) <= 3 for i in items)
        )


class JsonObject(Constraint):
    family: Literal["json"] = "json"
    keys: tuple[str, ...] = Field(min_length=1)

    def instruction(self) -> str:
        form = ", ".join(f'"{key}": ...' for key in self.keys)
        return f"Answer only with JSON: {{{form}}}"

    def holds(self, answer: str) -> bool:
        fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", answer, re.DOTALL)
        try:
            value = json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and set(value) == set(self.keys)


class Quoted(Constraint):
    family: Literal["quoted"] = "quoted"

    def instruction(self) -> str:
        return "Put the whole answer in double quotes."

    def holds(self, answer: str) -> bool:
        return len(answer) > 2 and (answer[0], answer[-1]) in {('"', '"'), ("“", "”")}


class Digits(Constraint):
    family: Literal["digits"] = "digits"

    def instruction(self) -> str:
        return "Mention a number in digits."

    def holds(self, answer: str) -> bool:
        return bool(re.search(r"\d", answer))
