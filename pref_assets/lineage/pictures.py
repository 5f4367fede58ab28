"""The images of a prompt: where they are, and how large."""

from collections.abc import Iterable
from pathlib import Path

from pref_assets.home import Home
from pref_assets.lineage.model import Picture
from pref_assets.pairs.media import MEDIA, MediaStore


def pictures(home: Home, uris: Iterable[str]) -> list[Picture]:
    """Each image with its file and size; one that is not on this machine, or cannot be opened, says so."""
    return [_picture(MediaStore(home.media), uri) for uri in uris]


def _picture(media: MediaStore, uri: str) -> Picture:
    from PIL import Image

    if uri.startswith(("http://", "https://")):
        return Picture(uri, problem="not on this machine")
    try:
        path = media.path(uri) if uri.startswith(MEDIA) else Path(uri)
        with Image.open(path) as image:
            width, height = image.size
        return Picture(uri, str(path), width, height, path.stat().st_size)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return Picture(uri, problem=str(error).removeprefix(f"{uri}: "))
