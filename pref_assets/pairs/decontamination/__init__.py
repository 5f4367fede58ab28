"""Texts of benches inside the data."""

from pref_assets.pairs.decontamination.benches import BenchError, BenchTexts, bench_texts
from pref_assets.pairs.decontamination.search import contamination
from pref_assets.pairs.decontamination.settings import Bench, Decontamination

__all__ = ["Bench", "BenchError", "BenchTexts", "Decontamination", "bench_texts", "contamination"]
