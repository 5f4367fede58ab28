"""Rules that flag pairs, and the policy that says what becomes of a flagged pair."""

from typing import Annotated

import polars as pl
from pydantic import Field, model_validator

from pref_assets.features.store import Store
from pref_assets.pairs.audit.answers import EmptyAnswer, EqualUpToSpaceOrCase, IdenticalSides, PromptOnlyAnswer
from pref_assets.pairs.audit.base import Action, AuditRule, Severity, TextRule
from pref_assets.pairs.audit.characters import NonText
from pref_assets.pairs.audit.formats import FormatGap
from pref_assets.pairs.audit.images import ImageAcrossSplits, RepeatedImage
from pref_assets.pairs.audit.language import Language
from pref_assets.pairs.audit.lengths import LengthGap, OverLong
from pref_assets.pairs.audit.pii import Pii
from pref_assets.pairs.audit.refusals import Refusal
from pref_assets.pairs.audit.roles import RoleOrder
from pref_assets.pairs.audit.run import run_rules
from pref_assets.pairs.audit.swapped import SwappedCopies
from pref_assets.pairs.audit.template import ChatTemplateRoundTrip
from pref_assets.pairs.audit.toxicity import Toxicity
from pref_assets.pairs.audit.truncation import IdenticalAfterTruncation, OverLongTokens, PromptTruncatedAway
from pref_assets.pairs.audit.votes import ContradictoryLabels, PromptsDiffer, Tie
from pref_assets.settings import Settings

AuditRuleConfig = Annotated[
    PromptsDiffer
    | IdenticalSides
    | EqualUpToSpaceOrCase
    | EmptyAnswer
    | PromptOnlyAnswer
    | IdenticalAfterTruncation
    | PromptTruncatedAway
    | RoleOrder
    | ChatTemplateRoundTrip
    | SwappedCopies
    | ContradictoryLabels
    | Tie
    | NonText
    | Language
    | OverLong
    | OverLongTokens
    | Refusal
    | LengthGap
    | FormatGap
    | RepeatedImage
    | ImageAcrossSplits
    | Toxicity
    | Pii,
    Field(discriminator="type"),
]


class AuditSettings(Settings):
    """The ``audit`` block: which rules look at every pair, and what becomes of the pairs they flag."""

    rules: tuple[AuditRuleConfig, ...] = (
        PromptsDiffer(),
        IdenticalSides(),
        EqualUpToSpaceOrCase(),
        EmptyAnswer(),
        PromptOnlyAnswer(),
        RoleOrder(),
        SwappedCopies(),
        ContradictoryLabels(),
        Tie(),
        NonText(),
        OverLong(),
        Refusal(),
        LengthGap(),
        FormatGap(),
        RepeatedImage(),
        ImageAcrossSplits(),
    )
    """Each at most once; by default those that need no model and no library. The order is that of the reasons: of
    several rules that take a pair out, the first says why."""
    more: tuple[AuditRuleConfig, ...] = ()
    """Rules beside those: what needs a tokenizer, a language or a word list is named here, and the others stay."""
    policy: dict[str, Action] = Field(default_factory=dict)
    """What becomes of pairs with a flag, by code: ``keep``, ``drop``, or ``quarantine`` where a person should look.
    Codes left out do what their rule documents."""
    chunk: int = Field(default=25_000, ge=1)
    """Pairs whose texts are in memory at a time."""

    @model_validator(mode="after")
    def _codes_are_known(self) -> "AuditSettings":
        codes = [rule.type for rule in self.all_rules()]
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise ValueError(f"rules {twice} stand there twice: a code has one meaning in a pipeline")
        unknown = sorted(set(self.policy) - set(codes))
        if unknown:
            raise ValueError(f"the policy names {unknown}, but the rules here are {sorted(codes)}")
        return self

    def all_rules(self) -> tuple[AuditRuleConfig, ...]:
        """``rules`` and ``more``."""
        return self.rules + self.more

    def actions(self) -> dict[str, Action]:
        """What becomes of flagged pairs, by the code of every rule, in the order of the rules."""
        return {rule.type: self.policy.get(rule.type, rule.action) for rule in self.all_rules()}

    def action(self, code: str) -> Action:
        """What becomes of pairs flagged with this code; ``KeyError`` for a code of no rule here."""
        return self.actions()[code]


def lasting(flags: pl.DataFrame, settings: AuditSettings) -> pl.DataFrame:
    """The flags that texts alone decide, which no later row can change."""
    codes = [rule.type for rule in settings.all_rules() if isinstance(rule, TextRule)]
    return flags.filter(pl.col("code").is_in(codes))


def flags(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    settings: AuditSettings,
    store: Store | None = None,
    arrival: pl.DataFrame | None = None,
    images: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What the rules find in all pairs: ``FLAGS``, sorted by its key, the same whatever the order of rows.

    Texts are read in one pass of ``settings.chunk`` pairs at a time. What depends on a pair's texts alone is stored,
    so that a second run looks at new pairs only; what depends on votes is looked at every time.

    Args:
        comparisons, prompts, completions: ``COMPARISONS``, ``PROMPTS``, ``COMPLETIONS``.
        store: where findings are kept; without one, everything is computed.
        arrival: source, batch, ``sequence``: the order of batches. With it, of two pairs that clash only the later
            one is flagged; without it, both are.
        images: ``IMAGES``; without it, nothing is said of images.
    """
    return run_rules(settings.all_rules(), comparisons, prompts, completions, store, arrival, settings.chunk, images)


def taken_out(flags: pl.DataFrame, settings: AuditSettings) -> pl.DataFrame:
    """The pairs that the policy does not keep: pair_id, action, code and reason (the flag's detail), sorted by
    pair_id. Of several flags the rule that stands first in the settings counts.

    Args:
        flags: ``FLAGS`` that these settings' rules found.
    """
    actions = {code: action for code, action in settings.actions().items() if action != "keep"}
    order = pl.DataFrame(
        {"code": list(actions), "action": list(actions.values()), "place": range(len(actions))},
        schema={"code": pl.String, "action": pl.String, "place": pl.Int64},
    )
    out = flags.join(order, on="code").sort("pair_id", "place").unique("pair_id", keep="first", maintain_order=True)
    return out.select("pair_id", "action", "code", reason="detail")


__all__ = [
    "Action",
    "AuditRule",
    "AuditRuleConfig",
    "AuditSettings",
    "Severity",
    "flags",
    "lasting",
    "taken_out",
]
