"""From the text of a row to its value: as fast as can be for sound rows, as exact as can be about the others."""

import json
from collections.abc import Callable
from typing import Any

import orjson

from pref_assets.pairs.reading.limits import ReadingLimits

_LIMITS = ReadingLimits()
_DIGITS = bytes(ord("0") if 48 <= byte <= 57 else byte for byte in range(256))
_BEYOND_64_BITS = b"0" * 19
"""The fast parser turns integers of more digits than these into floats."""
_QUOTE = b'"'
_ESCAPED = b"u0022"
"""The one way to write a quote without writing one."""


class RowFault(ValueError):  # noqa: N818 (a fault is what it is called everywhere here)
    """The text holds no usable row. ``code`` names the rule, the message says what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_row(data: bytes, limits: ReadingLimits = _LIMITS) -> dict[str, Any]:
    """The JSON object that a row's UTF-8 text holds. Integers are exact, whatever their size.

    Raises:
        RowFault: ``not_json`` (also when nested too deep), ``not_an_object``, ``not_finite`` (NaN or infinity),
            ``duplicate_key``, or ``not_utf8`` (half a character, which no table can hold).
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _checked(_exactly(data), data, limits)
    dumped = orjson.dumps(value)
    if dumped != data and (
        data.count(_QUOTE) != dumped.count(_QUOTE) or _ESCAPED in data or _BEYOND_64_BITS in data.translate(_DIGITS)
    ):
        # Of a repeated key the value has one, so that quotes are missing; or an integer became a float.
        value = _exactly(data)
    return _checked(value, data, limits)


def json_type(value: Any) -> str:
    """The JSON name of a parsed value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _checked(value: Any, data: bytes, limits: ReadingLimits) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowFault("not_an_object", f"a JSON {json_type(value)}, not an object with fields")
    nested = any(type(each) in (dict, list) for each in value.values())
    if nested and data.count(b"[") + data.count(b"{") > limits.max_depth and _deeper(value, limits.max_depth):
        raise RowFault("not_json", f"nested more than {limits.max_depth} levels deep")
    return value


def _exactly(data: bytes) -> Any:
    """The value by the slow parser, which sees repeated keys and keeps long integers."""
    try:
        value = json.loads(data, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except RowFault:
        raise
    except RecursionError as error:
        raise RowFault("not_json", "nested too deep to be read") from error
    except UnicodeDecodeError as error:
        raise RowFault("not_utf8", f"not UTF-8 text (byte {error.start} of the row)") from error
    except ValueError as error:
        raise RowFault("not_json", f"not JSON ({error})") from error
    if b"\\ud" in data or b"\\uD" in data:
        _check_characters(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowFault("duplicate_key", f"field `{twice}` is there {names.count(twice)} times")
    return found


def _constant(name: str) -> Any:
    raise RowFault("not_finite", f"holds {name}, which is no JSON number; write null")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise RowFault("not_finite", f"the number {text[:40]} is too large")
    return value


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RowFault("not_utf8", f"holds half a character ({error.object[error.start]!r})") from error
    except RecursionError as error:
        raise RowFault("not_json", "nested too deep to be read") from error


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than ``depth`` levels, without recursion."""
    level = [value]
    children: Callable[[Any], Any] = lambda each: each.values() if isinstance(each, dict) else each  # noqa: E731
    for _ in range(depth):
        level = [child for each in level for child in children(each) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True
