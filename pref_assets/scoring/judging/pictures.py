"""Images in questions: kept by their location, sent as data of a bounded size."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import decode, encode, is_plain

if TYPE_CHECKING:
    from PIL import Image

QUALITY = 95
"""JPEG quality at which an image is sent."""
_SIDE = "longest_side"


def with_pictures(text: str, uris: Iterable[str], longest_side: int) -> dict[str, str]:
    """A user's turn that shows images, none with a longer side than so many pixels, and then says the text."""
    parts = [{"type": "image", "image": uri, _SIDE: longest_side} for uri in uris]
    content: Any = [*parts, {"type": "text", "text": text}] if parts else text
    role, said = encode({"role": "user", "content": content})
    return {"role": role, "content": said}


def wire(messages: Sequence[Mapping[str, str]], media: MediaStore) -> list[dict[str, Any]]:
    """Turns as OpenAI's chat completions take them: images as ``image_url`` parts with ``data:`` of a JPEG.

    Raises:
        SightError: an image is not there or cannot be opened; names it.
    """
    return [dict(turn) if is_plain(turn["role"]) else _shown(turn, media) for turn in messages]


def _shown(turn: Mapping[str, str], media: MediaStore) -> dict[str, Any]:
    message = decode(turn["role"], turn["content"])
    if isinstance(message.get("content"), list):
        message["content"] = [_sent(part, media) for part in message["content"]]
    return message


def _sent(part: Mapping[str, Any], media: MediaStore) -> Mapping[str, Any]:
    if part.get("type") != "image":
        return part
    from pref_assets.models.vision import open_image

    return {"type": "image_url", "image_url": {"url": _data(open_image(part["image"], media), part[_SIDE])}}


def _data(image: "Image.Image", longest_side: int) -> str:
    """The image as a ``data:`` uri, smaller if it must be, never larger."""
    image.thumbnail((longest_side, longest_side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
