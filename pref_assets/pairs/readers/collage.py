"""Pictures put together: in a grid, or one inside another."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of width and height."""


def grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns of a grid for ``n`` pictures, as near to a square as holds them: 2 is 1 x 2, 5 is 2 x 3."""
    columns = math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def grid_box(place: int, n: int) -> Box:
    """Where picture ``place`` (from 0, row by row) of ``n`` is in their grid, which is square."""
    columns = grid_shape(n)[1]
    row, column = divmod(place, columns)
    return column / columns, row / columns, (column + 1) / columns, (row + 1) / columns


def inset_box(share: float) -> Box:
    """Where a picture of ``share`` of the sides of another is in its middle."""
    return (1 - share) / 2, (1 - share) / 2, (1 + share) / 2, (1 + share) / 2


def grid(pictures: "Sequence[Image.Image]", tile: int) -> "Image.Image":
    """The pictures in a grid of squares of ``tile`` pixels, row by row, each whole and with black where it is not
    square. The grid is square too, as many models crop an image to one; what is left over is black, at the bottom."""
    from PIL import Image, ImageOps

    columns = grid_shape(len(pictures))[1]
    canvas = Image.new("RGB", (columns * tile, columns * tile))
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        canvas.paste(ImageOps.pad(picture, (tile, tile)), (column * tile, row * tile))
    return canvas


def inset(outer: "Image.Image", inner: "Image.Image", tile: int, share: float) -> "Image.Image":
    """``inner`` in the middle of ``outer``, a square of ``tile`` pixels of which it takes ``share`` of each side."""
    from PIL import ImageOps

    size = max(1, round(share * tile))
    canvas = ImageOps.pad(outer, (tile, tile))
    canvas.paste(ImageOps.pad(inner, (size, size)), ((tile - size) // 2, (tile - size) // 2))
    return canvas


def as_png(picture: "Image.Image") -> bytes:
    """The bytes of a picture: the same for equal pixels under one version of Pillow."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
