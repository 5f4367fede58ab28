"""Voters: each looks at two answers under one criterion, and says which it favours. Some are rules, some are asked."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, StringConstraints, field_validator, model_validator

from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer
from pref_assets.scoring.judging.answers import ANSWERS
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.traits import Trait, amount, occurrences
from pref_assets.scoring.judging.verdicts import Verdict
from pref_assets.settings import Settings, digest

VoterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)]
"""Small letters, digits and underscores: part of the names of a pair's details."""


class Rule(Settings):
    """A voter that counts. Favours the answer with more, or less, of something."""

    prefer: Literal["more", "less"] = "more"
    """Which answer it favours."""
    least_difference: float = Field(default=0.0, ge=0)
    """It abstains unless the amounts differ by more than this."""

    def amount(self, column: str) -> pl.Expr:
        """How much the text in a column has, Float64."""
        raise NotImplementedError

    def vote(self) -> pl.Expr:
        """Of columns ``chosen`` and ``rejected``: 1 for the chosen answer, -1 for the rejected, 0 to abstain (Int8)."""
        more = self.amount("chosen") - self.amount("rejected")
        favoured = more if self.prefer == "more" else -more
        return pl.when(more.abs() > self.least_difference).then(favoured.sign()).otherwise(0.0).cast(pl.Int8)


class TraitVoter(Rule):
    """Counts a trait of form."""

    type: Literal["trait"] = "trait"
    trait: Trait
    """What it looks at."""

    def amount(self, column: str) -> pl.Expr:
        return amount(self.trait, column)


class PatternVoter(Rule):
    """Counts the matches of a regular expression."""

    type: Literal["pattern"] = "pattern"
    pattern: str
    """Regular expression (Rust's dialect)."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            pl.Series([""]).str.count_matches(pattern)
        except pl.exceptions.ComputeError as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    def amount(self, column: str) -> pl.Expr:
        return occurrences(self.pattern, column)


class AskedVoter(Settings):
    """A language model looks at the answers under a criterion in words."""

    type: Literal["asked"] = "asked"
    text: str = Field(min_length=1)
    """The criterion, e.g. `Favour the answer that names its sources.`"""


VoterConfig = Annotated[TraitVoter | PatternVoter | AskedVoter, Field(discriminator="type")]


class VotingScorer(MeasuredScorer):
    """What scorers by votes share: voters by name, and the server that the asked ones need. With rules alone nothing
    is measured and no server is needed."""

    kind = ANSWERS
    voters: dict[VoterName, VoterConfig] = Field(min_length=1)
    """Voters by name: rules (`trait`, `pattern`) and criteria in words (`asked`)."""
    endpoint: Endpoint | None = None
    """The server of the `asked` voters."""
    asking: Asking = Asking()
    """How its answers are drawn."""
    max_characters: int | None = Field(default=None, ge=2)
    """Longest text shown to it; of longer ones the middle is left out. Rules always see whole texts."""
    longest_side: int | None = Field(default=None, ge=16, le=4096)
    """Shows the prompt's images to a server that sees, none with a longer side than so many pixels. Null: pairs about
    images are not put to `asked` voters."""
    seed: int = Field(default=0, ge=0)
    """Seed of the order in which answers are shown, and of every sample."""

    @model_validator(mode="after")
    def _asked_have_a_server(self) -> Self:
        if self.asked() and self.endpoint is None:
            raise ValueError(f"voters {list(self.asked())} are asked, so `endpoint` has to say which server answers")
        return self

    def asked(self) -> dict[str, AskedVoter]:
        """The voters that a server answers for."""
        return {name: each for name, each in self.voters.items() if isinstance(each, AskedVoter)}

    def rules(self) -> dict[str, Rule]:
        """The voters that count."""
        return {name: each for name, each in self.voters.items() if isinstance(each, Rule)}

    def key(self, pool: Pool) -> str:
        return answers_key(self.endpoint, self.asking) if self.endpoint else digest("rules alone")

    def server(self) -> Endpoint:
        """The server. Raises ``ValueError`` where there is none, which only rules alone allow."""
        if self.endpoint is None:
            raise ValueError("there is no server: every voter is a rule")
        return self.endpoint


def rule_votes(texts: pl.DataFrame, rules: Mapping[str, Rule]) -> pl.DataFrame:
    """Frame (pair_id, one Int8 column a voter) of texts (pair_id, chosen, rejected): 1 for the chosen answer, -1 for
    the rejected one, 0 where the voter abstains."""
    return texts.select("pair_id", **{name: rule.vote() for name, rule in rules.items()})


def chosen_first(pair_id: str, purpose: str, seed: int) -> bool:
    """Whether the chosen answer is shown first: a fair coin that depends on nothing but the arguments."""
    return hashlib.blake2b(f"{seed}:{purpose}:{pair_id}".encode(), digest_size=1).digest()[0] % 2 == 0


def vote_of(verdict: Verdict | None, *, chosen_is_first: bool) -> int | None:
    """1 for the chosen answer, -1 for the rejected one, 0 to abstain; null where there is no verdict."""
    if verdict is None:
        return None
    if verdict == "tie":
        return 0
    return 1 if (verdict == "A") == chosen_is_first else -1
