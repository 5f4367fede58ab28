"""Safety of policies that see: attacks that succeed, refusals, and what answers mention."""

from pref_assets.evaluation.safety.evaluation import Safety

__all__ = ["Safety"]
