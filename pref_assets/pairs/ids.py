"""The schema's ids, from turns instead of message dictionaries: reading computes three for every row."""

import hashlib
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring

_RARE = bytes(set(range(0x20)) - set(b"\n\t\r"))
"""Control characters that text hardly ever holds."""


def prompt_id(turns: Sequence[tuple[str, str]], images: Sequence[str] = (), context: str | None = None) -> str:
    """Equals ``schema.prompt_id`` of the same conversation."""
    rest = b"null" if context is None else _quoted(context)
    return _id(b'["prompt",%b,[%b],%b]' % (_canonical(turns), b",".join(map(_quoted, images)), rest))


def completion_id(prompt: str, turns: Sequence[tuple[str, str]]) -> str:
    """Equals ``schema.completion_id`` of the same conversation."""
    return _id(b'["completion","%b",%b]' % (prompt.encode(), _canonical(turns)))


def pair_id(smaller: str, larger: str) -> str:
    """Equals ``schema.pair_id`` of two completion ids in order."""
    return _id(f'["pair","{smaller}","{larger}"]'.encode())


def _canonical(turns: Iterable[tuple[str, str]]) -> bytes:
    """Canonical JSON of (role, content) turns."""
    return b"[%b]" % b",".join([b"[%b,%b]" % (_quoted(role), _quoted(content)) for role, content in turns])


def _quoted(text: str) -> bytes:
    """The text as a JSON string. Replacing is several times faster than the encoder's walk over the characters."""
    data = text.encode()
    if len(data.translate(None, _RARE)) != len(data):
        return encode_basestring(text).encode()
    data = data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % data.replace(b"\n", b"\\n").replace(b"\t", b"\\t").replace(b"\r", b"\\r")


def _id(canonical: bytes) -> str:
    return hashlib.sha256(canonical).hexdigest()[:32]
