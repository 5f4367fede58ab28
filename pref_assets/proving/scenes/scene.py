"""Scenes: squares of one colour at some of four places on a ground within a frame, and the picture of each, drawn pixel
by pixel."""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PLACES = ("top-left", "top-right", "bottom-left", "bottom-right")
COLOURS = {"red": (224, 40, 40), "green": (40, 200, 60), "blue": (50, 80, 240), "yellow": (240, 220, 40)}
GROUNDS = {"dark": range(0, 40), "bright": range(140, 200)}
"""Greys of each ground, 0 to 255."""
FRAMES = {"white": (255, 255, 255), "cyan": (0, 225, 225), "pink": (255, 110, 190), "orange": (255, 140, 0)}
SIDE = 16
"""Width and height of a picture in pixels; each place is a quarter of it."""
SQUARE = 5
"""Side of a square in pixels."""
_CELL = SIDE // 2
_ROOM = _CELL - 1 - SQUARE
"""Pixels by which a square may stand off, with one for the frame."""
_STORED = 0xFFFF
"""Most bytes of a deflate block that is not compressed."""


@dataclass(frozen=True)
class Scene:
    """Squares that are all alike.

    Attributes:
        colour, ground, frame: of the squares, of what is behind and of what is around them; of `COLOURS`, `GROUNDS` and
            `FRAMES`.
        places: which of `PLACES` have a square.
        offsets: how far the square at each of `PLACES` would stand from the corner of its place, (x, y) in pixels.
        shade: the grey of the ground, 0 to 255.
    """

    colour: str
    ground: str
    frame: str
    places: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    shade: int

    def feature(self, name: str) -> str:
        """What is true of `colour`, `ground` or `frame`."""
        return str(getattr(self, name))

    def pixels(self) -> list[list[tuple[int, int, int]]]:
        """Rows of (red, green, blue)."""
        rows = [[(self.shade,) * 3] * SIDE for _ in range(SIDE)]
        for y in range(SIDE):
            for x in range(SIDE):
                if {x, y} & {0, SIDE - 1}:
                    rows[y][x] = FRAMES[self.frame]
        for x, y in self._squares():
            rows[y][x] = COLOURS[self.colour]
        return rows

    def _squares(self) -> Iterator[tuple[int, int]]:
        for number, (place, (right, down)) in enumerate(zip(PLACES, self.offsets, strict=True)):
            if place in self.places:
                # The frame is outside: left and above of the first places, right and below of the last.
                row, column = divmod(number, 2)
                left, top = column * _CELL + (1 - column) + right, row * _CELL + (1 - row) + down
                yield from ((left + x, top + y) for y in range(SQUARE) for x in range(SQUARE))

    def png(self) -> bytes:
        """The picture as a PNG file, the same bytes on every machine: its pixels are stored, not compressed."""
        lines = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in self.pixels())
        assert len(lines) <= _STORED
        block = b"\x01" + struct.pack("<HH", len(lines), len(lines) ^ _STORED) + lines
        data = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(lines))
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def draw_scene(rng: random.Random) -> Scene:
    """A scene with two to four squares: every colour, ground, frame, number and place as likely as the others."""
    ground = rng.choice(list(GROUNDS))
    filled = set(rng.sample(PLACES, rng.randint(2, len(PLACES))))
    return Scene(
        rng.choice(list(COLOURS)),
        ground,
        rng.choice(list(FRAMES)),
        tuple(place for place in PLACES if place in filled),
        tuple((rng.randint(0, _ROOM), rng.randint(0, _ROOM)) for _ in PLACES),
        rng.choice(GROUNDS[ground]),
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
