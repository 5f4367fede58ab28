"""Files that a child process reads, named by their content so that equal inputs make equal, resumable jobs."""

import os
import time
from pathlib import Path

import polars as pl

from pref_assets.content import content_hash
from pref_assets.home import Home

KEEP_SECONDS = 7 * 24 * 3600
"""An input is needed only while its job may be resumed."""


def write_input(home: Home, frame: pl.DataFrame, key: str) -> str:
    """The frame as a Parquet file, its rows ordered by ``key``; written in one step."""
    folder = home.work / "inputs"
    path = folder / f"{content_hash(frame)}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        frame.sort(key).write_parquet(temporary)
        temporary.replace(path)
    os.utime(path)
    return str(path)


def forget_old_inputs(home: Home) -> list[Path]:
    """Removes inputs that no job has used for a week; the files removed."""
    limit = time.time() - KEEP_SECONDS
    old = [path for path in (home.work / "inputs").glob("*") if path.stat().st_mtime < limit]
    for path in old:
        path.unlink(missing_ok=True)
    return old
