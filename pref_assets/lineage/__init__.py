"""Lineage: where a row came from and what it did, read from tables and manifests alone."""
