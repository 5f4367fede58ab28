"""The I/O managers in a small graph: batches, all batches, lazy and optional inputs, folder pointers."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pref_assets.content import ContentHasher, content_hash
from pref_assets.pairs.schema import (
    PAIR_SCORES,
    RAW,
)
from pref_assets.pipeline.assets.common import table_result
from pref_assets.resources.folders import Folder, Folders
from pref_assets.resources.tables import DeltaTables
from pref_assets.tables import MissingTableError, Versioned

BATCHES = dg.DynamicPartitionsDefinition(name="batches")


@dg.asset(partitions_def=BATCHES, metadata={"table": RAW.name}, key=["p", "raw", "s"])
def raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult[pl.DataFrame]:
    frame = RAW.frame([{"row": 1, "batch": context.partition_key, "payload": context.partition_key}])
    return dg.MaterializeResult(value=frame, data_version=dg.DataVersion(content_hash(frame)))


@dg.asset(ins={"rows": dg.AssetIn(["p", "raw", "s"])}, partitions_def=BATCHES, metadata={"table": RAW.name})
def same_batch(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


@dg.asset(ins={"rows": dg.AssetIn(["p", "raw", "s"])}, metadata={"table": PAIR_SCORES.name})
def all_batches(rows: pl.LazyFrame) -> pl.DataFrame:
    assert isinstance(rows, pl.LazyFrame)
    return PAIR_SCORES.frame({"pair_id": each} for each in rows.collect()["payload"])


@dg.asset(metadata={"table": PAIR_SCORES.name}, ins={"scores": dg.AssetIn("all_batches")})
def maybe(scores: pl.DataFrame | None) -> pl.DataFrame:
    return PAIR_SCORES.frame([{"pair_id": "nothing yet"}]) if scores is None else scores


@dg.asset
def unlabelled() -> pl.DataFrame:
    return pl.DataFrame({"x": [1]})


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


@pytest.fixture
def run(tmp_path: Path, instance: dg.DagsterInstance) -> Any:
    everything = [raw, same_batch, all_batches, maybe, unlabelled]
    resources = {"io_manager": DeltaTables(home=str(tmp_path))}

    def materialize(*assets: dg.AssetsDefinition, **more: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(everything, selection=list(assets), instance=instance, resources=resources, **more)

    return materialize


def test_batches_are_written_alone_and_read_alone_or_together(run: Any, instance: Any, tmp_path: Path) -> None:
    instance.add_dynamic_partitions("batches", ["one", "two", "three"])
    for batch in ("one", "two"):
        assert run(raw, same_batch, partition_key=batch).success
    done = run(all_batches)
    assert done.output_for_node("all_batches")["pair_id"].sort().to_list() == ["one", "two"]
    store = DeltaTables(home=str(tmp_path)).store
    assert store.read(["p", "raw", "s"], batch="one")["payload"].to_list() == ["one"]
    assert store.read(["same_batch"], batch="two")["payload"].to_list() == ["two"]


def test_rows_of_a_removed_partition_are_no_longer_read(run: Any, instance: Any) -> None:
    instance.add_dynamic_partitions("batches", ["one", "two"])
    for batch in ("one", "two"):
        run(raw, partition_key=batch)
    instance.delete_dynamic_partition("batches", "two")
    assert run(all_batches).output_for_node("all_batches")["pair_id"].to_list() == ["one"]


def test_metadata_says_where_and_which_version(run: Any, instance: Any, tmp_path: Path) -> None:
    instance.add_dynamic_partitions("batches", ["one"])
    for written in (True, False):
        (event,) = run(raw, partition_key="one").asset_materializations_for_node("p__raw__s")
        values = {name: value.value for name, value in event.metadata.items()}
        assert values["dagster/uri"] == str(tmp_path / "tables/p/raw/s")
        assert values["delta_version"] == 0
        assert values["written"] is written
        assert values["content_hash"] == event.tags["dagster/data_version"]


@pytest.mark.parametrize("staged", [False, True])
def test_a_table_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: bool) -> None:
    hashed: list[int] = []
    add = ContentHasher.add

    def counted(self: ContentHasher, frame: pl.DataFrame) -> None:
        hashed.append(frame.height)
        add(self, frame)

    monkeypatch.setattr(ContentHasher, "add", counted)
    frame = PAIR_SCORES.frame([{"pair_id": "b"}, {"pair_id": "a"}])
    tables = DeltaTables(home=str(tmp_path))

    @dg.asset(metadata={"table": PAIR_SCORES.name})
    def scores() -> dg.MaterializeResult[Any]:
        return table_result(tables.store.stage(PAIR_SCORES, [frame]) if staged else frame, PAIR_SCORES)

    done = dg.materialize([scores], resources={"io_manager": tables})
    (event,) = done.asset_materializations_for_node("scores")
    assert hashed == [2]
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == event.metadata["content_hash"].value
    assert event.metadata["dagster/row_count"].value == 2
    assert tables.store.snapshot(["scores"]).content_hash == event.metadata["content_hash"].value
    assert tables.store.read(["scores"])["pair_id"].to_list() == ["a", "b"]


def test_a_versioned_input_keeps_its_rows_when_the_table_is_written_meanwhile(tmp_path: Path) -> None:
    tables = DeltaTables(home=str(tmp_path))
    old, new = (PAIR_SCORES.frame([{"pair_id": each}]) for each in ("old", "new"))
    first = tables.store.write(["scores"], old, PAIR_SCORES)
    seen: list[Versioned] = []

    @dg.asset(metadata={"table": PAIR_SCORES.name})
    def scores() -> pl.DataFrame:
        return new

    @dg.asset(metadata={"table": PAIR_SCORES.name})
    def pinned(scores: Versioned) -> pl.DataFrame:
        tables.store.write(["scores"], new, PAIR_SCORES)
        seen.append(scores)
        return scores.rows.collect()

    done = dg.materialize([scores, pinned], selection=[pinned], resources={"io_manager": tables})
    assert done.output_for_node("pinned").equals(old)
    assert (seen[0].snapshot.version, seen[0].snapshot.content_hash) == (first.version, first.content_hash)
    assert tables.store.read(["scores"]).equals(new)


def test_an_optional_input_may_be_missing_and_others_may_not(run: Any, instance: Any) -> None:
    assert run(maybe).output_for_node("maybe")["pair_id"].to_list() == ["nothing yet"]
    with pytest.raises(MissingTableError, match=re.escape("no batch is registered yet")):
        run(all_batches)
    instance.add_dynamic_partitions("batches", ["one"])
    with pytest.raises(MissingTableError, match=re.escape("no such table; materialize the asset")):
        run(all_batches)


def test_a_frame_needs_a_named_table(run: Any) -> None:
    with pytest.raises(ValueError, match=re.escape("asset unlabelled: set `metadata={'table': <name>}`")):
        run(unlabelled)


def test_a_folder_asset_is_a_pointer(tmp_path: Path) -> None:
    target = tmp_path / "checkpoints" / "v1"

    @dg.asset(io_manager_key="folders", key=["p", "checkpoints", "dpo"])
    def checkpoint() -> Folder:
        return Folder(str(target), "v1", "abc")

    @dg.asset(ins={"folder": dg.AssetIn(["p", "checkpoints", "dpo"])}, metadata={"table": PAIR_SCORES.name})
    def evaluation(folder: Folder) -> pl.DataFrame:
        return PAIR_SCORES.frame([{"pair_id": folder.version}])

    resources = {"folders": Folders(home=str(tmp_path)), "io_manager": DeltaTables(home=str(tmp_path))}
    with pytest.raises(TypeError, match=re.escape("must return an existing Folder")):
        dg.materialize([checkpoint, evaluation], resources=resources)
    target.mkdir(parents=True)
    assert dg.materialize([checkpoint, evaluation], resources=resources).output_for_node("evaluation").height == 1
    pointer = tmp_path / "tables/p/checkpoints/dpo.json"
    assert json.loads(pointer.read_text()) == {"path": "checkpoints/v1", "version": "v1", "data_version": "abc"}
    assert [path.name for path in pointer.parent.iterdir()] == ["dpo.json"]
    target.rmdir()
    with pytest.raises(MissingTableError, match=re.escape("is gone; materialize it again")):
        dg.materialize([checkpoint, evaluation], selection=[evaluation], resources=resources)


def test_a_home_can_be_moved(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "checkpoints" / "p" / "one" / "v1"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()

    @dg.asset(key=["p", "checkpoints", "one"], io_manager_key="folders")
    def inside() -> Folder:
        return Folder(str(folder), "v1", "hash")

    @dg.asset(key=["p", "checkpoints", "two"], io_manager_key="folders")
    def outside() -> Folder:
        return Folder(str(tmp_path / "elsewhere"), "v1", "hash")

    assert dg.materialize([inside, outside], resources={"folders": Folders(home=str(tmp_path / "home"))}).success
    moved = (tmp_path / "home").rename(tmp_path / "moved")
    found = Folders(home=str(moved))
    assert found.load(inside.key).path == str(moved / "checkpoints" / "p" / "one" / "v1")
    assert found.load(outside.key).path == str(tmp_path / "elsewhere")
