"""Groups of similar completions, or of pairs that train alike."""

from typing import Annotated

from pydantic import Field

from pref_assets.clustering.base import Clusterer, Clustering
from pref_assets.clustering.hdbscan import Hdbscan
from pref_assets.clustering.kmeans import KMeans
from pref_assets.clustering.projected_gradients import ProjectedGradients
from pref_assets.clustering.trajectories import Trajectories

ClustererConfig = Annotated[KMeans | Hdbscan | Trajectories | ProjectedGradients, Field(discriminator="type")]

__all__ = ["Clusterer", "ClustererConfig", "Clustering", "Hdbscan", "KMeans", "ProjectedGradients", "Trajectories"]
