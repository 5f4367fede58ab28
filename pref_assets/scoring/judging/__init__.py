"""Judges: language models behind a server, asked which answer is better, and rules that vote beside them."""

from pref_assets.scoring.judging.judge import Judge

__all__ = ["Judge"]
