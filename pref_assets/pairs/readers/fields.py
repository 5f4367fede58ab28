"""Fields of a parsed row, and the errors that name them."""

import math
from typing import Any

from pref_assets.pairs.reading import json_type
from pref_assets.pairs.reading.errors import BadRowError

__all__ = ["BadRowError", "number", "required", "strings", "text", "wrong_type"]


def required(row: dict[str, Any], name: str, path: str | None = None) -> Any:
    """The field's value. Raises ``missing_field`` when it is absent or null."""
    value = row.get(name)
    if value is None:
        raise BadRowError("missing_field", f"field `{path or name}` is missing or null")
    return value


def wrong_type(path: str, value: Any, expected: str) -> BadRowError:
    """The error for a field of another type than expected."""
    return BadRowError("wrong_type", f"field `{path}` is a {json_type(value)}, expected {expected}")


def text(row: dict[str, Any], name: str, default: str | None = None, path: str | None = None) -> str | None:
    """An optional text field; a number counts as its text (annotator ids often are numbers)."""
    value = row.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise wrong_type(path or name, value, "a string")


def number(row: dict[str, Any], name: str, path: str | None = None) -> float | None:
    """An optional finite number."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(path or name, value, "a number")
    if not math.isfinite(value):
        raise BadRowError("wrong_type", f"field `{path or name}` is {value}, expected a finite number")
    return float(value)


def strings(row: dict[str, Any], name: str) -> list[str]:
    """An optional list of strings."""
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type(name, value, "a list of strings")
    return value
