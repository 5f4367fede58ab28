"""Things under the name of a data file that are no files, and rows whose images are not there."""

import os
from pathlib import Path

from pref_assets.synthesis.broken.case import Case, bad, good, good_line, lines

_FOLDER = "images"


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("not_here.jsonl.away")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _pictures(path: Path) -> None:
    """Rows whose images are sound, missing, cut, no images, and outside of the folder, beside that folder."""
    from PIL import Image

    folder = path.parent / _FOLDER
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "sound.png")
    whole = (folder / "sound.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "page.png").write_bytes(b"<html>404</html>")
    names = ("sound.png", "missing.png", "cut.png", "page.png", f"../{path.name}", "sound.png")
    path.write_bytes(lines(good_line(number, images=[name]) for number, name in enumerate(names, 1)))


CASES = (
    Case("loop.jsonl", "a link that leads back to itself", _loop, error="leads back to itself"),
    Case("dangling.jsonl", "a link to nothing", _nowhere, error="not there"),
    Case("pipe.jsonl", "a pipe, which would wait for ever", _pipe, error="no regular file"),
    Case(
        "pictures.jsonl",
        "images that are missing, damaged or outside of their folder",
        _pictures,
        good(1, 6),
        (*bad("missing_image", 2, 5), *bad("broken_image", 3, 4)),
        settings={"image_folder": _FOLDER},
    ),
)
