"""Which MLflow run a checkpoint has: kept beside its folder, so that a checkpoint is logged once."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pref_assets.resources.folders import write_atomically


@dataclass(frozen=True)
class MlflowLink:
    """An MLflow run of the tracking store it is in."""

    run_id: str
    url: str


def link_of(folder: Path) -> MlflowLink | None:
    """The run of the checkpoint in ``folder``, when it was logged."""
    file = _file(folder)
    return MlflowLink(**json.loads(file.read_text())) if file.exists() else None


def remember(folder: Path, link: MlflowLink) -> None:
    write_atomically(_file(folder), json.dumps(asdict(link)))


def _file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.mlflow.json")
