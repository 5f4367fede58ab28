"""Near duplicates among prompts and pairs: what came first stays, whatever comes later."""

from pref_assets.pairs.duplicates.arrivals import ArrivalError
from pref_assets.pairs.duplicates.exact import exact_duplicates
from pref_assets.pairs.duplicates.pairs import pair_duplicates
from pref_assets.pairs.duplicates.prompts import prompt_duplicates
from pref_assets.pairs.duplicates.settings import NearDuplicates

__all__ = ["ArrivalError", "NearDuplicates", "exact_duplicates", "pair_duplicates", "prompt_duplicates"]
