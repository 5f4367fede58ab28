"""What withdrawals taint: subsets, checkpoints and evaluations that learned from, or measured on, withdrawn pairs.

Versions are judged by the rows that they were computed from, as the tables' history has them. What was computed from
which version is said by whoever asks (`pipeline.withdrawn` knows it of Dagster) and, of checkpoints, by manifests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.rows import manifests
from pref_assets.lineage.tables import PipelineTables
from pref_assets.lineage.withdrawal import Selector, Tombstones
from pref_assets.pairs.splits import TEST
from pref_assets.tables import TableError
from pref_assets.training.checkpoint import Manifest, pair_ids

State = Literal["unaffected", "clean", "tainted", "replaced", "unknown"]
FITTED = ("reward_models",)
"""Stages whose results hold something of every pair that they read."""


@dataclass(frozen=True)
class Computed:
    """A version of an asset, and what it was computed from.

    Attributes:
        stage, name: which asset.
        at: when, ISO 8601.
        version: of its own table; null where it has none.
        checkpoint: version of a checkpoint; null of other stages.
        pairs: version of the table of pairs that it read; null where it read none or that is not known.
        inputs: other assets that it read.
    """

    stage: str
    name: str
    at: str
    version: int | None = None
    checkpoint: str | None = None
    pairs: int | None = None
    inputs: tuple["Computed", ...] = ()


@dataclass(frozen=True)
class History:
    """What was computed when, of one pipeline.

    Attributes:
        before: the last version of each subset and evaluation before the withdrawals.
        now: the last version of all.
        subsets: for each subset and content hash that a manifest pins, the version that gave it.
        checkpoints: the version that is current of each checkpoint.
        trained: what each checkpoint was computed from, by name and version.
    """

    before: tuple[Computed, ...]
    now: tuple[Computed, ...]
    subsets: Mapping[tuple[str, str], Computed] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    trained: Mapping[tuple[str, str], Computed] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """What a version used of the data.

    Attributes:
        at: when it was computed, ISO 8601.
        pairs: pairs that it trains, trained or measures on; null where the version's rows are gone.
        tainted: of them, those that hold something withdrawn.
        through: what else brings withdrawn pairs in: reward models fitted to them, checkpoints trained on them, as a
            start, as a reference, or by scores that they gave.
        unknown: why the counts are not known.
    """

    at: str
    pairs: int | None
    tainted: int | None
    through: tuple[str, ...] = ()
    unknown: str | None = None

    @property
    def is_tainted(self) -> bool:
        return bool(self.tainted or self.through)


@dataclass(frozen=True)
class Affected:
    """A subset, an evaluation, or a version of a checkpoint.

    Attributes:
        before: its last version before the withdrawals; of a checkpoint, the version itself.
        now: what it is now; of a checkpoint, its current version.
        state: ``unaffected``: nothing withdrawn was in it; ``clean``: it was tainted and has been computed anew;
            ``tainted``: it must be; ``replaced``: a checkpoint that is tainted, as every version stays, but no longer
            the current one; ``unknown``: the rows it was computed from are gone.
    """

    stage: str
    name: str
    version: str | None
    before: Use | None
    now: Use | None
    state: State


@dataclass(frozen=True)
class Impact:
    pipeline: str
    selectors: tuple[str, ...]
    subsets: tuple[Affected, ...]
    checkpoints: tuple[Affected, ...]
    evaluations: tuple[Affected, ...]

    @property
    def all(self) -> tuple[Affected, ...]:
        return self.subsets + self.checkpoints + self.evaluations


def impact(home: Home, pipeline: str, selectors: Sequence[Selector], history: History) -> Impact:
    """What the selectors taint, before and now.

    Pairs are tainted when any of their rows, votes, prompt or sides is withdrawn. A subset or evaluation uses the pairs
    that it selects or, of the test split, measures; a checkpoint those it was trained on. Of a checkpoint that learned
    from critiques, pairs are tainted as well by what was said of their answers.

    Raises:
        UnknownQueryError: the pipeline has no tables.
    """
    judge = _Judge(PipelineTables.open(home, pipeline), Tombstones(selectors))
    checkpoints = tuple(_checkpoints(judge, home, pipeline, history))
    subsets = tuple(_table(judge.subset, *each) for each in _both(history, "subsets"))
    evaluations = tuple(_table(judge.evaluation, *each) for each in _both(history, "evaluations"))
    return Impact(pipeline, tuple(str(each) for each in selectors), subsets, checkpoints, evaluations)


def _both(history: History, stage: str) -> Iterator[tuple[str, str, Computed | None, Computed | None]]:
    before, now = ({each.name: each for each in made if each.stage == stage} for made in (history.before, history.now))
    for name in sorted(before.keys() | now.keys()):
        yield stage, name, before.get(name), now.get(name)


def _table(
    judge: Callable[[Computed], Use], stage: str, name: str, before: Computed | None, now: Computed | None
) -> Affected:
    then, current = (None if each is None else judge(each) for each in (before, now))
    return Affected(stage, name, None, then, current, _state(then, current))


def _state(before: Use | None, now: Use | None) -> State:
    if now is not None and now.is_tainted:
        return "tainted"
    if now is not None and now.unknown:
        return "unknown"
    if before is not None and before.is_tainted:
        return "clean"
    return "unknown" if before is not None and before.unknown else "unaffected"


def _checkpoints(judge: "_Judge", home: Home, pipeline: str, history: History) -> Iterator[Affected]:
    found = [(each, *judge.checkpoint(str(folder), each, history)) for folder, each in manifests(home, pipeline)]
    # What learned from a tainted checkpoint is tainted, and so is what learned from that.
    while (tainted := {_named(each) for each, _, use in found if use.is_tainted}) != judge.checkpoints:
        judge.checkpoints = tainted
        found = [(each, computed, replace(use, through=judge.through(computed))) for each, computed, use in found]
    uses = {(manifest.name, manifest.version): use for manifest, _, use in found}
    newest = {manifest.name: manifest.version for manifest, _, _ in found} | dict(history.checkpoints)
    for manifest, _, use in found:
        now = uses.get((manifest.name, newest[manifest.name]))
        current = manifest.version == newest[manifest.name]
        state = _state(use, use)
        if state == "tainted" and not current and now is not None and _state(now, now) == "unaffected":
            state = "replaced"
        yield Affected("checkpoints", manifest.name, manifest.version, use, now, state)


def _named(manifest: Manifest) -> str:
    """A version of a checkpoint, as ``<name>@<version>``."""
    return f"{manifest.name}@{manifest.version}"


class _Judge:
    """Counts what versions used; the tainted pairs of each version of the pairs are found once.

    Attributes:
        checkpoints: versions that are tainted, as ``<name>@<version>``.
    """

    def __init__(self, tables: PipelineTables, stones: Tombstones) -> None:
        self._tables = tables
        self._stones = stones
        self._found: dict[int, pl.Series | str] = {}
        self.checkpoints: set[str] = set()

    def subset(self, computed: Computed) -> Use:
        return self._use(computed, lambda: self._scan("subsets", computed.name, computed.version).filter("selected"))

    def evaluation(self, computed: Computed) -> Use:
        found = self._use(computed, lambda: self._held_out(computed))
        try:
            names = self._scan("evaluations", computed.name, computed.version).select("checkpoint", "version").unique()
            measured = [f"{name}@{version}" for name, version in names.collect().sort("checkpoint", "version").rows()]
        except _GONE as error:
            return replace(found, unknown=_said(error))
        through = tuple(f"checkpoints/{each}" for each in measured if each in self.checkpoints)
        return replace(found, through=tuple(dict.fromkeys(through + found.through)))

    def checkpoint(self, folder: str, manifest: Manifest, history: History) -> tuple[Computed, Use]:
        """What it was computed from, and what of the data it used."""
        ids = pl.LazyFrame({"pair_id": pl.Series(pair_ids(folder), dtype=pl.String)})
        pinned = manifest.tables.get("pairs")
        made = history.subsets.get((manifest.subset.key[-1], manifest.subset.data_version))
        trained = history.trained.get((manifest.name, manifest.version))
        inputs = tuple(each for known in (made, trained) if known is not None for each in known.inputs)
        computed = Computed(
            "checkpoints",
            manifest.name,
            manifest.created,
            pairs=None if pinned is None else pinned.delta_version,
            inputs=inputs,
        )
        return computed, self._criticised(self._use(computed, lambda: ids), manifest, ids)

    def _criticised(self, use: Use, manifest: Manifest, ids: pl.LazyFrame) -> Use:
        """The same of a checkpoint that learned from critiques: tainted is also what a withdrawn annotator said of an
        answer without a vote on it, or a withdrawn row said of one."""
        pins = [manifest.tables.get(name) for name in ("critiques", "completions", "pairs")]
        if use.tainted is None or None in pins:
            return use
        _, completions, pairs = (None if pin is None else pin.delta_version for pin in pins)
        try:
            answers = self._scan("pairs", "completions", completions).filter(self._stones.said_of())
            said = answers.select("completion_id").collect()["completion_id"].implode()
            trained = self._scan("pairs", "pairs", pairs).join(ids, on="pair_id", how="semi")
            sides = pl.col("chosen_id").is_in(said) | pl.col("rejected_id").is_in(said)
            return replace(use, tainted=trained.filter(sides | self._stones.pairs()).select(pl.len()).collect().item())
        except _GONE as error:
            return replace(use, tainted=None, pairs=None, unknown=_said(error))

    def _use(self, computed: Computed, pairs: Callable[[], pl.LazyFrame]) -> Use:
        through = self.through(computed)
        tainted = self._tainted(computed.pairs)
        if isinstance(tainted, str):
            return Use(computed.at, None, None, through, tainted)
        try:
            used = pairs().select("pair_id").collect()["pair_id"]
        except _GONE as error:
            return Use(computed.at, None, None, through, _said(error))
        return Use(computed.at, used.len(), int(used.is_in(tainted.implode()).sum()), through)

    def through(self, computed: Computed) -> tuple[str, ...]:
        """What brings withdrawn pairs into a version beside the pairs that it holds."""
        return tuple(dict.fromkeys(self._through(computed)))

    def _through(self, computed: Computed) -> Iterator[str]:
        for each in computed.inputs:
            if each.stage in FITTED and each.pairs is not None:
                tainted = self._tainted(each.pairs)
                if not isinstance(tainted, str) and tainted.len():
                    yield f"{each.stage}/{each.name}"
            if each.stage == "checkpoints":
                # What it learned from in its turn is its own account.
                if f"{each.name}@{each.checkpoint}" in self.checkpoints:
                    yield f"checkpoints/{each.name}@{each.checkpoint}"
            else:
                yield from self._through(each)

    def _tainted(self, version: int | None) -> pl.Series | str:
        """Ids of the tainted pairs of a version of the pairs; why not, where that cannot be said."""
        if version is None:
            return "no record says which version of the pairs it was computed from"
        if version not in self._found:
            try:
                rows = self._scan("pairs", "pairs", version).filter(self._stones.pairs()).select("pair_id")
                self._found[version] = rows.collect(engine="streaming")["pair_id"]
            except _GONE as error:
                self._found[version] = _said(error)
        return self._found[version]

    def _held_out(self, computed: Computed) -> pl.LazyFrame:
        rows = self._scan("pairs", "pairs", computed.pairs)
        return rows.filter(pl.col("split") == TEST, pl.col("p_chosen") != 0.5)

    def _scan(self, stage: str, name: str, version: int | None) -> pl.LazyFrame:
        if version is None:
            raise TableError(f"{stage}/{name}: no record says which version it is")
        return self._tables.store.scan((self._tables.pipeline, stage, name), version)


_GONE = (TableError, OSError, pl.exceptions.PolarsError)
"""What reading a version raises whose files somebody has vacuumed."""


def _said(error: Exception) -> str:
    return f"its rows cannot be read any more ({str(error).splitlines()[0]})"
