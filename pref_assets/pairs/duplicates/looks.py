"""What an image looks like, in 64 bits and 256 colours: enough to find it again after scaling or compression."""

import io
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ALGORITHM = "dct-phash-1"
"""Raised when the same image gives other numbers than before."""
BITS = 64
CELLS = 16
"""Cells a side of the small copy whose colours are compared."""
_SIDE = 32
_LOW = 8
_BAND_BITS = 32
_DRAFT = 128
"""A JPEG may be decoded smaller, but not below this side."""

Cells = NDArray[np.uint8]


def look(data: bytes) -> tuple[int, int, str, int, bytes]:
    """Width and height in pixels, format, perceptual hash (64 bits as a signed number) and colours of an image file.

    The hash is that of Zauner ("Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section
    3.2.1): of the grey image at 32 x 32 the 64 lowest frequencies of the cosine transform, without the first row and
    column, each a bit: above their median or not. Colour and brightness are not in it, and a plain image is all zeros;
    so the colours of a 16 x 16 copy, (16, 16, 3) bytes, come with it.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        kind = image.format or "unknown"
        image.draft("RGB", (_DRAFT, _DRAFT))
        colour = image.convert("RGB")
    return width, height, kind.lower(), perceptual_hash(colour), _cells(colour)


def perceptual_hash(image: "Picture") -> int:
    """The 64 bits as a signed number; the first frequency is the highest bit."""
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    # Rounded, so that what is zero but for rounding says the same everywhere.
    low = np.round(_cosines() @ grey @ _cosines().T, 6)
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), signed=True)


def hexadecimal(phash: int) -> str:
    """The hash as people write it, 16 digits."""
    return f"{phash & (1 << BITS) - 1:016x}"


def distances(hashes: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) Hamming distance in bits of ``hashes[left[i]]`` and ``hashes[right[i]]``."""
    return np.bitwise_count((hashes[left] ^ hashes[right]).view(np.uint64)).astype(np.int64)


def differences(cells: Cells, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) largest difference of a colour of a cell, 0 to 1, of ``cells[left[i]]`` and ``cells[right[i]]``.

    Args:
        cells: (images, 768).
    """
    gap = np.abs(cells[left].astype(np.int16) - cells[right].astype(np.int16))
    result: NDArray[np.float64] = gap.max(axis=1, initial=0) / 255
    return result


def bands(hashes: NDArray[np.int64], count: int) -> NDArray[np.uint32]:
    """(n, count) the hash cut into ``count`` parts: two hashes that differ in fewer bits than there are parts have one
    in common. Of a part of more than 32 bits the lower ones are taken."""
    edges = [round(place * BITS / count) for place in range(count + 1)]
    whole = hashes.view(np.uint64)
    parts = [
        (whole >> np.uint64(low)) & np.uint64((1 << min(high - low, _BAND_BITS)) - 1) for low, high in pairwise(edges)
    ]
    return np.stack(parts, axis=1).astype(np.uint32)


def _cells(image: "Picture") -> bytes:
    from PIL import Image

    return np.asarray(image.resize((CELLS, CELLS), Image.Resampling.BOX), dtype=np.uint8).tobytes()


@cache
def _cosines() -> NDArray[np.float64]:
    """(8, 32) rows of the cosine transform of frequencies 1 to 8."""
    k, n = np.arange(1, _LOW + 1)[:, None], np.arange(_SIDE)[None, :]
    result: NDArray[np.float64] = np.cos(np.pi * (2 * n + 1) * k / (2 * _SIDE))
    return result
