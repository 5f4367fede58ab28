"""How large an image may be, and how many frames of a moving one are looked at."""

from typing import Literal

from pydantic import Field

from pref_assets.pairs.reading.limits import MIB
from pref_assets.settings import Settings

PILLOW_PIXELS = 178_956_970
"""Pillow opens no larger image, whatever the settings say."""


class ImageLimits(Settings):
    """Which images are taken. Size and frames are read from the file's header, before anything is decoded, so that a
    decompression bomb costs nothing."""

    max_pixels: int = Field(default=1 << 26, ge=1, le=PILLOW_PIXELS)
    """An image with more is `image_too_large`; width times height."""
    max_bytes: int = Field(default=64 * MIB, ge=1)
    """The same for its file; bytes."""
    min_side: int = Field(default=1, ge=1)
    """An image with a shorter side is `image_too_small`; pixels."""
    moving: Literal["refuse", "first", "all"] = "refuse"
    """What becomes of an animated GIF, WebP, PNG or AVIF and of a TIFF of several pages: the row is refused as
    `animated_image`, the first frame is taken, or all are, as the frames of a video."""
    max_frames: int | None = Field(default=32, ge=1)
    """Of a video with more frames this many are taken, evenly from the first to the last; null takes all. MM-RLHF
    trains on 10 and evaluates on 32 (arXiv:2502.10391, section 4)."""
    required: bool = False
    """Whether a record without any image is refused, as `no_image`."""

    def sampled(self, count: int) -> list[int]:
        """Places of the frames that are taken of ``count``, in order: the whole part of evenly spaced ones."""
        taken = count if self.max_frames is None else min(count, self.max_frames)
        if taken <= 1:
            return [0][:taken]
        return [place * (count - 1) // (taken - 1) for place in range(taken)]
