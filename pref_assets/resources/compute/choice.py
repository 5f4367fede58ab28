"""The deployment's choice of where heavy work runs, from its environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from pref_assets.resources.compute.resource import Compute, Mode

VARIABLE = "PREF_ASSETS_COMPUTE"


def compute_from(environ: Mapping[str, str]) -> Compute:
    """The resource that ``PREF_ASSETS_COMPUTE`` describes; a child process when it is not set.

    Its value is the name of a mode, the fields of ``Compute`` as a YAML mapping, or the path of a file with them.

    Raises:
        ValueError: it is none of these, or a field is unknown or out of bounds.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return Compute()
    fields: Any = yaml.safe_load(text)
    if isinstance(fields, str):
        fields = {"mode": fields} if fields in get_args(Mode) else _file(Path(fields).expanduser())
    if not isinstance(fields, dict):
        raise ValueError(f"{VARIABLE}: {text!r} holds no mapping of settings, such as `mode: ray`")
    if unknown := sorted(set(fields) - set(Compute.model_fields)):
        raise ValueError(
            f"{VARIABLE}: no such setting: {', '.join(unknown)}; there are {', '.join(Compute.model_fields)}"
        )
    try:
        return Compute(**fields)
    except ValueError as error:
        raise ValueError(f"{VARIABLE}: {error}") from error


def _file(path: Path) -> Any:
    if not path.is_file():
        modes = ", ".join(get_args(Mode))
        raise ValueError(f"{VARIABLE}: {str(path)!r} is neither a mode ({modes}) nor a file")
    return yaml.safe_load(path.read_text())
