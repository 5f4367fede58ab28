"""The tables of one pipeline as they lie in a home, found by their folders: lineage needs no pipeline file."""

from dataclasses import dataclass

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.pairs.schema import Table
from pref_assets.tables import TableStore


@dataclass(frozen=True)
class PipelineTables:
    """Read access to ``tables/<pipeline>/<stage>/<name>``, newest versions."""

    home: Home
    pipeline: str

    @classmethod
    def open(cls, home: Home, pipeline: str) -> "PipelineTables":
        """Raises ``UnknownQueryError`` when the pipeline has no tables in this home."""
        found = cls(home, pipeline)
        if not (home.tables / pipeline).is_dir():
            known = ", ".join(sorted(p.name for p in home.tables.glob("*") if p.is_dir())) or "none"
            raise UnknownQueryError(
                f"pipeline {pipeline!r} has no tables in {home.root} (pipelines there: {known}); run it first"
            )
        return found

    @property
    def store(self) -> TableStore:
        return TableStore(self.home.tables)

    def names(self, stage: str, suffix: str = "") -> list[str]:
        """Names of the tables of a stage that end with ``suffix``, sorted."""
        folders = sorted((self.home.tables / self.pipeline / stage).glob(f"*{suffix}"))
        return [folder.name for folder in folders if self.store.exists((self.pipeline, stage, folder.name))]

    def scan(self, stage: str, name: str, table: Table) -> pl.LazyFrame:
        """The table; an empty one of the right columns where nothing was materialized yet."""
        key = (self.pipeline, stage, name)
        return self.store.scan(key) if self.store.exists(key) else table.empty().lazy()


def filled(frame: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """A stored table with every column that it has today: null where the version was written before there was one."""
    stored = set(frame.collect_schema().names())
    return frame.with_columns(
        pl.lit(None, column.dtype).alias(name) for name, column in table.columns.items() if name not in stored
    )
