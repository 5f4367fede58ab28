"""Images that rows name: found in a folder or a zip archive, checked, and stored by content."""

import base64
import binascii
import io
import posixpath
import zipfile
from collections.abc import Sequence
from pathlib import Path

from pref_assets.models.reference import PACKAGE, package_path
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.readers.record import BadRowError

_DATA = "data:"
_ELSEWHERE = ("http://", "https://", "s3://", "gs://", "az://")
_READ_ERRORS = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError)


class ImagesError(FileNotFoundError):
    """The folder or archive of images is not there; the message says where it was looked for."""


class Images:
    """Turns the names of images into ``media://`` uris, each file read and checked once.

    Names are relative to the folder or to the archive's root, or absolute inside the folder. ``data:`` uris are
    decoded, ``media://`` uris and web addresses stay what they are.
    """

    def __init__(self, location: str | None, media: MediaStore) -> None:
        """Raises ``ImagesError`` when the location does not exist."""
        self._media = media
        self._location = location
        self._found: dict[str, str] = {}
        self._archive: zipfile.ZipFile | None = None
        self._folder: Path | None = None
        if location is None:
            return
        root = package_path(location) if location.startswith(PACKAGE) else Path(location).expanduser()
        if root.is_dir():
            self._folder = root
        elif zipfile.is_zipfile(root):
            self._archive = zipfile.ZipFile(root)
        else:
            raise ImagesError(f"{location}: no folder or zip archive of images (looked at {root.absolute()})")

    def stored(self, names: Sequence[str]) -> list[str]:
        """The uris of a row's images. Raises ``BadRowError`` with ``missing_image`` or ``broken_image``."""
        return [self._found.get(name) or self._store(name) for name in names]

    def _store(self, name: str) -> str:
        if name.startswith(_DATA):
            return self._media.put(_checked(_decoded(name), name[:40]))
        if self._location is None or name.startswith((MEDIA, *_ELSEWHERE)):
            return name
        uri = self._media.put(_checked(self._read(name), name))
        self._found[name] = uri
        return uri

    def _read(self, name: str) -> bytes:
        try:
            if self._archive is not None:
                return self._archive.read(self._inside(name))
            assert self._folder is not None
            return (self._folder / self._inside(name)).read_bytes()
        except (KeyError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise BadRowError("missing_image", f"image {name!r} is not in {self._location}") from None
        except _READ_ERRORS as error:
            raise BadRowError("broken_image", f"image {name!r} in {self._location} cannot be read ({error})") from error

    def _inside(self, name: str) -> str:
        """The name relative to the root. Raises ``missing_image`` for one that leads out of it."""
        plain = name.removeprefix("file://").replace("\\", "/")
        if self._folder is not None and plain.startswith("/"):
            plain = posixpath.relpath(plain, self._folder.absolute().as_posix())
        plain = posixpath.normpath(plain)
        if plain.startswith(("/", "../")) or plain == ".." or "\0" in plain:
            raise BadRowError("missing_image", f"image {name!r} leads out of {self._location}")
        return plain


def _decoded(uri: str) -> bytes:
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise BadRowError("broken_image", f"image `{head[:40]}…` is no base64 data")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadRowError("broken_image", f"image `{head[:40]}…` is no base64 data ({error})") from error


def _checked(data: bytes, name: str) -> bytes:
    """The bytes of an image that can be decoded whole. Raises ``broken_image``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            # A JPEG is decoded at an eighth of its size, which still reads all of it.
            image.draft(None, (1, 1))
            image.load()
    except UnidentifiedImageError:
        raise BadRowError("broken_image", f"image {name!r} is no image that can be read ({len(data)} bytes)") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise BadRowError("broken_image", f"image {name!r} is damaged ({error})") from error
    return data
