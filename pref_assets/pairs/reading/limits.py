"""How far reading goes before it calls a row or a file broken."""

from pydantic import Field

from pref_assets.settings import Settings

MIB = 1 << 20


class ReadingLimits(Settings):
    """Bounds that keep the memory of reading independent of what a file holds."""

    max_row_bytes: int = Field(default=64 * MIB, ge=1024)
    """A longer row goes to quarantine as `too_long`; bytes."""
    max_depth: int = Field(default=100, ge=1, le=900)
    """A row whose lists and objects are nested deeper is `not_json`; levels."""
    kept_bytes: int = Field(default=100_000, ge=100)
    """Of a refused row, this much is kept in quarantine; bytes."""
    chunk_bytes: int = Field(default=64 * MIB, ge=1024)
    """Rows of one chunk together, beyond which it ends before it is full; bytes."""
    max_expansion: float = Field(default=250.0, ge=1)
    """An archive that grows more than this many times when unpacked is refused as a bomb."""
    free_bytes: int = Field(default=256 * MIB, ge=0)
    """Unpacked size up to which an archive may grow by any factor; bytes."""
