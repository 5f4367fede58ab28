"""Lists of words among a head's arrays, as safetensors hold numbers only."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def word_array(words: Sequence[str]) -> NDArray[np.uint8]:
    """The words as the bytes of a JSON list; never empty."""
    return np.frombuffer(json.dumps(list(words)).encode(), np.uint8).copy()


def array_words(array: NDArray) -> list[str]:
    """What `word_array` was made of."""
    found: list[str] = json.loads(array.astype(np.uint8).tobytes().decode())
    return found
