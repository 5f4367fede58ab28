"""``python -m pref_assets.synthesis.broken --out folder``: makes broken files of every kind."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pref_assets.synthesis.broken import CASES, FILES, write_cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files and says what was written; 1 when the folder is not empty."""
    parser = argparse.ArgumentParser(
        prog="python -m pref_assets.synthesis.broken",
        description=f"Writes {len(CASES)} broken or odd files of preference data, and what reading each must say.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made when missing")
    folder = parser.parse_args(arguments).out
    try:
        manifest = write_cases(folder)
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 1
    rows = sum(len(case.bad) for case in CASES)
    whole = sum(case.error is not None for case in CASES)
    print(f"{len(CASES)} files in {folder / FILES}: {rows} rows to refuse, {whole} files to refuse whole; {manifest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
