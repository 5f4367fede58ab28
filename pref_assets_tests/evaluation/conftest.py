"""Five held-out pairs of three prompts, small enough to count by hand."""

import json

import polars as pl
import pytest

from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.heldout import TRUTH
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS


class Quiet:
    """A reporter that remembers what it was told."""

    def __init__(self):
        self.logs = []
        self.done = []

    def log(self, message):
        self.logs.append(message)

    def progress(self, done, total, unit):
        self.done.append((done, total, unit))

    def metrics(self, step, values):
        raise AssertionError("evaluations have no step metrics")


def turn(role, text):
    return [{"role": role, "content": text}]


CONSTRAINTS = {
    "q1": [{"family": "max_words", "n": 3}],
    "q2": [{"family": "max_words", "n": 2}, {"family": "include", "word": "blue"}],
    "q3": [{"family": "include", "word": "red"}],
    "q4": [{"family": "include", "word": "red"}],
}
# completion -> prompt, text; lengths are 5, 10, 4, 8, 12, 3, 3
TEXTS = {
    "a1": ("q1", "one 2"),
    "a2": ("q1", "one two th"),
    "b1": ("q2", "blue"),
    "b2": ("q2", "blue sky"),
    "b3": ("q2", "no color yet"),
    "c1": ("q3", "red"),
    "c2": ("q3", "tan"),
    "d1": ("q4", "red"),
    "d2": ("q4", "grey and red"),
}
# pair -> chosen, rejected, p_chosen, split; character differences -5, -4, +4, -8, 0
PAIRS_OF = {
    "p1": ("a1", "a2", 1.0, "test"),
    "p2": ("b1", "b2", 1.0, "test"),
    "p3": ("b3", "b2", 0.75, "test"),
    "p4": ("b1", "b3", 1.0, "test"),
    "p5": ("c1", "c2", 1.0, "test"),
    "p6": ("c1", "c2", 0.5, "test"),
    "p7": ("d1", "d2", 1.0, "train"),
}


@pytest.fixture
def inputs():
    prompts = [
        {
            "prompt_id": prompt,
            "messages": turn("user", f"question {prompt}"),
            "metadata": json.dumps({"constraints": constraints}),
            "split": "train" if prompt == "q4" else "test",
        }
        for prompt, constraints in CONSTRAINTS.items()
    ]
    completions = [
        {"completion_id": name, "prompt_id": prompt, "messages": turn("assistant", text)}
        for name, (prompt, text) in TEXTS.items()
    ]
    pairs = [
        {
            "pair_id": name,
            "prompt_id": TEXTS[chosen][0],
            "chosen_id": chosen,
            "rejected_id": rejected,
            "p_chosen": p,
            "split": split,
        }
        for name, (chosen, rejected, p, split) in PAIRS_OF.items()
    ]

    def filled(table, rows):
        return table.frame([{name: row.get(name) for name in table.columns} for row in rows])

    return Inputs(filled(PAIRS, pairs), filled(PROMPTS, prompts), filled(COMPLETIONS, completions))


@pytest.fixture
def truth():
    """b3's win in p3 is a planted flip; a1 and a2 are equally good; nothing is known of q3."""
    rows = [
        ("q1", "a1", 1.0, [], ["max_words"]),
        ("q1", "a2", 1.0, ["near_duplicate"], ["max_words"]),
        ("q2", "b1", 1.0, [], ["max_words", "include"]),
        ("q2", "b2", 1.0, [], ["max_words", "include"]),
        ("q2", "b2", 1.0, [], ["max_words", "include"]),
        ("q2", "b3", 0.0, ["flip"], ["max_words", "include"]),
        ("q1", None, None, ["contradiction"], ["max_words"]),
    ]
    return pl.DataFrame(rows, schema=TRUTH, orient="row")
