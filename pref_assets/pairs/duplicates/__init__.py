"""Near duplicates among prompts, images and pairs: what came first stays, whatever comes later."""

from pref_assets.pairs.duplicates.arrivals import ArrivalError
from pref_assets.pairs.duplicates.exact import exact_duplicates
from pref_assets.pairs.duplicates.images import image_duplicates
from pref_assets.pairs.duplicates.pairs import pair_duplicates
from pref_assets.pairs.duplicates.prompts import prompt_duplicates
from pref_assets.pairs.duplicates.settings import NearDuplicates, NearImages

__all__ = [
    "ArrivalError",
    "NearDuplicates",
    "NearImages",
    "exact_duplicates",
    "image_duplicates",
    "pair_duplicates",
    "prompt_duplicates",
]
