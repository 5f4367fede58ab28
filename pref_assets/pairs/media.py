"""Images and other binary values, stored once by content beside the tables."""

import hashlib
import os
import re
from pathlib import Path

MEDIA = "media://"
_URI = re.compile(r"media://(?P<digest>[0-9a-f]{64})\.(?P<suffix>[a-z0-9]{2,5})")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"%PDF", "pdf"),
    (b"FLV\x01", "flv"),
    (b"\x00\x00\x01\xba", "mpg"),
)
_RIFF = {b"WEBP": "webp", b"WAVE": "wav", b"AVI ": "avi"}
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heic"}
"""Images in the container that MP4 has, by the brand in its first box."""


class MediaError(FileNotFoundError):
    """A media uri that is none, or whose content is not in the store."""


class MediaStore:
    """Files named by the SHA-256 of their content: ``<root>/<first two digits>/<digest>.<suffix>``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, data: bytes) -> str:
        """Stores the bytes, once, and gives ``media://<sha256>.<suffix>``; the suffix says what they begin like."""
        name = f"{hashlib.sha256(data).hexdigest()}.{suffix(data)}"
        path = self._root / name[:2] / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{name}.{os.getpid()}.{id(data):x}.tmp")
            temporary.write_bytes(data)
            temporary.replace(path)
        return MEDIA + name

    def path(self, uri: str) -> Path:
        """The file behind a media uri. Raises ``MediaError`` when the store has none."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise MediaError(f"{uri}: a media uri is media://<sha256>.<suffix>")
        path = self._root / match["digest"][:2] / uri.removeprefix(MEDIA)
        if not path.is_file():
            raise MediaError(f"{uri}: not in the media store at {self._root}; read the source again")
        return path


def suffix(data: bytes) -> str:
    """The usual suffix of what the bytes begin like, ``bin`` when that is unknown."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "bin")
    return _BRANDS.get(data[8:12], "mp4") if data[4:8] == b"ftyp" else "bin"
