"""Writes the prompts: a task and one to three constraints, a question with one right answer, or a short dialogue."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from pref_assets.synthesis.verifiable import constraints as form
from pref_assets.synthesis.verifiable import questions as ask
from pref_assets.synthesis.verifiable import words as say
from pref_assets.synthesis.verifiable.constraints import Constraint

Random = random.Random


@dataclass(frozen=True)
class Prompt:
    """``messages`` end with the user's turn; ``shape`` is how the prompt was made."""

    messages: tuple[dict[str, str], ...]
    constraints: tuple[Constraint, ...]
    topic: str
    shape: str


def _yes_no(question: str, truth: bool) -> ask.Choice:
    return ask.Choice(question=question, options=("yes", "no"), right="yes" if truth else "no")


# Difficulties were chosen on SmolLM2-135M, so that its answers to one prompt often differ in their verdicts.
FORMS: dict[str, tuple[float, Callable[[Random], Constraint]]] = {
    "max_words": (3.0, lambda r: form.MaxWords(n=r.choice((6, 8, 10, 12, 15, 20, 25)))),
    "min_words": (3.5, lambda r: form.MinWords(n=r.choice((20, 24, 26, 28, 30, 32)))),
    "sentences": (2.0, lambda r: form.Sentences(n=r.choice((1, 2, 2, 3)))),
    "include": (2.0, lambda r: form.Include(word=r.choice(say.LIKELY_WORDS))),
    "exclude": (2.0, lambda r: form.Exclude(word=r.choice(say.COMMON_WORDS))),
    "no_commas": (1.0, lambda r: form.NoCommas()),
    "letter_case": (0.6, lambda r: form.LetterCase(case=r.choice(("lower", "lower", "upper")))),
    "start": (2.0, lambda r: form.Start(phrase=r.choice(say.OPENINGS))),
    "end_mark": (1.5, lambda r: form.EndMark(mark=r.choice((".", ".", "?", "?", "!")))),
    "digits": (1.5, lambda r: form.Digits()),
    "one_line": (0.7, lambda r: form.OneLine()),
    "quoted": (0.5, lambda r: form.Quoted()),
    "bullets": (1.2, lambda r: form.Bullets(n=r.choice((2, 3)))),
    "numbered": (1.5, lambda r: form.Numbered(n=r.choice((2, 3)))),
    "comma_list": (1.3, lambda r: form.CommaList(n=r.choice((2, 3)))),
    "json": (1.4, lambda r: form.JsonObject(keys=("name", *r.sample(say.KEYS[1:], r.choice((0, 1)))))),
}
"""Each family's weight among forms, and how its difficulty is drawn."""

QUESTIONS: dict[str, tuple[float, Callable[[Random], Constraint]]] = {
    "arithmetic": (
        2.0,
        lambda r: ask.Arithmetic(a=r.randint(1, 9), b=r.randint(1, 5), operation=r.choice(("plus", "plus", "times"))),
    ),
    "count": (0.7, lambda r: ask.Count(items=tuple(r.sample(say.NOUNS, r.randint(2, 4))))),
    "largest": (1.1, lambda r: ask.Largest(numbers=tuple(r.sample(range(1, 60), r.choice((2, 3)))))),
    "sort": (0.7, lambda r: ask.Sort(items=tuple(r.sample(say.NOUNS, 2)))),
    "choice": (1.2, lambda r: _yes_no(*r.choice(say.FACTS))),
    "repeat": (1.0, lambda r: ask.Repeat(phrase=r.choice(say.PHRASES))),
}

LENGTH = {"max_words", "min_words", "sentences"}
LISTS = {"bullets", "numbered"}
CLOSED = {"json", "comma_list", "quoted", "one_line"}
NUMBER_OF = {1: "one", 2: "two", 3: "three"}
SHAPES = {"one": 0.34, "two": 0.32, "three": 0.08, "question": 0.12, "dialogue": 0.14}


def _draw(table: dict[str, tuple[float, Callable[[Random], Constraint]]], names: list[str], rng: Random) -> Constraint:
    name = rng.choices(names, [table[n][0] for n in names])[0]
    return table[name][1](rng)


def _compatible(family: str, chosen: set[str]) -> bool:
    """Whether a further family can be met together with those chosen."""
    together = chosen | {family}
    layouts = together & (LISTS | CLOSED)
    if family in chosen or len(together & LENGTH) > 1 or len(layouts) > 1:
        return False
    if layouts & {"json", "comma_list"}:
        return len(together) == 1
    if layouts & LISTS:
        return not together & {"sentences", "start", "end_mark", "min_words"} and together != {"numbered", "digits"}
    return True


def _forms(count: int, rng: Random, barred: frozenset[str] = frozenset()) -> list[Constraint]:
    chosen: list[Constraint] = []
    while len(chosen) < count:
        families = {str(c.model_dump()["family"]) for c in chosen}
        open_families = [name for name in FORMS if name not in barred and _compatible(name, families)]
        if not open_families:
            break
        chosen.append(_draw(FORMS, open_families, rng))
    return chosen


def _task(constraints: list[Constraint], rng: Random) -> tuple[str, str]:
    """A task that suits the layout, and its topic."""
    families = {str(c.model_dump()["family"]) for c in constraints}
    if families & (LISTS | {"comma_list"}):
        return f"Name some {(kind := rng.choice(say.KINDS))}.", kind
    if "json" in families:
        return f"Describe {(thing := rng.choice(say.OBJECTS))}.", thing
    topic = rng.choice(say.TOPICS[rng.choice(sorted(say.TOPICS))])
    return rng.choice(say.TASKS).format(topic=topic), topic


def _user(*parts: str) -> dict[str, str]:
    return {"role": "user", "content": " ".join(part for part in parts if part)}


def _instructions(constraints: list[Constraint]) -> list[str]:
    return [c.instruction() for c in constraints]


def _worked(question: Constraint) -> str:
    """The right answer to a question, for the worked example that opens a dialogue."""
    if isinstance(question, ask.Arithmetic):
        return str(question.result)
    if isinstance(question, ask.Count):
        return str(len(question.items))
    if isinstance(question, ask.Largest):
        return str(max(question.numbers))
    if isinstance(question, ask.Sort):
        return ", ".join(sorted(question.items))
    if isinstance(question, ask.Choice):
        return question.right
    assert isinstance(question, ask.Repeat)
    return question.phrase


def _dialogue(rng: Random) -> Prompt:
    """Two user turns: a question after a worked example of the same family, or a request about an earlier answer."""
    if rng.random() < 0.55:
        name = rng.choices(list(QUESTIONS), [weight for weight, _ in QUESTIONS.values()])[0]
        question = example = QUESTIONS[name][1](rng)
        while question == example:
            example = QUESTIONS[name][1](rng)
        messages = (
            _user(example.instruction()),
            {"role": "assistant", "content": _worked(example)},
            _user(question.instruction()),
        )
        return Prompt(messages, (question,), name, "dialogue")
    before, answer = rng.choice(say.ANSWERS_BEFORE)
    chosen = _forms(rng.choice((1, 1, 2)), rng, frozenset(LISTS | {"json", "comma_list"}))
    messages = (
        _user(before),
        {"role": "assistant", "content": answer},
        _user("Tell me more about it.", *_instructions(chosen)),
    )
    return Prompt(messages, tuple(chosen), answer.rstrip("."), "dialogue")


def _one(rng: Random) -> Prompt:
    shape = rng.choices(list(SHAPES), list(SHAPES.values()))[0]
    if shape == "dialogue":
        return _dialogue(rng)
    if shape == "question":
        question = _draw(QUESTIONS, list(QUESTIONS), rng)
        return Prompt((_user(question.instruction()),), (question,), str(question.model_dump()["family"]), shape)
    chosen = _forms(next(n for n, name in NUMBER_OF.items() if name == shape), rng)
    task, topic = _task(chosen, rng)
    return Prompt((_user(task, *_instructions(chosen)),), tuple(chosen), topic, NUMBER_OF[len(chosen)])


def write_prompts(count: int, seed: int = 0) -> list[Prompt]:
    """``count`` distinct prompts; a smaller count is a prefix of a larger one.

    Raises:
        ValueError: the vocabulary does not hold that many distinct prompts.
    """
    rng = random.Random(seed)
    found: dict[tuple[str, ...], Prompt] = {}
    misses = 0
    while len(found) < count:
        prompt = _one(rng)
        key = tuple(turn["content"] for turn in prompt.messages)
        misses = misses + 1 if key in found else 0
        if misses > 1000:
            raise ValueError(f"only {len(found)} distinct prompts can be written, {count} asked for")
        found.setdefault(key, prompt)
    return list(found.values())
