"""The declarative reader: any table or nested JSON, described in YAML."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.locations import LocationError
from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.columns_blocks import AnswerBlock, Join, Loop, Requirement, VoteBlock, said
from pref_assets.pairs.readers.columns_expressions import (
    Expression,
    ListExpression,
    Scope,
    VariableName,
    evaluate,
    scope_of,
)
from pref_assets.pairs.readers.columns_joins import Joined, fingerprint, joined
from pref_assets.pairs.readers.record import (
    Answer,
    BadRowError,
    Rating,
    Record,
    Turn,
    Vote,
    check_answer,
    check_prompt,
    messages,
    number,
    text,
    wrong_type,
)
from pref_assets.settings import digest


class ColumnsSource(Source):
    """Rows of any shape, described by expressions over their fields.

    An expression is Jinja's: ``question`` is a field of the row, ``row['odd-name']`` one whose name is no word,
    ``completions[0].text`` goes inside, ``'text in quotes'`` is that text, ``first ~ ' ' ~ second`` joins texts,
    ``x if y else z`` chooses, ``x|float`` is the number that a text says. A field that is not there sends the row to
    quarantine; ``row.get('name')`` is null instead. ``file`` is the name of the row's file.

    Functions: ``range(5)``, ``enumerate(list)``, ``zip(one, other)``, ``pairs(n)`` (every two places of n answers),
    ``walk(root, 'replies')`` (nodes of a tree, each ``{node, path}``), ``turns(list, role='from', content='value',
    roles=dict(human='user'))`` (messages whose fields and speakers have other names), ``transcript(text,
    dict(Human='user', Assistant='assistant'))`` (one text with all turns) and ``dict(name=value)``.

    In YAML, an expression with ``: `` or `` #`` in it, or one that begins with a quote or a bracket, goes in quotes.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {"question": "Which is larger, 3 or 5?", "left": "5", "right": "3", "workers": ["w1", "w2"], "votes": [1, 0]},
    )
    example_settings: ClassVar[dict[str, Any]] = {
        "prompt": "question",
        "answers": [{"text": "left"}, {"text": "right"}],
        "votes": [
            {
                "each": {"ballot": "zip(workers, votes)"},
                "annotator": "ballot[0]",
                "choice": "ballot[1]",
                "choices": {1: "a", 0: "b"},
            }
        ],
    }
    keeps: ClassVar[str] = (
        "What the settings name, each expression in its place. Fields that no expression names are only in the raw "
        "rows; name them under `metadata` to keep them with the prompt. There is no way back."
    )

    type: Literal["columns"] = "columns"
    joins: dict[VariableName, Join] = Field(default_factory=dict)
    """Other files that belong to the rows: ``name[key]`` in expressions is the row of that key."""
    each: dict[VariableName, ListExpression] = Field(default_factory=dict)
    """Loops that make several records of a row (a prompt with its answers each): a name for the element, and an
    expression that gives the list or the plain values themselves. Of several, the later are inside the earlier."""
    let: dict[VariableName, Expression] = Field(default_factory=dict)
    """Names for values that the expressions below use more than once; later ones may use earlier ones."""
    when: Expression | None = None
    """Records for which this is false are left out; a row that is left with none goes to quarantine (``left_out``)."""
    require: tuple[Requirement, ...] = ()
    """Conditions that records must meet, each with a code and a reason of its own."""
    prompt: Expression
    """The prompt: text, or a list of messages that ends with the user."""
    answers: tuple[AnswerBlock, ...] = Field(min_length=1)
    """The answers that are compared or rated."""
    votes: tuple[VoteBlock, ...] = ()
    """Judgements on two answers."""
    images: Expression | None = None
    """Images that belong to the prompt: a name, or a list of names; looked up in ``image_folder`` where that is set."""
    context: Expression | None = None
    """Criterion or scenario under which answers are compared; prompts with different ones are different prompts."""
    metadata: dict[str, Expression] = Field(default_factory=dict)
    """What else to keep of the prompt, by name."""

    def digest(self) -> str:
        """Changes with the settings and with the content of the joined files; a missing one counts as empty."""
        own = super().digest()
        if not self.joins:
            return own
        return digest([own, {name: _pinned(join) for name, join in self.joins.items()}])

    def record(self, row: dict[str, Any]) -> Record:
        """The record of a row that holds one."""
        records = self.records(row, self.location)
        if len(records) != 1:
            raise BadRowError("wrong_type", f"the row holds {len(records)} records; read it with `records`")
        return records[0]

    def records(self, row: dict[str, Any], uri: str) -> list[Record]:
        """A record for every step of ``each``. One that cannot be used is refused alone, unless it is the only one."""
        return self.opened()(row, uri)

    def opened(self) -> Callable[[dict[str, Any], str], list[Record]]:
        """``records`` with the joined files loaded.

        Raises:
            UnreadableError: a joined file cannot be used.
            LocationError: a joined file is not there.
        """
        tables = {name: joined(name, join) for name, join in self.joins.items()}
        return lambda row, uri: self._records(row, uri, tables)

    def _records(self, row: dict[str, Any], uri: str, tables: Mapping[str, Joined]) -> list[Record]:
        scope = scope_of(row, uri.rsplit("/", 1)[-1], tables)
        records: list[Record] = []
        refused: list[BadRowError] = []
        for step in _steps(self, scope, ""):
            try:
                records.append(self._record(step))
            except BadRowError as error:
                refused.append(error)
        if not records and refused:
            raise refused[0]
        if not records:
            raise BadRowError("left_out", f"`when: {self.when}` holds nowhere in this row" if self.when else
                              "`each` has no element in this row")  # fmt: skip
        records[0].refused[:0] = refused
        return records

    def _record(self, scope: Scope) -> Record:
        for index, rule in enumerate(self.require):
            if not evaluate(rule.that, scope, f"require[{index}].that"):
                raise BadRowError(rule.code, rule.reason)
        prompt = _turns(evaluate(self.prompt, scope, "prompt"), "user", "prompt")
        check_prompt(prompt, "prompt")
        answers = _Answers()
        for index, block in enumerate(self.answers):
            for step in _steps(block, scope, f"answers[{index}]."):
                answers.add(block, step, f"answers[{index}]")
        answers.check()
        votes = _Votes(answers)
        for index, vote in enumerate(self.votes):
            for step in _steps(vote, scope, f"votes[{index}]."):
                votes.add(vote, step, f"votes[{index}]")
        return Record(
            turns=prompt,
            answers=answers.kept,
            votes=votes.kept,
            images=_names(self.images, scope, "images"),
            context=_text(self.context, scope, "context"),
            metadata={name: _plain(evaluate(each, scope, f"metadata.{name}")) for name, each in self.metadata.items()},
            refused=answers.refused + votes.refused,
        )


class _Answers:
    """The answers of a record; an empty one is refused alone."""

    def __init__(self) -> None:
        self.kept: list[Answer] = []
        self.refused: list[BadRowError] = []
        self._places: dict[Any, int | None] = {}
        """Place among the kept answers of every name; null for a refused one."""
        self._count = 0

    def add(self, block: AnswerBlock, scope: Scope, path: str) -> None:
        name = evaluate(block.id, scope, f"{path}.id") if block.id is not None else self._count
        if not isinstance(name, (str, int)):
            raise wrong_type(f"{path}.id", name, "text or a whole number")
        if name in self._places:
            raise BadRowError("wrong_type", f"field `{path}.id`: two answers are called {name!r}")
        self._count += 1
        turns = _turns(evaluate(block.text, scope, f"{path}.text"), "assistant", f"{path}.text")
        try:
            check_answer(turns, f"{path}.text")
        except BadRowError as error:
            if error.code != "empty_side":
                raise
            self.refused.append(BadRowError(error.code, f"answer {name!r}: {error}"))
            self._places[name] = None
            return
        self._places[name] = len(self.kept)
        self.kept.append(Answer(turns, _text(block.model, scope, f"{path}.model"), list(_ratings(block, scope, path))))

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
        for step in _steps(rating, scope, f"{where}."):
            value = _number(rating.value, step, f"{where}.value")
            if value is not None:
                yield Rating(
                    dimension=_required(rating.dimension, step, f"{where}.dimension"),
                    value=value,
                    annotator=_required(rating.annotator, step, f"{where}.annotator"),
                    rationale=_text(rating.rationale, step, f"{where}.rationale"),
                )


class _Votes:
    """The votes of a record on the answers it keeps."""

    def __init__(self, answers: _Answers) -> None:
        self.kept: list[Vote] = []
        self.refused: list[BadRowError] = []
        self._answers = answers
        self._seen: set[tuple[int, int, str, str]] = set()
        self._same: set[tuple[int, int]] = set()

    def add(self, block: VoteBlock, scope: Scope, path: str) -> None:
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
            rationale=_text(block.rationale, scope, f"{path}.rationale"),
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


def _steps(block: Loop | ColumnsSource, scope: Scope, path: str) -> Iterator[Scope]:
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
    if isinstance(values, (str, Mapping, Joined)) or not hasattr(values, "__iter__"):
        raise wrong_type(f"{path}each.{name}", values, "a list (of an object, take `.items()`)")
    for value in values:
        yield from _looped(inner, {**scope, name: value}, path)


def _turns(value: Any, speaker: str, path: str) -> list[Turn]:
    """A text as one turn of the speaker, or a list of messages."""
    if value is None:
        raise BadRowError("missing_field", f"field `{path}` is null")
    if isinstance(value, str):
        return [(speaker, value)]
    if not isinstance(value, list):
        raise wrong_type(path, value, "text or a list of messages")
    return messages(value, path)


def _text(source: str | None, scope: Scope, path: str) -> str | None:
    return None if source is None else text({path: evaluate(source, scope, path)}, path)


def _required(source: str, scope: Scope, path: str) -> str:
    value = _text(source, scope, path)
    if not value:
        raise BadRowError("missing_field", f"field `{path}: {source}` is {'null' if value is None else 'empty'}")
    return value


def _number(source: str | None, scope: Scope, path: str) -> float | None:
    return None if source is None else number({path: evaluate(source, scope, path)}, path)


def _names(source: str | None, scope: Scope, path: str) -> list[str]:
    value = [] if source is None else evaluate(source, scope, path)
    names = [value] if isinstance(value, str) else value
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise wrong_type(path, names, "a name or a list of names")
    return names


def _plain(value: Any) -> Any:
    """A range, or the items of an object, as a list, so that it can be stored."""
    return value if isinstance(value, (dict, list, str, int, float, bool, type(None))) else list(value)


def _pinned(join: Join) -> list[tuple[str, str]] | None:
    try:
        return list(fingerprint(join))
    except LocationError:
        return None
