"""Groups of similar completions."""

from pref_assets.clustering.kmeans import Clustering, KMeans

ClustererConfig = KMeans

__all__ = ["ClustererConfig", "Clustering", "KMeans"]
