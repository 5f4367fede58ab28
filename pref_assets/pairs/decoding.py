"""Bytes that should be an image: looked at from the outside, then decoded whole."""

import io
import warnings
from typing import TYPE_CHECKING

from pref_assets.pairs.image_limits import ImageLimits
from pref_assets.pairs.media import suffix
from pref_assets.pairs.reading.errors import BadRowError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_VIDEOS = frozenset({"mp4", "webm", "avi", "ogg", "mpg", "flv"})
_VIDEO_FORMAT = "MPEG"
_STILLS = "MPO"
"""A photograph with a preview beside it: several pictures, none of them a frame."""


def checked(data: bytes, name: str, limits: ImageLimits) -> list[bytes]:
    """The image as it is, or the frames taken of a moving one, each as PNG; all of them can be decoded.

    Raises:
        BadRowError: ``broken_image``, ``image_too_large``, ``image_too_small``, ``animated_image`` or ``video_file``;
            the message names the image.
    """
    from PIL import Image, UnidentifiedImageError

    if len(data) > limits.max_bytes:
        raise too_many_bytes(name, len(data), limits)
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size that it refuses; the limit here is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                _check_size(image, name, limits)
                if _moves(image):
                    return _frames(image, name, limits)
                # A JPEG is decoded at an eighth of its size, which still reads all of it.
                image.draft(None, (1, 1))
                image.load()
    except BadRowError:
        raise
    except UnidentifiedImageError:
        if suffix(data) in _VIDEOS:
            raise _video(name) from None
        raise BadRowError("broken_image", f"image {name!r} is no image that can be read ({len(data)} bytes)") from None
    except Image.DecompressionBombError as error:
        raise BadRowError("image_too_large", f"image {name!r}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadRowError("broken_image", f"image {name!r} is damaged ({error})") from error
    return [data]


def too_many_bytes(name: str, size: int, limits: ImageLimits) -> BadRowError:
    """The refusal of a file that is longer than ``limits.max_bytes``."""
    return BadRowError("image_too_large", f"image {name!r} has {size:,} bytes, at most {limits.max_bytes:,} are read")


def _check_size(image: "Picture", name: str, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise BadRowError(
            "image_too_large",
            f"image {name!r} is {width} x {height} pixels, more than the {limits.max_pixels:,} of `max_pixels`",
        )
    if min(width, height) < limits.min_side:
        raise BadRowError(
            "image_too_small", f"image {name!r} is {width} x {height} pixels, `min_side` is {limits.min_side}"
        )


def _moves(image: "Picture") -> bool:
    if image.format == _VIDEO_FORMAT:
        raise _video("MPEG data")
    # Plugins of formats that hold one picture do not have the attribute.
    return image.format != _STILLS and bool(getattr(image, "is_animated", False))


def _frames(image: "Picture", name: str, limits: ImageLimits) -> list[bytes]:
    from PIL import ImageSequence

    count = image.n_frames  # type: ignore[attr-defined]  # moving images have it
    if limits.moving == "refuse":
        raise BadRowError(
            "animated_image",
            f"image {name!r} has {count} frames; `image_limits: {{moving: first}}` takes the first, `all` takes them "
            "as the frames of a video",
        )
    wanted = {0} if limits.moving == "first" else set(limits.sampled(count))
    taken = []
    for place, frame in enumerate(ImageSequence.Iterator(image)):
        if place in wanted:
            buffer = io.BytesIO()
            frame.convert("RGBA" if frame.has_transparency_data else "RGB").save(buffer, "PNG")
            taken.append(buffer.getvalue())
        if len(taken) == len(wanted):
            break
    return taken


def _video(name: str) -> BadRowError:
    return BadRowError(
        "video_file",
        f"{name!r} is a video; extract its frames into a folder of that name (`ffmpeg -i VIDEO FOLDER/%05d.jpg`), a "
        "folder stands for the images in it",
    )
