"""Reads a Croissant file with the reference implementation and says what it found, as JSON. A process of its own: the
library's logging takes hold of the standard streams, which a test runner replaces."""

import json
import socket
import sys
from typing import Any


def refused(*_: object) -> None:
    raise OSError("no network in tests")


def plain(value: Any) -> Any:
    """What a record holds, without bytes and arrays."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def main(path: str) -> None:
    import mlcroissant

    socket.socket.connect = refused  # type: ignore[assignment,method-assign]
    loaded = mlcroissant.Dataset(jsonld=path)
    found = {
        "conforms_to": loaded.metadata.ctx.conforms_to.value,
        "errors": sorted(loaded.metadata.ctx.issues.errors),
        "record_sets": [one.id for one in loaded.metadata.record_sets],
        "sha256": [one.sha256 for one in loaded.metadata.file_objects],
        "pairs": [plain(row) for row in loaded.records("pairs")],
        "prompts": [plain(row) for row in loaded.records("prompts")],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
