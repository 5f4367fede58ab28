"""Images that rows name: found in a folder or a zip archive, checked, and stored by content."""

import base64
import binascii
import posixpath
import re
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pref_assets.models.reference import PACKAGE, package_path
from pref_assets.pairs.decoding import checked, too_many_bytes
from pref_assets.pairs.image_limits import ImageLimits
from pref_assets.pairs.media import MEDIA, MediaError, MediaStore
from pref_assets.pairs.reading.errors import BadRowError

_DIGITS = re.compile(r"(\d+)")
_DATA = "data:"
_ELSEWHERE = ("http://", "https://", "s3://", "gs://", "az://")
_READ_ERRORS = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError)


class ImagesError(FileNotFoundError):
    """The folder or archive of images is not there; the message says where it was looked for."""


def images_root(location: str) -> Path:
    """The folder or archive that a location of images names: a path, or ``package://module/inner/path``."""
    return package_path(location) if location.startswith(PACKAGE) else Path(location).expanduser()


class Images:
    """Turns the names of images into ``media://`` uris, each file read and checked once.

    Names are relative to the folder or to the archive's root, or absolute inside the folder; the name of a folder
    stands for the images in it, the frames of a video in the order of their numbers. ``data:`` uris are decoded, bytes
    that a row brought (``media://``) are checked like files, and web addresses stay what they are.
    """

    def __init__(self, location: str | None, media: MediaStore, limits: ImageLimits | None = None) -> None:
        """Raises ``ImagesError`` when the location does not exist."""
        self._media = media
        self._limits = limits or ImageLimits()
        self._location = location
        self._found: dict[str, list[str]] = {}
        self._archive: zipfile.ZipFile | None = None
        self._folder: Path | None = None
        if location is None:
            return
        root = images_root(location)
        if root.is_dir():
            self._folder = root
        elif zipfile.is_zipfile(root):
            self._archive = zipfile.ZipFile(root)
        else:
            raise ImagesError(f"{location}: no folder or zip archive of images (looked at {root.absolute()})")

    def stored(self, names: Sequence[str]) -> list[str]:
        """The uris of a row's images.

        Raises:
            BadRowError: ``missing_image``, ``no_frames``, ``no_image`` where one is required, or what
                `decoding.checked` refuses an image for.
        """
        if self._limits.required and not names:
            raise BadRowError("no_image", "the row brings no image, and `image_limits` says `required`")
        return [uri for name in names for uri in self._found.get(name) or self._store(name)]

    def _store(self, name: str) -> list[str]:
        if name.startswith(_DATA):
            return self._put(_decoded(name), name[:40])
        if name.startswith(MEDIA):
            uris = self._put(self._brought(name), name)
        elif self._location is None or name.startswith(_ELSEWHERE):
            return [name]
        else:
            plain = self._inside(name)
            frames = self._frames(plain)
            if not frames and self._is_folder(plain):
                raise BadRowError("no_frames", f"folder {name!r} in {self._location} holds no images")
            wanted = [frames[place] for place in self._limits.sampled(len(frames))] or [plain]
            uris = [uri for each in wanted for uri in self._put(self._read(each), each)]
        self._found[name] = uris
        return uris

    def _put(self, data: bytes, name: str) -> list[str]:
        return [self._media.put(each) for each in checked(data, name, self._limits)]

    def _brought(self, uri: str) -> bytes:
        try:
            return self._media.path(uri).read_bytes()
        except MediaError as error:
            raise BadRowError("missing_image", str(error)) from error

    def _is_folder(self, name: str) -> bool:
        if name == ".":
            return False
        if self._archive is not None:
            return any(each.startswith(f"{name}/") for each in self._archive.namelist())
        assert self._folder is not None
        return (self._folder / name).is_dir()

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
            size = self._size(name)
            if size > self._limits.max_bytes:
                raise too_many_bytes(name, size, self._limits)
            if self._archive is not None:
                return self._archive.read(name)
            assert self._folder is not None
            return (self._folder / name).read_bytes()
        except (KeyError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise BadRowError("missing_image", f"image {name!r} is not in {self._location}") from None
        except _READ_ERRORS as error:
            raise BadRowError("broken_image", f"image {name!r} in {self._location} cannot be read ({error})") from error

    def _size(self, name: str) -> int:
        """Bytes of a file, unpacked; an archive is not read beyond what its directory says."""
        if self._archive is not None:
            return self._archive.getinfo(name).file_size
        assert self._folder is not None
        return (self._folder / name).stat().st_size

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
