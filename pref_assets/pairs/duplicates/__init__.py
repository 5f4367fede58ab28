"""Near duplicates among prompts and pairs: what came first stays, whatever comes later."""

from pref_assets.pairs.duplicates.find import exact_duplicates, pair_duplicates, prompt_duplicates
from pref_assets.pairs.duplicates.settings import NearDuplicates

__all__ = ["NearDuplicates", "exact_duplicates", "pair_duplicates", "prompt_duplicates"]
