"""Broken files and rows of every kind, each with what reading it must say; for anyone who reads preference data.

The folder that ``write_cases`` makes holds ``files/``, one file a kind in TRL's preference format (``prompt``,
``chosen``, ``rejected``), and ``manifest.json``: for every kind its file, what is wrong with it, which rows are sound,
which must be refused with which code, or the words of the one error that refuses the whole file.
"""

import json
from pathlib import Path
from typing import Any

from pref_assets.synthesis.broken import archives, files, places, rows, tables
from pref_assets.synthesis.broken.case import Bad, Case, Good

CASES: tuple[Case, ...] = (*rows.CASES, *files.CASES, *tables.CASES, *archives.CASES, *places.CASES)
FILES = "files"
MANIFEST = "manifest.json"

__all__ = ["CASES", "FILES", "MANIFEST", "Bad", "Case", "Good", "write_cases"]


def write_cases(folder: Path) -> Path:
    """Makes every file in a new or empty folder, and gives the manifest's path.

    Raises:
        FileExistsError: the folder holds something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name a new folder")
    (folder / FILES).mkdir()
    for case in CASES:
        case.write(folder / FILES / case.file)
    manifest = folder / MANIFEST
    shown: list[dict[str, Any]] = [case.manifest() for case in CASES]
    manifest.write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n")
    return manifest
