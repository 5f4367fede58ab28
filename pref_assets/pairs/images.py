"""Images that rows name: found in a folder or a zip archive, checked, and stored by content."""

import base64
import binascii
import io
import posixpath
import re
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pref_assets.models.reference import PACKAGE, package_path
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.readers.record import BadRowError

_DIGITS = re.compile(r"(\d+)")
_DATA = "data:"
_ELSEWHERE = ("http://", "https://", "s3://", "gs://", "az://")
_READ_ERRORS = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError)


class ImagesError(FileNotFoundError):
    """The folder or archive of images is not there; the message says where it was looked for."""


class Images:
    """Turns the names of images into ``media://`` uris, each file read and checked once.

    Names are relative to the folder or to the archive's root, or absolute inside the folder; the name of a folder
    stands for the images in it, the frames of a video in the order of their numbers. ``data:`` uris are decoded,
    ``media://`` uris and web addresses stay what they are.
    """

    def __init__(self, location: str | None, media: MediaStore) -> None:
        """Raises ``ImagesError`` when the location does not exist."""
        self._media = media
        self._location = location
        self._found: dict[str, list[str]] = {}
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
        return [uri for name in names for uri in self._found.get(name) or self._store(name)]

    def _store(self, name: str) -> list[str]:
        if name.startswith(_DATA):
            return [self._media.put(_checked(_decoded(name), name[:40]))]
        if self._location is None or name.startswith((MEDIA, *_ELSEWHERE)):
            return [name]
        plain = self._inside(name)
        uris = [self._media.put(_checked(self._read(each), each)) for each in self._frames(plain) or [plain]]
        self._found[name] = uris
        return uris

    def _frames(self, name: str) -> list[str]:
        """The files in the folder of this name; none where it is no folder, or the root itself."""
        if self._archive is not None:
            return sorted(self._archived.get(name, ()), key=_numbered)
        assert self._folder is not None
        folder = self._folder / name
        if name == "." or not folder.is_dir():
            return []
        files = [each.name for each in folder.iterdir() if each.is_file() and not each.name.startswith(".")]
        return sorted((posixpath.join(name, each) for each in files), key=_numbered)

    @cached_property
    def _archived(self) -> dict[str, list[str]]:
        """Files of the archive by their folder."""
        folders: dict[str, list[str]] = {}
        for each in self._archive.namelist() if self._archive else ():
            folder, _, file = each.rpartition("/")
            if file and not file.startswith("."):
                folders.setdefault(folder, []).append(each)
        return folders

    def _read(self, name: str) -> bytes:
        """The bytes of a file by its name relative to the root."""
        try:
            if self._archive is not None:
                return self._archive.read(name)
            assert self._folder is not None
            return (self._folder / name).read_bytes()
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


def _numbered(name: str) -> list[tuple[bool, int, str]]:
    """Sorts the digits inside a name by their number: frame 2 before frame 10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _DIGITS.split(name)]


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
