"""Inputs that are read only as far as they are used, whatever the annotation of the parameter."""

import dagster as dg
import polars as pl

from pref_assets.resources.tables import DeltaTables


class LazyTables(DeltaTables):
    """Loads every table input as a ``pl.LazyFrame``; for steps whose inputs have no parameter of their own."""

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """The whole table, or the batches of the input's partitions, not yet read."""
        return self._scan(context)
