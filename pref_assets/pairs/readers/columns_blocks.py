"""The blocks of a declarative reader: what YAML says of answers, ratings, votes and joined files."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pref_assets.pairs.locations import is_hub, is_remote
from pref_assets.pairs.readers.columns_expressions import Expression, ListExpression, VariableName
from pref_assets.settings import Settings

Choice = Literal["a", "b", "tie", "none"]


def said(value: object) -> str:
    """A value as `choices` writes it: texts and numbers as they are, and true, false and null by these words."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


ChoiceName = Annotated[str, BeforeValidator(said)]


class Loop(Settings):
    """A block that counts once, or once for every step of a loop."""

    each: dict[VariableName, ListExpression] = Field(default_factory=dict)
    """Loops over lists: a name for the element, and an expression that gives the list or the plain values themselves.
    Of several, the later are inside the earlier and may use their names."""
    let: dict[VariableName, Expression] = Field(default_factory=dict)
    """Names for values that the expressions below use more than once; later ones may use earlier ones."""
    when: Expression | None = None
    """Steps for which this is false are left out."""


class RatingBlock(Loop):
    """An absolute judgement of an answer."""

    value: Expression | None = None
    """The number, higher is better (write a rank as ``-rank``); null is no rating. Left out, the block's ratings are
    comments: a rationale without a number, and where that is null, nothing."""
    dimension: Expression = "'overall'"
    """What was judged."""
    annotator: Expression = "'unknown'"
    """Who judged."""
    rationale: Expression | None = None
    """Why, in the annotator's words."""

    @model_validator(mode="after")
    def _says_something(self) -> "RatingBlock":
        if self.value is None and self.rationale is None:
            raise ValueError("a rating needs a `value`, a `rationale`, or both")
        return self


class AnswerBlock(Loop):
    """An answer to the prompt, or with ``each`` several."""

    text: Expression
    """The answer: text, or a list of messages."""
    id: Expression | None = None
    """What votes call it; left out, votes call it by its place among the answers, from 0."""
    model: Expression | None = None
    """Who wrote it; null when not known."""
    ratings: tuple[RatingBlock, ...] = ()
    """Judgements of this answer alone. The pipeline's pairing rule makes votes of them."""


class VoteBlock(Loop):
    """A judgement on two answers, or with ``each`` several."""

    a: Expression = "0"
    """One answer, by its ``id`` or its place."""
    b: Expression = "1"
    """The other."""
    choice: Expression
    """Who won, in the words of ``choices``."""
    choices: dict[ChoiceName, Choice] = Field(default={"a": "a", "b": "b", "tie": "tie"}, min_length=1)
    """What the values of ``choice`` mean: ``a``, ``b``, ``tie``, or ``none`` for no vote. A value that is not named
    here sends the row to quarantine."""
    annotator: Expression = "'unknown'"
    """Who judged."""
    dimension: Expression = "'overall'"
    """What was judged."""
    strength: Expression | None = None
    """How much better the winner is, in the source's unit; null when not known."""
    rationale: Expression | None = None
    """Why, in the annotator's words."""


class Requirement(Settings):
    """A condition that rows must meet."""

    that: Expression
    """The condition; a row for which it is false goes to quarantine."""
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)
    """Code of the refusal, e.g. ``prompts_differ``."""
    reason: str = Field(min_length=1)
    """The same in a sentence."""


class Join(Settings):
    """Another file whose rows are looked up by a key: ``name[key]`` in expressions. It is held in memory."""

    location: str
    """File, folder, glob or ``package://module/folder``. Its content counts like a setting: when it changes, the
    records are out of date."""
    key: Expression
    """The key, over the fields of the joined file's rows. Whole numbers and their texts are the same key."""
    many: bool = False
    """Whether a key has several rows; ``name[key]`` is then their list in file order. Otherwise two rows with one key
    are an error."""

    @field_validator("location")
    @classmethod
    def _is_here(cls, location: str) -> str:
        if is_hub(location) or is_remote(location):
            raise ValueError(f"{location}: only files on this machine can be joined; download it first")
        return location
