"""Scorers that read the logits of a causal language model."""

from pref_assets.scoring.language.digit_expectation import DigitExpectation
from pref_assets.scoring.language.flr import FollowupLikelihood
from pref_assets.scoring.language.ifd import InstructionFollowingDifficulty
from pref_assets.scoring.language.likelihood import Likelihood

__all__ = ["DigitExpectation", "FollowupLikelihood", "InstructionFollowingDifficulty", "Likelihood"]
