"""What was computed from which rows: the versions that Dagster recorded with every materialization."""

from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.data_version import extract_data_provenance_from_entry, extract_data_version_from_entry

from pref_assets.home import Home
from pref_assets.lineage.impact import Computed, History
from pref_assets.lineage.rows import manifests
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pipeline.naming import asset_key

_LOOKED_AT = 1000
"""Materializations of a subset, or a checkpoint, among which a version is looked for."""
_FOLLOWED = ("scores", "reward_models", "reference_logps", "checkpoints")
"""Stages through which withdrawn pairs reach what does not hold them."""


def history(instance: dg.DagsterInstance, home: Home, pipeline: str, at: datetime | None = None) -> History:
    """Which rows the versions of a pipeline were computed from, as Dagster recorded it.

    Args:
        instance, home, pipeline: what to look at.
        at: the moment of the withdrawal; the present by default.
    """
    tables = PipelineTables.open(home, pipeline)
    known = _Known(instance, tables)
    moment = (at or datetime.now(UTC)).timestamp()
    keys = [asset_key(pipeline, stage, name) for stage in ("subsets", "evaluations") for name in tables.names(stage)]
    found = [manifest for _, manifest in manifests(home, pipeline)]
    trained = {name: known.trained(asset_key(pipeline, "checkpoints", name)) for name in {each.name for each in found}}
    return History(
        before=tuple(known.computed(each) for key in keys if (each := known.latest(key, moment)) is not None),
        now=tuple(known.computed(each) for key in keys if (each := known.latest(key)) is not None),
        subsets={
            (name, version): made
            for name, version in {(each.subset.key[-1], each.subset.data_version) for each in found}
            if (made := known.subset(asset_key(pipeline, "subsets", name), version)) is not None
        },
        checkpoints={name: str(versions[0].checkpoint) for name, versions in trained.items() if versions},
        trained={(name, str(each.checkpoint)): each for name, versions in trained.items() for each in versions[::-1]},
    )


class _Known:
    """Materializations and what they say they read."""

    def __init__(self, instance: dg.DagsterInstance, tables: PipelineTables) -> None:
        self._instance = instance
        self._tables = tables
        self._computed: dict[int, Computed] = {}

    def latest(self, key: dg.AssetKey, before: float | None = None) -> dg.EventLogRecord | None:
        wanted = dg.AssetRecordsFilter(asset_key=key, before_timestamp=before)
        return next(iter(self._instance.fetch_materializations(wanted, limit=1).records), None)

    def subset(self, key: dg.AssetKey, version: str) -> Computed | None:
        """The newest materialization with a data version."""
        for record in self._instance.fetch_materializations(key, limit=_LOOKED_AT).records:
            found = extract_data_version_from_entry(record.event_log_entry)
            if found is not None and found.value == version:
                return self.computed(record)
        return None

    def trained(self, key: dg.AssetKey) -> list[Computed]:
        """Materializations of a checkpoint, the newest first."""
        return [self.computed(each) for each in self._instance.fetch_materializations(key, limit=_LOOKED_AT).records]

    def computed(self, record: dg.EventLogRecord) -> Computed:
        """An event's asset and, by the data versions of its inputs, the versions of the tables that it read."""
        if record.storage_id not in self._computed:
            self._computed[record.storage_id] = self._read(record)
        return self._computed[record.storage_id]

    def _read(self, record: dg.EventLogRecord) -> Computed:
        found = record.asset_materialization
        assert found is not None
        _, stage, name = found.asset_key.path
        provenance = extract_data_provenance_from_entry(record.event_log_entry)
        versions = {} if provenance is None else dict(provenance.input_data_versions)
        pairs = versions.get(asset_key(self._tables.pipeline, "pairs", "pairs"))
        own, trained = found.metadata.get("delta_version"), found.metadata.get("version")
        return Computed(
            stage,
            name,
            datetime.fromtimestamp(record.timestamp, UTC).isoformat(timespec="seconds"),
            version=own.value if isinstance(own, dg.IntMetadataValue) else None,
            checkpoint=str(trained.value) if stage == "checkpoints" and trained is not None else None,
            pairs=None
            if pairs is None
            else self._version(asset_key(self._tables.pipeline, "pairs", "pairs"), pairs.value),
            inputs=tuple(
                self.computed(each)
                for key in sorted(versions)
                if key.path[1] in _FOLLOWED
                and provenance is not None
                and (each := self._at(key, provenance.input_storage_ids.get(key))) is not None
            ),
        )

    def _version(self, key: dg.AssetKey, content: str) -> int | None:
        return self._tables.store.version_of(key.path, content)

    def _at(self, key: dg.AssetKey, storage_id: int | None) -> dg.EventLogRecord | None:
        if storage_id is None:
            return None
        wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=[storage_id])
        return next(iter(self._instance.fetch_materializations(wanted, limit=1).records), None)
