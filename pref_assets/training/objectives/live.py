"""Answers drawn while training: how many, how long, by whom."""

from typing import Literal

from pydantic import Field

from pref_assets.settings import Settings


class LiveSamples(Settings):
    """Answers drawn at every step to the prompts of the step's pairs, with temperature 1 and no nucleus, so that their
    log-probabilities are those they were drawn with."""

    n: int = Field(default=2, ge=1, le=64)
    """Answers to each pair's prompt."""
    max_new_tokens: int = Field(default=64, ge=1, le=100_000)
    """Answers are cut after this many tokens; their divergence is that of answers cut there."""
    by: Literal["policy", "reference"] = "policy"
    """Who answers: the policy as it is at that step, or the model with its adapters off."""
    batch_size: int = Field(default=64, ge=1)
    """Answers that grow together; changes speed and memory only."""
