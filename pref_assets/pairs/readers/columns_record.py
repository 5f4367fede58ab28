"""What the blocks of a declarative reader make of one row: its answers and its votes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pref_assets.pairs.readers.columns_blocks import AnswerBlock, VoteBlock, said
from pref_assets.pairs.readers.columns_expressions import Scope, evaluate
from pref_assets.pairs.readers.record import (
    Answer,
    BadRowError,
    Rating,
    Turn,
    Vote,
    check_answer,
    image,
    messages,
    number,
    text,
    wrong_type,
)


class Looping(Protocol):
    """Settings that say how often a block counts."""

    @property
    def each(self) -> dict[str, str]: ...
    @property
    def let(self) -> dict[str, str]: ...
    @property
    def when(self) -> str | None: ...


class Answers:
    """The answers of a record; an empty one is refused alone."""

    def __init__(self) -> None:
        self.kept: list[Answer] = []
        self.refused: list[BadRowError] = []
        self._places: dict[Any, int | None] = {}
        """Place among the kept answers of every name; null for a refused one."""
        self._count = 0

    def add(self, block: AnswerBlock, scope: Scope, path: str) -> None:
        """Adds what the block says in this scope. Raises ``BadRowError``."""
        name = evaluate(block.id, scope, f"{path}.id") if block.id is not None else self._count
        if not isinstance(name, (str, int)):
            raise wrong_type(f"{path}.id", name, "text or a whole number")
        if name in self._places:
            raise BadRowError("wrong_type", f"field `{path}.id`: two answers are called {name!r}")
        self._count += 1
        turns = as_turns(evaluate(block.text, scope, f"{path}.text"), "assistant", f"{path}.text")
        try:
            check_answer(turns, f"{path}.text")
        except BadRowError as error:
            if error.code != "empty_side":
                raise
            self.refused.append(BadRowError(error.code, f"answer {name!r}: {error}"))
            self._places[name] = None
            return
        self._places[name] = len(self.kept)
        self.kept.append(
            Answer(turns, text_of(block.model, scope, f"{path}.model"), list(_ratings(block, scope, path)))
        )

    def check(self) -> None:
        """Raises ``missing_field`` when there is no answer, ``empty_side`` when every one is refused."""
        if not self._count:
            raise BadRowError("missing_field", "`answers`: there is none")
        if not self.kept:
            raise self.refused[0]

    def place(self, name: Any, path: str) -> int | None:
        """Place among the kept answers; null when the answer was refused."""
        try:
            return self._places[name]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, self._places))
            raise BadRowError("wrong_type", f"field `{path}` is {name!r}; the answers are {known}") from None


def _ratings(block: AnswerBlock, scope: Scope, path: str) -> Iterator[Rating]:
    for index, rating in enumerate(block.ratings):
        where = f"{path}.ratings[{index}]"
        for step in steps(rating, scope, f"{where}."):
            value = _number(rating.value, step, f"{where}.value")
            if value is None and rating.value is not None:
                continue
            rationale = text_of(rating.rationale, step, f"{where}.rationale")
            if value is not None or rationale:
                yield Rating(
                    dimension=_required(rating.dimension, step, f"{where}.dimension"),
                    value=value,
                    annotator=_required(rating.annotator, step, f"{where}.annotator"),
                    rationale=rationale,
                )


class Votes:
    """The votes of a record on the answers it keeps."""

    def __init__(self, answers: Answers) -> None:
        self.kept: list[Vote] = []
        self.refused: list[BadRowError] = []
        self._answers = answers
        self._seen: set[tuple[int, int, str, str]] = set()
        self._same: set[tuple[int, int]] = set()

    def add(self, block: VoteBlock, scope: Scope, path: str) -> None:
        """The same for a vote; ``repeated_vote`` when this judge has said it already."""
        value = evaluate(block.choice, scope, f"{path}.choice")
        choice = block.choices.get(said(value))
        if choice is None:
            known = ", ".join(block.choices)
            raise BadRowError(
                "wrong_type", f"field `{path}.choice: {block.choice}` is {value!r}; `choices` has {known}"
            )
        a, b = (self._answers.place(evaluate(each, scope, f"{path}.{name}"), f"{path}.{name}")
                for name, each in (("a", block.a), ("b", block.b)))  # fmt: skip
        if choice == "none" or a is None or b is None or self._is_same(a, b, path):
            return
        vote = Vote(
            a=a,
            b=b,
            choice=choice,
            annotator=_required(block.annotator, scope, f"{path}.annotator"),
            dimension=_required(block.dimension, scope, f"{path}.dimension"),
            strength=_number(block.strength, scope, f"{path}.strength"),
            rationale=text_of(block.rationale, scope, f"{path}.rationale"),
        )
        key = (min(a, b), max(a, b), vote.annotator, vote.dimension)
        if key in self._seen:
            raise BadRowError(
                "repeated_vote",
                f"`{path}`: annotator {vote.annotator!r} votes twice on the same answers and dimension "
                f"{vote.dimension!r}; give every judge a name under `annotator`",
            )
        self._seen.add(key)
        self.kept.append(vote)

    def _is_same(self, a: int, b: int, path: str) -> bool:
        """Whether the two answers are the same text, which refuses the votes on them."""
        same = a == b or list(self._answers.kept[a].turns) == list(self._answers.kept[b].turns)
        if same and (a, b) not in self._same:
            self._same.add((a, b))
            self.refused.append(BadRowError("identical_sides", f"`{path}` compares two answers that are the same"))
        return same


def steps(block: Looping, scope: Scope, path: str) -> Iterator[Scope]:
    """The scope of every step of a block that counts."""
    for looped in _looped(list(block.each.items()), scope, path) if block.each else (scope,):
        step = dict(looped) if block.let else looped
        for name, source in block.let.items():
            step[name] = evaluate(source, step, f"{path}let.{name}")
        if block.when is None or evaluate(block.when, step, f"{path}when"):
            yield step


def _looped(loops: Sequence[tuple[str, str]], scope: Scope, path: str) -> Iterator[Scope]:
    if not loops:
        yield scope
        return
    (name, source), *inner = loops
    values = evaluate(source, scope, f"{path}each.{name}")
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        raise wrong_type(f"{path}each.{name}", values, "a list (of an object, take `.items()`)")
    for value in values:
        yield from _looped(inner, {**scope, name: value}, path)


def as_turns(value: Any, speaker: str, path: str) -> list[Turn]:
    """A text as one turn of the speaker, or a list of messages."""
    if value is None:
        raise BadRowError("missing_field", f"field `{path}` is null")
    if isinstance(value, str):
        return [(speaker, value)]
    if not isinstance(value, list):
        raise wrong_type(path, value, "text or a list of messages")
    return messages(value, path)


def plain(value: Any, path: str) -> Any:
    """A value as JSON can hold it; ranges and items of objects become lists. Raises ``wrong_type`` for the rest."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {said(key): plain(each, path) for key, each in value.items()}
    if isinstance(value, Iterable):
        return [plain(each, path) for each in value]
    raise BadRowError("wrong_type", f"`{path}` is no plain value that can be kept")


def text_of(source: str | None, scope: Scope, path: str) -> str | None:
    """The text an expression gives; null without an expression."""
    return None if source is None else text({path: evaluate(source, scope, path)}, path)


def _required(source: str, scope: Scope, path: str) -> str:
    value = text_of(source, scope, path)
    if not value:
        raise BadRowError("missing_field", f"field `{path}: {source}` is {'null' if value is None else 'empty'}")
    return value


def _number(source: str | None, scope: Scope, path: str) -> float | None:
    return None if source is None else number({path: evaluate(source, scope, path)}, path)


def names_of(source: str | None, scope: Scope, path: str) -> list[str]:
    """The images an expression gives, one or a list, by name or as ``datasets`` has them."""
    value = [] if source is None else evaluate(source, scope, path)
    if value is None:
        return []
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, (str, dict)) for name in names):
        raise wrong_type(path, value, "a name or a list of names")
    return [image(name, path) for name in names]
