"""Groups of similar completions."""

from pref_assets.clustering.base import Clusterer, Clustering
from pref_assets.clustering.kmeans import KMeans

ClustererConfig = KMeans

__all__ = ["Clusterer", "ClustererConfig", "Clustering", "KMeans"]
