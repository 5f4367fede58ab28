"""Fixtures that several rooms use."""

from pref_assets_tests.lineage.conftest import small  # noqa: F401 (a filled home with two checkpoints)
