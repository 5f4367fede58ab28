"""The schema's ids, from turns instead of message dictionaries: reading computes three for every row.

``orjson`` writes strings as the standard library does with ``ensure_ascii=False``, several times faster.
"""

from collections.abc import Sequence
from hashlib import sha256

from orjson import dumps


def prompt_id(turns: Sequence[tuple[str, str]], images: Sequence[str] = (), context: str | None = None) -> str:
    """Equals ``schema.prompt_id`` of the same conversation."""
    return sha256(dumps(("prompt", turns, images, context))).hexdigest()[:32]


def completion_id(prompt: str, turns: Sequence[tuple[str, str]]) -> str:
    """Equals ``schema.completion_id`` of the same conversation."""
    return sha256(dumps(("completion", prompt, turns))).hexdigest()[:32]


def pair_id(smaller: str, larger: str) -> str:
    """Equals ``schema.pair_id`` of two completion ids in order."""
    return sha256(b'["pair","%b","%b"]' % (smaller.encode(), larger.encode())).hexdigest()[:32]
