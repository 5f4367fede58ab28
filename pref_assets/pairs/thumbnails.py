"""Small copies of images, as texts that a page or an event can hold."""

import base64
import io

from pref_assets.pairs.media import MEDIA, MediaStore

TINY = 32
"""Pixels of a side up to which an image can be kept exactly."""


def is_tiny(data: bytes) -> bool:
    """Whether no side of an image has more than ``TINY`` pixels. Raises ``OSError`` where the bytes are no image."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return max(image.size) <= TINY


def thumbnail(data: bytes, side: int, quality: int, exact: bool = False) -> str:
    """An image as a ``data:`` URI of a WebP no side of which has more than ``side`` pixels; its first frame, on white.

    With ``exact``, an image of at most ``TINY`` pixels a side keeps every one of them: it would not be recognised
    otherwise where it is shown large. The same image gives the same text. Raises ``OSError`` where the bytes are no
    image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        lossless = exact and max(image.size) <= min(TINY, side)
        image.draft("RGB", (2 * side, 2 * side))
        image.thumbnail((side, side))
        whole = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
    small = Image.new("RGB", whole.size, "white")
    small.paste(whole, mask=whole if whole.mode == "RGBA" else None)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=quality, method=6, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def stored(uri: str, media: MediaStore) -> bytes | None:
    """The bytes behind a media uri; null for addresses and names, which no store has.

    Raises:
        MediaError: the store has lost the image.
    """
    return media.path(uri).read_bytes() if uri.startswith(MEDIA) else None
