"""The declarative reader: any table or nested JSON, described in YAML."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.locations import LocationError
from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.columns_blocks import AnswerBlock, Join, Requirement, VoteBlock
from pref_assets.pairs.readers.columns_expressions import (
    Expression,
    ListExpression,
    Scope,
    VariableName,
    evaluate,
    scope_of,
)
from pref_assets.pairs.readers.columns_joins import Joined, fingerprint, joined
from pref_assets.pairs.readers.columns_record import Answers, Votes, as_turns, names_of, plain, steps, text_of
from pref_assets.pairs.readers.record import (
    BadRowError,
    Record,
    check_prompt,
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

    def shows_images(self) -> bool:
        return super().shows_images() or self.images is not None

    def beside(self) -> list[tuple[str, str]]:
        """Uri and SHA-256 of the joined files."""
        return [file for join in self.joins.values() for file in _pinned(join) or ()]

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
        for step in steps(self, scope, ""):
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
        prompt = as_turns(evaluate(self.prompt, scope, "prompt"), "user", "prompt")
        check_prompt(prompt, "prompt")
        answers = Answers()
        for index, block in enumerate(self.answers):
            for step in steps(block, scope, f"answers[{index}]."):
                answers.add(block, step, f"answers[{index}]")
        answers.check()
        votes = Votes(answers)
        for index, vote in enumerate(self.votes):
            for step in steps(vote, scope, f"votes[{index}]."):
                votes.add(vote, step, f"votes[{index}]")
        return Record(
            turns=prompt,
            answers=answers.kept,
            votes=votes.kept,
            images=names_of(self.images, scope, "images"),
            context=text_of(self.context, scope, "context"),
            metadata={name: self._kept(name, scope) for name in self.metadata},
            refused=answers.refused + votes.refused,
        )

    def _kept(self, name: str, scope: Scope) -> Any:
        path = f"metadata.{name}"
        return plain(evaluate(self.metadata[name], scope, path), path)


def _pinned(join: Join) -> list[tuple[str, str]] | None:
    try:
        return list(fingerprint(join))
    except LocationError:
        return None
