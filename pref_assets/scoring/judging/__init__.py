"""Judges: language models behind a server, asked which answer is better, and rules that vote beside them."""

from pref_assets.scoring.judging.criteria import CriteriaVote
from pref_assets.scoring.judging.judge import Judge
from pref_assets.scoring.judging.principles import PrincipleVotes

__all__ = ["CriteriaVote", "Judge", "PrincipleVotes"]
