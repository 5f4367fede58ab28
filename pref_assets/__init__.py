"""Preference data as software-defined assets: raw pairs to evaluated checkpoints, one lineage graph."""

__version__ = "0.1.0"
