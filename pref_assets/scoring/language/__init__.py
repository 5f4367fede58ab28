"""Scorers that read the logits of a causal language model."""

from pref_assets.scoring.language.ifd import InstructionFollowingDifficulty
from pref_assets.scoring.language.likelihood import Likelihood

__all__ = ["InstructionFollowingDifficulty", "Likelihood"]
