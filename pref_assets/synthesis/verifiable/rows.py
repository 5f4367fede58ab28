"""Rows as a file holds them: a prompt, its answers, and what the verifier and the annotators say of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pref_assets.pairs.schema import completion_id, prompt_id
from pref_assets.synthesis.verifiable.prompts import Prompt
from pref_assets.synthesis.verifiable.verifier import share_met, verify

VERIFIER = "verifier"
OVERALL = "overall"


@dataclass
class Answer:
    """``model`` is null for an answer that no model gave; ``faults`` were planted in this answer alone."""

    text: str
    model: str | None
    faults: list[str] = field(default_factory=list)


@dataclass
class Item:
    """A row before it is written.

    Attributes:
        messages: the prompt's turns.
        constraints: what the prompt asks for, as JSON.
        annotators: who rates the answers, and whether he turns the truth around.
        faults: planted in the whole row.
        original: id of the prompt that this one nearly repeats.
    """

    messages: list[dict[str, str]]
    constraints: list[dict[str, Any]]
    topic: str
    shape: str
    answers: list[Answer]
    annotators: dict[str, bool] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    original: str | None = None

    @classmethod
    def of(cls, prompt: Prompt, texts: Sequence[str], model: str) -> "Item":
        constraints = [constraint.model_dump(mode="json") for constraint in prompt.constraints]
        answers = [Answer(text, model) for text in texts]
        return cls([dict(turn) for turn in prompt.messages], constraints, prompt.topic, prompt.shape, answers)

    @property
    def prompt_id(self) -> str:
        return prompt_id(self.messages)

    def truth(self, answer: Answer) -> float:
        """Share of constraints the answer meets."""
        return share_met(self.constraints, answer.text)

    def differs(self) -> bool:
        """Whether its answers earn different shares, so that there is something to prefer."""
        return len({self.truth(answer) for answer in self.answers}) > 1

    def spoiled(self) -> bool:
        """Whether any fault was planted in the row or in one of its answers."""
        return bool(self.faults) or any(answer.faults for answer in self.answers)

    def row(self) -> dict[str, Any]:
        """The row of the ``completions`` format."""
        metadata = {"constraints": self.constraints, "topic": self.topic, "shape": self.shape}
        return {
            "prompt": self.messages,
            "completions": [
                {"content": answer.text, "model": answer.model, "ratings": self._ratings(answer)}
                for answer in self.answers
            ],
            "metadata": metadata,
        }

    def _ratings(self, answer: Answer) -> list[dict[str, Any]]:
        exact = [
            {"dimension": c["family"], "value": int(verify(c, answer.text)), "annotator": VERIFIER}
            for c in self.constraints
        ]
        share = self.truth(answer)
        judged = [
            {"dimension": OVERALL, "value": _short(1 - share if inverted else share), "annotator": name}
            for name, inverted in self.annotators.items()
        ]
        return exact + judged

    def truth_rows(self, file: str, row: int) -> list[dict[str, Any]]:
        """What is true of each distinct answer, whatever its annotators say, and where it stands."""
        found: dict[str, dict[str, Any]] = {}
        for answer in self.answers:
            identity = completion_id(self.prompt_id, [{"role": "assistant", "content": answer.text}])
            found[identity] = {
                **truth_row(file, row, [*self.faults, *answer.faults]),
                "prompt_id": self.prompt_id,
                "completion_id": identity,
                "overall_true": _short(self.truth(answer)),
                "family": self.families(),
                "original": self.original,
            }
        return list(found.values())

    def families(self) -> list[str]:
        return [c["family"] for c in self.constraints]


def truth_row(file: str, row: int, faults: Sequence[str]) -> dict[str, Any]:
    """A row of the truth; the caller fills in what it knows more."""
    empty: Mapping[str, Any] = {"prompt_id": None, "completion_id": None, "overall_true": None}
    return {**empty, "faults": list(faults), "file": file, "row": row, "family": [], "original": None}


def _short(value: float) -> float:
    return round(value, 4)
