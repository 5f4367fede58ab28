"""The data version of a table: a hash of its rows that neither their order nor the way they arrive changes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl


class ContentHasher:
    """Data version of rows that arrive in parts: the same for the same rows, whatever their order and the parts.

    Each row is hashed by itself (sha256 of its JSON, cut to 16 bytes); the whole is the sha256 of the columns and the
    sorted row hashes, so repeated rows count. Memory: 16 bytes a row. Floats are hashed as text, which keeps NaN and
    infinities apart from null; JSON would not.
    """

    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        self._schema = dict(schema)
        self._hashes: list[bytes] = []
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Adds the rows of a frame that has exactly the schema. Raises ``ValueError`` when it has another."""
        if dict(frame.schema) != self._schema:
            raise ValueError(f"a frame with columns {dict(frame.schema)}, where {self._schema} were expected")
        whole = pl.struct(pl.col(name).cast(_spelled(dtype)) for name, dtype in self._schema.items())
        for part in frame.iter_slices(_HASHED_ROWS):
            rows = part.select(whole.struct.json_encode().cast(pl.Binary)).to_series()
            self._hashes.append(b"".join([hashlib.sha256(row).digest()[:_HASH_BYTES] for row in rows]))
        self.rows += frame.height

    def hexdigest(self) -> str:
        """The hash, 32 hex characters."""
        hasher = hashlib.sha256(json.dumps([(n, str(t)) for n, t in self._schema.items()]).encode())
        rows = np.frombuffer(b"".join(self._hashes), dtype=f"S{_HASH_BYTES}")
        hasher.update(np.sort(rows).tobytes())
        return hasher.hexdigest()[:32]


_HASHED_ROWS = 20_000
_HASH_BYTES = 16


def _spelled(dtype: Any) -> Any:
    """The type with text in place of floats, at any depth."""
    if isinstance(dtype, pl.List):
        return pl.List(_spelled(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_spelled(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _spelled(field.dtype) for field in dtype.fields})
    return pl.String if dtype.is_float() else dtype


def content_hash(frame: pl.DataFrame) -> str:
    """``ContentHasher`` of one frame."""
    hasher = ContentHasher(frame.schema)
    hasher.add(frame)
    return hasher.hexdigest()
