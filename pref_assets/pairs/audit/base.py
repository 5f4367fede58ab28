"""What an audit rule is: a code, how bad it is, what happens by default, and one method that finds it."""

from typing import Any, ClassVar, Literal

import polars as pl

from pref_assets.settings import Settings

Severity = Literal["error", "warning", "info"]
Action = Literal["keep", "drop", "quarantine"]
Part = Literal["prompt", "chosen", "rejected"]
PARTS: tuple[Part, ...] = ("prompt", "chosen", "rejected")
SIDES = ("chosen", "rejected")

FOUND = pl.Schema({"pair_id": pl.String, "detail": pl.String})
"""What a rule returns: the pairs it flags, each once, and what it found in a sentence."""


class AuditRule(Settings):
    """A rule flags pairs under one code, its ``type``. It takes nothing out: the audit's policy does.

    Subclasses set how severe a flag is and what happens to a flagged pair unless the policy says otherwise.
    """

    type: str
    severity: ClassVar[Severity]
    action: ClassVar[Action]
    revision: ClassVar[int] = 1
    """Raised when the same settings find something else than before: stored findings are then computed anew."""

    def version(self) -> list[Any]:
        """Everything a finding depends on beside the pair, JSON-serialisable: the settings, and of rules that read
        a model or a library's list, which one."""
        return [self.digest(), self.revision]


class TextRule(AuditRule):
    """Looks at one pair's conversations only, so that what it found is stored and never looked for again."""

    costly: ClassVar[bool] = False
    """Whether its findings are stored apart, so that a change of another rule does not compute them anew."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Flagged pairs as ``FOUND``.

        Args:
            texts: rows of `audit.texts.TEXTS`.
        """
        raise NotImplementedError


class VoteRule(AuditRule):
    """Looks at votes and labels, which later rows may change: run on every pair, each time."""

    def find(self, comparisons: pl.LazyFrame) -> pl.DataFrame:
        """Flagged pairs as ``FOUND``.

        Args:
            comparisons: ``COMPARISONS``.
        """
        raise NotImplementedError


class ImageRule(AuditRule):
    """Looks at the images that pairs show, which later rows may repeat: run on every pair with images, each time."""

    def find(self, shown: pl.DataFrame) -> pl.DataFrame:
        """Flagged pairs as ``FOUND``.

        Args:
            shown: a row for each pair and image: pair_id, split, ``rank`` (the pair's place in the order of arrival),
                uri, and as in ``IMAGES`` near and distance; ``first`` is the image at the beginning of its chain of
                near repetitions.
        """
        raise NotImplementedError


def found(frame: pl.DataFrame, flagged: pl.Expr, detail: pl.Expr) -> pl.DataFrame:
    """Rows of the frame where ``flagged`` is true, with their detail."""
    return frame.filter(flagged).select("pair_id", detail=detail)


def rows_found(rows: list[tuple[str, str]]) -> pl.DataFrame:
    """``(pair_id, detail)`` tuples as ``FOUND``."""
    return pl.DataFrame(rows, schema=FOUND, orient="row")


def named(part: str) -> str:
    """`the prompt`, `the chosen answer`, `the rejected answer`."""
    return "the prompt" if part == "prompt" else f"the {part} answer"


def which_sides(chosen: pl.Expr, rejected: pl.Expr) -> pl.Expr:
    """Words for the sides that a boolean expression holds for: `chosen answer is`, `both answers are`, ..."""
    return (
        pl.when(chosen & rejected)
        .then(pl.lit("both answers are"))
        .when(chosen)
        .then(pl.lit("the chosen answer is"))
        .otherwise(pl.lit("the rejected answer is"))
    )
