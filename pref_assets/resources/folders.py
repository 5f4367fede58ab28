"""The I/O manager of assets that are folders (checkpoints, reward models): it keeps a pointer, never the content."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dagster as dg

from pref_assets.home import Home
from pref_assets.tables import MissingTableError


@dataclass(frozen=True)
class Folder:
    """An immutable folder.

    Attributes:
        path: where it is.
        version: its version, part of its path.
        data_version: hash of its content.
    """

    path: str
    version: str
    data_version: str


class Folders(dg.ConfigurableIOManager):
    """Keeps which folder an asset is at ``<home>/tables/<asset key>.json``, replaced atomically.

    Folders inside the home are kept relative to it, so that a home can be moved.
    """

    home: str
    """The state folder."""

    def pointer(self, key: dg.AssetKey) -> Path:
        path = Home(Path(self.home)).tables.joinpath(*key.path)
        return path.with_name(f"{path.name}.json")

    def handle_output(self, context: dg.OutputContext, obj: Folder) -> None:
        if not isinstance(obj, Folder) or not Path(obj.path).is_dir():
            raise TypeError(f"asset {context.asset_key.to_user_string()} must return an existing Folder, not {obj!r}")
        home, path = Path(self.home).absolute(), Path(obj.path).absolute()
        kept = replace(obj, path=str(path.relative_to(home) if path.is_relative_to(home) else path))
        write_atomically(self.pointer(context.asset_key), json.dumps(asdict(kept), indent=1))
        context.add_output_metadata({"dagster/uri": obj.path, "version": obj.version})

    def load_input(self, context: dg.InputContext) -> Folder:
        return self.load(context.asset_key)

    def load(self, key: dg.AssetKey) -> Folder:
        """The asset's folder now.

        Raises:
            MissingTableError: the asset was never materialized, or its folder was deleted.
        """
        name, pointer = key.to_user_string(), self.pointer(key)
        if not pointer.exists():
            raise MissingTableError(f"{name}: nothing at {pointer}; materialize it first")
        kept = Folder(**json.loads(pointer.read_text()))
        folder = replace(kept, path=str(Path(self.home).absolute() / kept.path))
        if not Path(folder.path).is_dir():
            raise MissingTableError(f"{name}: its folder {folder.path} is gone; materialize it again")
        return folder


def write_atomically(path: Path, text: str) -> None:
    """Replaces the file in one step, so that a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
