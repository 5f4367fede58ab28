"""Files in object stores, through fsspec: found, and pinned by what the store says of their content."""

from typing import Any

from pref_assets.pairs.locations import LocationError

_CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "contentHash", "sha256", "checksum", "crc32c")
_CHANGED = ("mtime", "LastModified", "last_modified", "updated", "created")
_MAGIC = "*?["


def find_objects(location: str) -> list[str]:
    """URLs of everything at a URL: one object, the objects of a folder (not of its subfolders), or those of a glob.

    Credentials and addresses of the store come from its own environment variables or fsspec's configuration files.

    Raises:
        LocationError: nothing is there, the store refuses, or the package for this kind of store is not installed.
    """
    fs, path = _opened(location)
    try:
        if any(sign in path for sign in _MAGIC) and not fs.exists(path):
            found = [name for name, info in fs.glob(path, detail=True).items() if info["type"] == "file"]
        elif fs.isfile(path):
            return [location]
        elif fs.isdir(path):
            found = [info["name"] for info in fs.ls(path, detail=True) if info["type"] == "file"]
        else:
            raise LocationError(f"{location}: no such object or folder")
    except LocationError:
        raise
    except Exception as error:
        raise _refused(location, error) from error
    return sorted(str(fs.unstrip_protocol(name)) for name in found)


def object_state(url: str) -> tuple[str, int]:
    """What pins an object's content (checksum, or else time of change and size), and its size in bytes.

    Raises:
        LocationError: it is gone, the store refuses, or says nothing that would show a change.
    """
    fs, path = _opened(url)
    try:
        fs.invalidate_cache()
        info = fs.info(path)
    except Exception as error:
        raise _refused(url, error) from error
    size = int(info.get("size") or 0)
    for name in _CHECKSUMS:
        if info.get(name):
            return f"{name.lower()}:{str(info[name]).strip(chr(34))}", size
    for name in _CHANGED:
        if info.get(name):
            return f"changed:{info[name]}:{size}", size
    raise LocationError(f"{url}: the store gives neither checksum nor time of change; copy the file to this machine")


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise LocationError(f"{url}: {error}") from error
    return fs, path


def _refused(url: str, error: Exception) -> LocationError:
    return LocationError(f"{url}: the store says {type(error).__name__}: {error}")
