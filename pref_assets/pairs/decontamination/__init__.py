"""Texts of benches inside the data."""

from pref_assets.pairs.decontamination.contamination import contamination
from pref_assets.pairs.decontamination.settings import Bench, Decontamination

__all__ = ["Bench", "Decontamination", "contamination"]
