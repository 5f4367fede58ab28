"""A table of dimensions from results of benches that ran elsewhere."""

from pref_assets.evaluation.dimensions.evaluation import DimensionTable

__all__ = ["DimensionTable"]
