"""Where heavy work runs: as a child here, on several devices, on a Ray cluster, in a pod, or in this process."""

from pref_assets.resources.compute.choice import compute_from
from pref_assets.resources.compute.resource import Compute, Context

__all__ = ["Compute", "Context", "compute_from"]
