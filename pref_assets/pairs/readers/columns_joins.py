"""Files joined to the rows of a source: loaded once, looked up by key."""

import json
from functools import lru_cache
from typing import Any

from pref_assets.pairs.locations import LocationError, file_hashes, find_files
from pref_assets.pairs.readers.columns_blocks import Join
from pref_assets.pairs.readers.columns_expressions import evaluate, scope_of
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.reading import UnreadableError, json_type, read_rows

MAX_TABLES = 8
"""Joined tables kept in memory between batches."""


class Joined:
    """Rows of a joined file by key; ``table[key]`` in expressions."""

    def __init__(self, name: str, location: str, many: bool) -> None:
        self._name, self._location, self._many = name, location, many
        self._rows: dict[str, list[Any]] = {}

    def __getitem__(self, key: Any) -> Any:
        """The row of the key, or with ``many`` its rows. Raises ``BadRowError`` ``not_joined`` when there is none."""
        rows = self._rows.get(_key(key))
        if rows is None:
            raise BadRowError("not_joined", f"`{self._name}` ({self._location}) has no row with the key {key!r}")
        return rows if self._many else rows[0]

    def __contains__(self, key: object) -> bool:
        return _key(key) in self._rows

    def add(self, key: Any, row: dict[str, Any], where: str) -> None:
        """Adds a row. Raises ``UnreadableError`` for a second one with the same key unless there may be many."""
        rows = self._rows.setdefault(_key(key), [])
        if rows and not self._many:
            raise UnreadableError(f"{where}: joined table `{self._name}` has a second row with the key {key!r}; set "
                                  "`many: true` where keys repeat")  # fmt: skip
        rows.append(row)


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadRowError("wrong_type", f"a key is a {json_type(value)}, expected text or a whole number")


def joined(name: str, join: Join) -> Joined:
    """The joined table; read again only when a file of it changed.

    Raises:
        UnreadableError: a row cannot be read or has no key, or a key repeats.
        LocationError, OSError: nothing is there.
    """
    return _load(name, join.location, join.key, join.many, fingerprint(join))


def fingerprint(join: Join) -> tuple[tuple[str, str], ...]:
    """Uri and SHA-256 of every file, sorted. Raises ``LocationError`` when nothing is there."""
    found = file_hashes(join.location)
    if not found:
        raise LocationError(f"{join.location}: no data file here to join")
    return found


@lru_cache(maxsize=MAX_TABLES)
def _load(name: str, location: str, key: str, many: bool, files: tuple[tuple[str, str], ...]) -> Joined:
    table = Joined(name, location, many)
    for uri, path in find_files(location):
        rows = read_rows(path, uri, name, "")
        for number, payload, reason in rows.select("row", "payload", "reason").iter_rows():
            where = f"{uri}, row {number}"
            if reason is not None:
                raise UnreadableError(f"joined table `{name}`: {reason}")
            row = json.loads(payload)
            try:
                table.add(evaluate(key, scope_of(row, uri, {}), f"joins.{name}.key"), row, where)
            except BadRowError as error:
                raise UnreadableError(f"joined table `{name}`: {where}: {error}") from error
    return table
