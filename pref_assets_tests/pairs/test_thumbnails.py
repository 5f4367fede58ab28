"""Small copies of images: their size, their background, and that they are the same each time."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pref_assets.pairs.media import MediaError, MediaStore
from pref_assets.pairs.thumbnails import TINY, is_tiny, stored, thumbnail


def opened(uri: str) -> Image.Image:
    assert uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("size", "small"), [((640, 320), (64, 32)), ((30, 90), (21, 64)), ((8, 8), (8, 8))])
def test_no_side_is_longer_and_none_is_made_larger(size: tuple[int, int], small: tuple[int, int]) -> None:
    uri = thumbnail(png(Image.new("RGB", size, "red")), 64, 55)
    assert opened(uri).size == small
    assert thumbnail(png(Image.new("RGB", size, "red")), 64, 55) == uri


def test_an_image_is_tiny_by_its_longest_side() -> None:
    sizes = [(TINY, TINY), (TINY + 1, 1), (1, TINY + 1)]
    assert [is_tiny(png(Image.new("RGB", size, "red"))) for size in sizes] == [True, False, False]


def test_a_tiny_image_keeps_every_pixel() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert (np.asarray(opened(thumbnail(png(image), 64, 1, exact=True))) == np.asarray(image)).all()
    assert (np.asarray(opened(thumbnail(png(image), 64, 1))) != np.asarray(image)).any()
    larger = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    assert (np.asarray(opened(thumbnail(png(larger), 64, 1, exact=True))) != np.asarray(larger)).any()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_can_be_seen_through_is_white(mode: str) -> None:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if mode == "P":
        stream = io.BytesIO()
        image.convert("P").save(stream, "PNG", transparency=0)
        data = stream.getvalue()
    else:
        data = png(image.convert(mode))
    assert np.asarray(opened(thumbnail(data, 64, 90))).min() > 245


def test_what_no_store_has(tmp_path: Path) -> None:
    media = MediaStore(tmp_path)
    data = png(Image.new("L", (4, 4)))
    assert stored(media.put(data), media) == data
    assert stored("https://example.org/a.png", media) is None
    with pytest.raises(MediaError):
        stored(f"media://{'0' * 64}.png", media)
