"""Plants the faults that real preference data has, so that whatever finds them can be measured against the truth."""

import json
import random
from collections.abc import Sequence
from copy import deepcopy

from pydantic import Field

from pref_assets.settings import Settings
from pref_assets.synthesis.verifiable.constraints import EndMark
from pref_assets.synthesis.verifiable.rows import Answer, Item

FLIPPED = "flipped_label"
CONTRADICTED = "contradictory_votes"
EXACT = "exact_duplicate"
NEAR = "near_duplicate"
TRUNCATED = "identical_after_truncation"
EMPTY = "empty_completion"
MALFORMED = "malformed"
MIN_WORDS = 8
"""Shortest answer that is repeated to make a long one."""


class Faults(Settings):
    """How many of each fault. Shares of label faults are of the prompts whose answers differ in their verdicts,
    because elsewhere there is no preference to spoil. Other faults fall on rows that no label fault touched."""

    seed: int = Field(default=0, ge=0)
    """Seed of who rates what and where faults fall."""
    annotators: int = Field(default=5, ge=3)
    """Named annotators."""
    flipped: float = Field(default=0.10, ge=0, le=1)
    """Share of the prompts with a single annotator whose ``overall`` ratings he turned around."""
    disagreeing: float = Field(default=0.12, ge=0, le=0.5)
    """Share of prompts rated by two or three annotators of whom one turned them around: a tie, or two to one."""
    agreeing: float = Field(default=0.06, ge=0, le=0.5)
    """Share of prompts rated by three annotators who agree."""
    exact_duplicates: float = Field(default=0.03, ge=0, le=1)
    """Share of all rows; so many rows without a fault stand once more, in another file."""
    near_duplicates: float = Field(default=0.04, ge=0, le=1)
    """Share of such rows that stand once more with other white space, case or punctuation."""
    empty: float = Field(default=0.012, ge=0, le=1)
    """Share of the rows without another fault that get one more answer, empty or only white space."""
    truncated: int = Field(default=5, ge=0)
    """Prompts with two answers that differ only after ``truncated_words`` words."""
    truncated_words: int = Field(default=560, ge=1)
    """Words that such answers share; a word is at least one token."""


def assign_annotators(items: Sequence[Item], faults: Faults, rng: random.Random) -> None:
    """Gives every row its annotators, and some of them a reason to be distrusted."""
    names = [f"annotator_{number}" for number in range(1, faults.annotators + 1)]
    differing = [item for item in items if item.differs()]
    rng.shuffle(differing)
    disagreeing = differing[: round(faults.disagreeing * len(differing))]
    rest = differing[len(disagreeing) :]
    agreeing = rest[: round(faults.agreeing * len(differing))]
    single = rest[len(agreeing) :]
    flipped = single[: round(faults.flipped * len(single))]
    for item in items:
        item.annotators = {rng.choice(names): False}
    for item in flipped:
        item.annotators = dict.fromkeys(item.annotators, True)
        item.faults.append(FLIPPED)
    for item in agreeing:
        item.annotators = dict.fromkeys(sorted(rng.sample(names, 3)), False)
    for number, item in enumerate(disagreeing):
        chosen = sorted(rng.sample(names, 2 if number % 3 == 0 else 3))
        wrong = rng.choice(chosen)
        item.annotators = {name: name == wrong for name in chosen}
        item.faults.append(CONTRADICTED)


def add_empty_answers(items: Sequence[Item], faults: Faults, rng: random.Random) -> None:
    """One more answer without any text, at a random place of the row."""
    for number, item in enumerate(rng.sample(list(items), round(faults.empty * len(items)))):
        blank = Answer(("", "  \n ", "\t")[number % 3], None, [EMPTY])
        item.answers.insert(rng.randrange(len(item.answers) + 1), blank)


def near_duplicates(items: Sequence[Item], faults: Faults, rng: random.Random) -> list[Item]:
    """The same answers under nearly the same prompt."""
    copies = []
    # A changed mark would change what is to be repeated.
    sources = [item for item in items if "repeat" not in item.families()]
    count = min(round(faults.near_duplicates * len(items)), len(sources))
    for number, item in enumerate(rng.sample(sources, count)):
        copy = deepcopy(item)
        copy.messages[-1]["content"] = _varied(copy.messages[-1]["content"], number)
        copy.original = item.prompt_id
        copy.faults.append(NEAR)
        copies.append(copy)
    return copies


def _varied(text: str, number: int) -> str:
    return (
        text.replace(". ", ".  ", 1) if ". " in text else f" {text}",
        f"{text} ",
        text[:-1] if text[-1] in ".?" else f"{text}.",
        text[0].lower() + text[1:],
        f"{text}\n",
    )[number % 5]


def truncated_items(items: Sequence[Item], faults: Faults, rng: random.Random) -> list[Item]:
    """Prompts with two long answers: real answers repeated, that differ in the last mark alone."""
    found = []
    sources = [item for item in items if len(item.messages) == 1 and len(_longest(item)) >= MIN_WORDS]
    for number, item in enumerate(rng.sample(sources, min(faults.truncated, len(sources)))):
        words = _longest(item)
        repeated = " ".join((words * (faults.truncated_words // len(words) + 1))[: faults.truncated_words])
        constraint = EndMark(mark="?")
        prompt = f"Write number {number + 1} of my long texts about {item.topic}. {constraint.instruction()}"
        answers = [Answer(f"{repeated} and so on{mark}", None) for mark in ("?", ".")]
        found.append(
            Item(
                [{"role": "user", "content": prompt}],
                [constraint.model_dump(mode="json")],
                item.topic,
                "long",
                answers,
                dict.fromkeys(item.annotators, False),
                [TRUNCATED],
            )
        )
    return found


def _longest(item: Item) -> list[str]:
    return max((answer.text.split() for answer in item.answers), key=len)


def malformed_lines(item: Item) -> list[tuple[str, str]]:
    """Lines that are no preference rows, each with the quarantine code that says why."""
    row = json.dumps(item.row(), ensure_ascii=False)

    def changed(**fields: object) -> str:
        return json.dumps({**item.row(), **fields}, ensure_ascii=False)

    good = item.row()["completions"]
    return [
        (row[: len(row) // 2], "not_json"),
        ("<html><body><h1>502 Bad Gateway</h1></body></html>", "not_json"),
        (json.dumps(["a", "list"]), "not_an_object"),
        (json.dumps({"completions": good}, ensure_ascii=False), "missing_field"),
        (changed(completions="none"), "wrong_type"),
        (changed(completions=[{**good[0], "content": 7}, good[1]]), "wrong_type"),
        (changed(completions=[{**good[0], "ratings": [{"dimension": "overall", "value": "high"}]}]), "wrong_type"),
        (changed(prompt=[{"role": "assistant", "content": "Hello."}]), "role_order"),
    ]
