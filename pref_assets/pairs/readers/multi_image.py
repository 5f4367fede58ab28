"""Pairs about one image become pairs about that image among others."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.images import Images
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import IMAGE, base_role, decode, encode
from pref_assets.pairs.readers.around import AroundSource
from pref_assets.pairs.readers.base import Records, parsed
from pref_assets.pairs.readers.collage import Box, as_png, grid, grid_box, inset, inset_box
from pref_assets.pairs.readers.record import BadRowError, Record, Turn
from pref_assets.settings import digest

Layout = Literal["sequence", "grid", "picture_in_picture"]
METADATA = "multi_image"
"""Key of a prompt's metadata that says what was put together and where the image in question is."""
_MOST = {"sequence": 5, "grid": 9, "picture_in_picture": 2}
_QUESTIONS = {
    "sequence": "In image {place}, {question}",
    "grid": "In picture {place}, counted row by row from the top left, {question}",
    "picture_in_picture": "In the small picture in the middle, {question}",
}


class MultiImageSource(AroundSource):
    """Puts the image of every row of another source among unrelated ones of the same batch, as MIA-DPO does (Liu et
    al., arXiv:2410.17637, section 3): answers and votes stay true, and a model that looks at another image errs.

    - `sequence`: two to five images after each other; the question names which;
    - `grid`: two to nine images in one, as near to a square as holds them;
    - `picture_in_picture`: the image small in the middle of another.

    How many, which others and in which place is drawn from the seed and the row's own content; the others are of the
    batch's other rows, never the same image, and none twice. More rows in a batch can change what is drawn. Rows with
    no image, or several, go to quarantine (``not_one_image``), and so does a row for which the batch has too few others
    (``too_few_images``). The images stand before the question; ``<image>`` marks are dropped. Collages are PNG files by
    content. A prompt's metadata has under `multi_image`: layout, count, target (from 1), the box of the target in the
    image (left, top, right, bottom as shares; null in a sequence) and the uris of the parts in order.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {"id": "d1_1", "image": "d1.png", "prompt": "Which animal is it?", "chosen": "A dog.", "rejected": "A cat."},
    )
    example_settings: ClassVar[dict[str, Any]] = {"of": {"type": "mm_rlhf"}}
    keeps: ClassVar[str] = "What the source in `of` keeps; images and questions as described."

    type: Literal["multi_image"] = "multi_image"
    layout: Layout = "sequence"
    """How images are put together."""
    least: int = Field(default=2, ge=2, le=9)
    """Fewest images of a row, its own included."""
    most: int | None = Field(default=None, ge=2, le=9)
    """Most images of a row; null for 5 in a sequence, 9 in a grid and 2 for a picture in a picture."""
    question: str | None = Field(default=None, max_length=500)
    """What becomes of each question, with `{question}` and, if wanted, `{place}` (from 1) and `{count}`; null for
    a sentence that names the place."""
    tile: int = Field(default=336, ge=8, le=4096)
    """Pixels of a side of a grid's squares, or of the outer picture."""
    inset: float = Field(default=2 / 3, gt=0, lt=1)
    """Share of the outer picture's sides that the inner one takes; 16 of 24 patches in MIA-DPO's rule."""
    seed: int = Field(default=0, ge=0)
    """Seed of what is drawn."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if isinstance(self.of, MultiImageSource):
            raise ValueError("of: images are put together once; name the source itself")
        if not self.least <= self.largest <= _MOST[self.layout]:
            raise ValueError(f"least, most: a {self.layout} holds from 2 to {_MOST[self.layout]} images")
        known = {"place", "count", "question"}
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.asked) if name is not None}
        except ValueError as error:
            raise ValueError(f"question: {error}; braces of its own are doubled") from error
        if "question" not in fields or fields - known:
            raise ValueError("question: it holds {question}, may hold {place} and {count}, and nothing else in braces")
        return self

    @property
    def largest(self) -> int:
        """Most images of a row."""
        return self.most if self.most is not None else _MOST[self.layout]

    @property
    def asked(self) -> str:
        """What becomes of a question."""
        return self.question if self.question is not None else _QUESTIONS[self.layout]

    def read_each(self, frames: Iterable[pl.DataFrame], media: MediaStore | None = None) -> Iterator[Records]:
        """Records of the frames of a batch, which are held together: every row's image may stand beside any other's.

        Raises:
            ValueError: ``media`` is null.
            ImagesError: the folder of images is not there.
        """
        if media is None:
            raise ValueError("multi_image: images are put together in a media store, and there is none")
        whole = list(frames)
        read = self._reader(Images(self.image_folder, media, self.image_limits))
        others = sorted({record.images[0] for raw in whole for record in self._sound(raw, read)})

        def composed(row: dict[str, Any], uri: str) -> list[Record]:
            return [self.composed(record, others, media) for record in read(row, uri)]

        for raw in whole:
            yield self._read(raw, composed, None)

    def composed(self, record: Record, others: Sequence[str], media: MediaStore) -> Record:
        """The record with its image among some of ``others``, sorted uris of which its own may be one.

        Raises:
            BadRowError: ``too_few_images``.
        """
        own = record.images[0]
        # Drawn from what the row says alone, so that rows before it, and their order, do not matter.
        draw = random.Random(digest([self.seed, own, list(record.turns), record.context]))
        count = draw.randint(self.least, self.largest)
        found = [uri for uri in draw.sample(others, min(count, len(others))) if uri != own][: count - 1]
        if len(found) < count - 1:
            raise BadRowError("too_few_images", f"{count} images go together, and the batch has {len(found)} others")
        place = 0 if self.layout == "picture_in_picture" else draw.randrange(count)
        parts = [*found[:place], own, *found[place:]]
        images, box = self._put_together(parts, place, media)
        said = {"layout": self.layout, "count": count, "target": place + 1, "box": box, "parts": parts}
        return replace(
            record,
            turns=[self._question(turn, place + 1, count) for turn in record.turns],
            images=images,
            metadata={**(record.metadata or {}), METADATA: said},
        )

    def _put_together(self, parts: list[str], place: int, media: MediaStore) -> tuple[list[str], Box | None]:
        if self.layout == "sequence":
            return parts, None
        from pref_assets.models.vision import open_image

        pictures = [open_image(uri, media) for uri in parts]
        if self.layout == "grid":
            return [media.put(as_png(grid(pictures, self.tile)))], grid_box(place, len(parts))
        inner, outer = pictures
        return [media.put(as_png(inset(outer, inner, self.tile, self.inset)))], inset_box(self.inset)

    def _question(self, turn: Turn, place: int, count: int) -> Turn:
        """A user's turn with the place in its question, and without the marks of one image."""
        role, content = turn
        if base_role(role) != "user":
            return turn
        message = decode(role, content)
        parts = message["content"]
        said = parts if isinstance(parts, str) else "".join(each.get("text", "") for each in parts)
        question = self.asked.format(place=place, count=count, question=said.replace(IMAGE, "").strip())
        return encode({**message, "content": question})

    def _reader(self, images: Images) -> Callable[[dict[str, Any], str], list[Record]]:
        """From a row to the inner source's records, their images stored. Raises ``BadRowError`` ``not_one_image``."""
        read_row = self.of.opened()

        def read(row: dict[str, Any], uri: str) -> list[Record]:
            found = read_row(row, uri)
            for record in found:
                record.images = images.stored(record.images)
                if len(record.images) != 1:
                    raise BadRowError("not_one_image", f"the row has {len(record.images)} images, and one is wanted")
            return found

        return read

    def _sound(self, raw: pl.DataFrame, read: Callable[[dict[str, Any], str], list[Record]]) -> Iterator[Record]:
        """The records of the rows that can be read; of the others ``_read`` says why."""
        for uri, payload in raw.filter(pl.col("code").is_null()).select("uri", "payload").iter_rows():
            try:
                yield from read(parsed(payload, self.limits), uri)
            except BadRowError:
                continue


@dataclass(frozen=True)
class Composition:
    """What a prompt's metadata says of images put together.

    Attributes:
        target: place of the image in question among the parts, from 0.
        box: where it is in the one image; null where images follow each other.
    """

    layout: Layout
    count: int
    target: int
    box: Box | None


def composition(metadata: str | None) -> Composition | None:
    """The composition in a prompt's metadata; null where nothing was put together."""
    said = json.loads(metadata).get(METADATA) if metadata else None
    if not isinstance(said, dict):
        return None
    box = said["box"]
    return Composition(said["layout"], int(said["count"]), int(said["target"]) - 1, tuple(box) if box else None)
