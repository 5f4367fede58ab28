"""JSON lines with one broken row between two sound ones, or an odd one that is sound all the same."""

import json
from typing import Any

from pref_assets.synthesis.broken.case import Case, bad, good, good_line, good_row, lines, writes

_DEEP = 2_000
_CELL = 10 << 20
_SHORT = {"limits": {"max_row_bytes": 4096}}


def _refused(kind: str, what: str, line: bytes, code: str, **settings: Any) -> Case:
    """Row 2 is broken, rows 1 and 3 are not."""
    data = lines([good_line(1), line, good_line(3)])
    return Case(f"{kind}.jsonl", what, writes(data), good(1, 3), bad(code, 2), settings=settings)


def _kept(kind: str, what: str, data: bytes, *rows: int) -> Case:
    """Odd, and sound."""
    return Case(f"{kind}.jsonl", what, writes(data), good(*rows))


def _raw(field: str, value: str) -> bytes:
    """A row with one more field, whose value is written as given."""
    return good_line(2)[:-1] + f', "{field}": {value}'.encode() + b"}"


def _with(**fields: Any) -> bytes:
    return json.dumps({**good_row(2), **fields}).encode()


def _without(field: str) -> bytes:
    return json.dumps({name: value for name, value in good_row(2).items() if name != field}).encode()


def _messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


NOT_JSON = (
    _refused("words", "plain words instead of JSON", b"oops, a log line", "not_json"),
    _refused("cut_row", "a row that breaks off", good_line(2)[:30], "not_json"),
    _refused("two_in_a_line", "two objects on one line", good_line(2) + good_line(4), "not_json"),
    _refused("trailing_comma", "a comma too many", good_line(2)[:-1] + b",}", "not_json"),
    _refused("python_quotes", "Python's notation instead of JSON", repr(good_row(2)).encode(), "not_json"),
    _refused("comment", "a comment", b"// " + good_line(2), "not_json"),
    _refused("control_character", "a line break inside a text, not escaped", _raw("note", '"a\tb"'), "not_json"),
    _refused("nul_bytes", "bytes of value 0, as a crash leaves them", b"\0" * 64, "not_json"),
    _refused("nesting", "lists in lists in lists", _raw("note", "[" * _DEEP + "]" * _DEEP), "not_json"),
    _refused("nested_a_little", "nested deeper than a row may be", _raw("note", "[" * 150 + "]" * 150), "not_json"),
    _refused("nan", "NaN, which JSON does not have", _raw("margin", "NaN"), "not_finite"),
    _refused("infinity", "minus infinity, which JSON does not have", _raw("margin", "-Infinity"), "not_finite"),
    _refused("huge_number", "a number that no float can hold", _raw("margin", "1e999"), "not_finite"),
    _refused("repeated_key", "a field that is there twice", _raw("chosen", '"Something else."'), "duplicate_key"),
    _refused("repeated_key_inside", "a field twice in an object", _raw("m", '{"a": 1, "a": 1}'), "duplicate_key"),
    _refused("half_character", "half a surrogate pair", _raw("note", '"\\ud83d"'), "not_utf8"),
    _refused("half_character_in_name", "half a surrogate pair in a field's name", _raw("\\udc00", "1"), "not_utf8"),
    _refused("latin_1", "text in Latin-1", _raw("note", '"caf\xe9"').decode().encode("latin-1"), "not_utf8"),
    _refused("cut_character", "a character cut in the middle", _raw("note", '"é"')[:-3] + b'"}', "not_utf8"),
    _refused("a_list", "a list instead of an object", b'["prompt", "chosen", "rejected"]', "not_an_object"),
    _refused("a_text", "a text instead of an object", b'"prompt"', "not_an_object"),
    _refused("a_null", "null instead of an object", b"null", "not_an_object"),
    _refused("long_row", "a row longer than the limit", _with(note="x" * 5000), "too_long", **_SHORT),
)
NO_PREFERENCE = (
    _refused("no_chosen", "a field is missing", _without("chosen"), "missing_field"),
    _refused("null_rejected", "a field is null", _with(rejected=None), "missing_field"),
    _refused("number_as_text", "a number where a text belongs", _with(chosen=4), "wrong_type"),
    _refused("mixed_sides", "one side is text, the other a list", _with(chosen=["It is 4."]), "wrong_type"),
    _refused("quoted_number", "a number written as a text", _with(margin="0.5"), "wrong_type"),
    _refused("no_finite_text", "NaN written as a text", _with(margin="NaN"), "wrong_type"),
    _refused("text_as_number", "words where a number belongs", _with(margin="a lot"), "wrong_type"),
    _refused("empty_chosen", "an empty answer", _with(chosen=""), "empty_side"),
    _refused("blank_rejected", "an answer of spaces", _with(rejected=" \n"), "empty_side"),
    _refused("blank_prompt", "a prompt of spaces", _with(prompt="  "), "empty_prompt"),
    _refused("same_sides", "both sides are the same", _with(rejected="It is 4."), "identical_sides"),
    _refused("no_messages", "an empty list of messages", _with(prompt=[]), "missing_field"),
    _refused(
        "unknown_role",
        "a role that nobody knows",
        _with(
            prompt=_messages(("wizard", "Hm?")),
            chosen=_messages(("assistant", "Yes.")),
            rejected=_messages(("assistant", "No.")),
        ),
        "unknown_role",
    ),
    _refused(
        "role_order",
        "two questions in a row",
        _with(
            prompt=_messages(("user", "Hm?"), ("user", "Well?")),
            chosen=_messages(("assistant", "Yes.")),
            rejected=_messages(("assistant", "No.")),
        ),
        "role_order",
    ),
)
SOUND = (
    _kept("big_cell", "a text of 10 MB", lines([good_line(1, note="x" * _CELL), good_line(2)]), 1, 2),
    _kept("byte_order_mark", "a byte order mark", b"\xef\xbb\xbf" + lines([good_line(1), good_line(2)]), 1, 2),
    _kept("windows_lines", "lines that end with CR LF", lines([good_line(1), good_line(2)], b"\r\n"), 1, 2),
    _kept("blank_lines", "blank lines between rows", b"\n" + lines([good_line(2), b" \t", good_line(4)]), 2, 4),
    _kept("no_last_line_end", "no line end after the last row", good_line(1) + b"\n" + good_line(2), 1, 2),
    _kept("line_separator", "U+2028 in a text", lines([_raw("note", '"a\u2028b\x85c"'), good_line(4)]), 1, 2),
    _kept("escaped_nul", "an escaped NUL in a text", lines([_raw("note", '"a\\u0000b"'), good_line(4)]), 1, 2),
    _kept("whole_pair", "an emoji as two escapes", lines([_raw("note", '"\\ud83d\\ude00"'), good_line(4)]), 1, 2),
    _kept("long_integer", "a number of thirty digits", lines([_raw("id", "1" * 30), good_line(4)]), 1, 2),
    _kept(
        "mixed_types", "a field of several types", lines(_raw("id", value) for value in ("1", '"b"', "[2]")), 1, 2, 3
    ),
    _kept("empty_file", "no bytes at all", b""),
)
CASES = (*NOT_JSON, *NO_PREFERENCE, *SOUND)
