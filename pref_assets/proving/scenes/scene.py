"""Scenes: coloured shapes at four places, and the picture of each, drawn pixel by pixel."""

import random
import struct
import zlib
from dataclasses import dataclass

PLACES = ("top-left", "top-right", "bottom-left", "bottom-right")
COLOURS = {
    "red": (224, 40, 40),
    "green": (40, 200, 60),
    "blue": (50, 80, 240),
    "yellow": (240, 220, 40),
    "white": (245, 245, 245),
}
SHAPES = {
    "square": ("######", "######", "######", "######", "######", "######"),
    "ring": ("######", "#....#", "#....#", "#....#", "#....#", "######"),
    "cross": ("#....#", ".#..#.", "..##..", "..##..", ".#..#.", "#....#"),
    "bar": ("......", "......", "######", "######", "......", "......"),
}
SIDE = 16
"""Width and height of a picture in pixels; each place is a quarter of it."""
_CELL = SIDE // 2
_ROOM = _CELL - len(SHAPES["square"])
_STORED = 0xFFFF
"""Most bytes of a deflate block that is not compressed."""


@dataclass(frozen=True)
class Thing:
    """A coloured shape."""

    colour: str
    shape: str

    def named(self) -> str:
        """For example ``a red square``."""
        return f"a {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What is at each of `PLACES`, null for nothing; how far each thing stands from the corner of its place, (x, y) in
    pixels; and the grey of the background, 0 to 255."""

    things: tuple[Thing | None, ...]
    offsets: tuple[tuple[int, int], ...]
    shade: int

    def at(self, place: str) -> Thing | None:
        """The thing at a place."""
        return self.things[PLACES.index(place)]

    def filled(self) -> list[str]:
        """Places with a thing."""
        return [place for place, thing in zip(PLACES, self.things, strict=True) if thing is not None]

    def pixels(self) -> list[list[tuple[int, int, int]]]:
        """Rows of (red, green, blue)."""
        rows = [[(self.shade,) * 3] * SIDE for _ in range(SIDE)]
        for number, (thing, (right, down)) in enumerate(zip(self.things, self.offsets, strict=True)):
            if thing is None:
                continue
            left, top = number % 2 * _CELL + right, number // 2 * _CELL + down
            for y, line in enumerate(SHAPES[thing.shape]):
                for x, mark in enumerate(line):
                    if mark == "#":
                        rows[top + y][left + x] = COLOURS[thing.colour]
        return rows

    def png(self) -> bytes:
        """The picture as a PNG file, the same bytes on every machine: its pixels are stored, not compressed."""
        lines = b"".join(b"\0" + bytes(value for pixel in row for value in pixel) for row in self.pixels())
        assert len(lines) <= _STORED
        block = b"\x01" + struct.pack("<HH", len(lines), len(lines) ^ _STORED) + lines
        data = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(lines))
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def draw_scene(rng: random.Random, least: int = 1, most: int = len(PLACES)) -> Scene:
    """A scene with ``least`` to ``most`` things."""
    filled = set(rng.sample(range(len(PLACES)), rng.randint(least, most)))
    things = tuple(draw_thing(rng) if place in filled else None for place in range(len(PLACES)))
    offsets = tuple((rng.randint(0, _ROOM), rng.randint(0, _ROOM)) for _ in PLACES)
    return Scene(things, offsets, rng.randrange(0, 56, 8))


def draw_thing(rng: random.Random) -> Thing:
    """A thing of any colour and shape."""
    return Thing(rng.choice(list(COLOURS)), rng.choice(list(SHAPES)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
