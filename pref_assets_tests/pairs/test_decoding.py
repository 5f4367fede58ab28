"""What an image may be: its size by the header, animated files, videos, sampled frames."""

import base64
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from pref_assets.pairs.decoding import checked
from pref_assets.pairs.image_limits import ImageLimits
from pref_assets.pairs.images import Images
from pref_assets.pairs.media import MediaStore, suffix
from pref_assets.pairs.readers import ColumnsSource, Source, TrlSource
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.readers.rlaif_v import RlaifVSource
from pref_assets.pairs.reading import read_chunks
from pref_assets.pipeline.graph import pipeline_definitions
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import parse_spec
from pref_assets_tests.pairs.build import raw, refusals

LIMITS = ImageLimits()
GREYS = (10, 90, 200)


def picture(kind: str = "PNG", size: tuple[int, int] = (20, 16), grey: int = 90, **settings: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("L" if kind != "AVIF" else "RGB", size, grey).save(stream, kind, **settings)
    return stream.getvalue()


def moving(kind: str, greys: tuple[int, ...] = GREYS) -> bytes:
    stream = io.BytesIO()
    first, *others = (Image.new("RGB", (20, 16), (grey, grey, grey)) for grey in greys)
    exact = {"lossless": True} if kind == "WEBP" else {}
    first.save(stream, kind, save_all=True, append_images=others, duration=40, **exact)
    return stream.getvalue()


def bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """A PNG whose header promises 1.6 billion pixels; its data are 20 bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 20)) + chunk(b"IEND", b"")


def code_of(data: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(BadRowError) as caught:
        checked(data, "x.png", limits)
    assert "x.png" in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("size", [(40_000, 40_000), (12_000, 12_000), (1 << 14, (1 << 12) + 1)])
def test_a_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    # Beyond Pillow's own limit, between its warning and its limit, and just beyond ours: nothing was decoded, or the
    # missing data would have made it `broken_image`.
    assert code_of(bomb(*size)) == "image_too_large"
    assert code_of(bomb(1 << 14, 1 << 12)) == "broken_image"


def test_the_limits_of_size() -> None:
    small = picture(size=(20, 16))
    assert checked(small, "x.png", ImageLimits(max_pixels=320, min_side=16)) == [small]
    assert code_of(small, ImageLimits(max_pixels=319)) == "image_too_large"
    assert code_of(small, ImageLimits(min_side=17)) == "image_too_small"
    assert code_of(small, ImageLimits(max_bytes=len(small) - 1)) == "image_too_large"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_moving_images_are_refused_unless_frames_are_wanted(kind: str) -> None:
    data = moving(kind)
    assert code_of(data) == "animated_image"
    for wanted, greys in (("first", GREYS[:1]), ("all", GREYS)):
        frames = checked(data, "x", ImageLimits(moving=wanted))
        assert [_grey(frame) for frame in frames] == list(greys)
        assert {suffix(frame) for frame in frames} == {"png"}
    two = checked(data, "x", ImageLimits(moving="all", max_frames=2))
    assert [_grey(frame) for frame in two] == [GREYS[0], GREYS[2]]


def _grey(frame: bytes) -> int:
    with Image.open(io.BytesIO(frame)) as image:
        return image.convert("L").tobytes()[0]


def test_a_photograph_with_a_preview_is_no_animation() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (20, 16)).save(stream, "MPO", save_all=True, append_images=[Image.new("RGB", (10, 8))])
    assert checked(stream.getvalue(), "x.jpg", LIMITS) == [stream.getvalue()]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_still_images_stay_as_they_are_and_cut_ones_are_broken(kind: str) -> None:
    data = picture(kind, size=(64, 64))
    assert checked(data, "x", LIMITS) == [data]
    # Half of a plain image is cut inside its only block of data, whatever the format.
    assert code_of(data[: len(data) // 2]) == "broken_image"
    assert code_of(b"") == "broken_image"


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x18ftypmp42" + b"\0" * 40,
        b"\x1aE\xdf\xa3" + b"\0" * 40,
        b"RIFF\0\0\0\0AVI " + b"\0" * 40,
        b"\x00\x00\x01\xba" + b"\0" * 40,
        b"FLV\x01" + b"\0" * 40,
        b"OggS" + b"\0" * 40,
    ],
)
def test_a_video_is_called_one(data: bytes) -> None:
    assert code_of(data) == "video_file"


def test_an_avif_image_is_no_mp4() -> None:
    assert suffix(picture("AVIF")) == "avif"


@pytest.mark.parametrize(
    ("count", "most", "places"),
    [
        (3, 32, [0, 1, 2]),
        (100, 2, [0, 99]),
        (7, 4, [0, 2, 4, 6]),
        (10, 4, [0, 3, 6, 9]),
        (5, 1, [0]),
        (4, None, [0, 1, 2, 3]),
        (0, 3, []),
    ],
)
def test_frames_are_sampled_evenly(count: int, most: int | None, places: list[int]) -> None:
    assert ImageLimits(max_frames=most).sampled(count) == places


def test_frames_of_a_video_are_sampled_and_the_others_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "v"
    folder.mkdir(parents=True)
    for place in range(11):
        # Only the even frames are images at all.
        (folder / f"{place}.png").write_bytes(picture(grey=place) if place % 2 == 0 else b"no image")
    media = MediaStore(tmp_path / "media")
    images = Images(str(tmp_path / "clips"), media, ImageLimits(max_frames=6))
    assert images.stored(["v"]) == [media.put(picture(grey=place)) for place in (0, 2, 4, 6, 8, 10)]


@pytest.mark.parametrize("packed", [False, True])
def test_a_video_without_frames(packed: bool, tmp_path: Path) -> None:
    (tmp_path / "clips" / "empty").mkdir(parents=True)
    where = tmp_path / "clips"
    if packed:
        where = tmp_path / "clips.zip"
        with zipfile.ZipFile(where, "w") as archive:
            archive.write(tmp_path / "clips" / "empty", "empty/")
    with pytest.raises(BadRowError) as caught:
        Images(str(where), MediaStore(tmp_path / "media")).stored(["empty"])
    assert caught.value.code == "no_frames"


class TestReaders:
    """Every reader of images, from real files to the store."""

    COLUMNS: ClassVar[dict[str, Any]] = {
        "prompt": "question",
        "images": "image",
        "answers": [{"text": "chosen"}, {"text": "rejected"}],
        "votes": [{"choice": "'a'"}],
    }
    READERS: ClassVar[tuple[Any, ...]] = (
        (TrlSource, {}, lambda image: {"prompt": "What?", "image": image}),
        (TrlSource, {}, lambda image: {"prompt": "What?", "images": [image]}),
        (RlaifVSource, {}, lambda image: {"question": "What?", "image": image}),
        (MmRlhfSource, {}, lambda image: {"prompt": "What?", "image": image}),
        (ColumnsSource, COLUMNS, lambda image: {"question": "What?", "image": image}),
    )
    NAMES = ("trl image", "trl images", "rlaif_v", "mm_rlhf", "columns")

    @pytest.fixture(params=range(len(READERS)), ids=NAMES)
    def reader(self, request: pytest.FixtureRequest) -> Any:
        return self.READERS[request.param]

    def test_bytes_in_parquet(self, reader: Any, tmp_path: Path) -> None:
        kind, settings, row = reader
        bytes_of = [picture(), moving("GIF"), picture()[:40], picture("JPEG", grey=3)]
        rows = [
            row({"bytes": data, "path": f"{n}.png"}) | {"chosen": f"yes {n}", "rejected": "no"}
            for n, data in enumerate(bytes_of)
        ]
        file = tmp_path / "rows.parquet"
        pl.DataFrame(rows).write_parquet(file)
        media = MediaStore(tmp_path / "media")
        frame = pl.concat(read_chunks(file, "rows.parquet", "s", "b", media=media))
        read = kind(location=str(file), **settings).read(frame, media)
        assert refusals(read) == [(2, "animated_image"), (3, "broken_image")]
        assert read.prompts.sort("row")["images"].to_list() == [[media.put(bytes_of[0])], [media.put(bytes_of[3])]]
        assert media.path(read.prompts.sort("row")["images"][0][0]).read_bytes() == bytes_of[0]

    @pytest.mark.parametrize("where", ["folder", "archive", "data"])
    def test_names_and_data_uris(self, reader: Any, where: str, tmp_path: Path) -> None:
        kind, settings, row = reader
        folder = tmp_path / "pictures"
        folder.mkdir()
        files = {"good.png": picture(), "cut.png": picture()[:40], "clip.mp4": b"\0\0\0\x18ftypmp42" + b"\0" * 20}
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
            for name in files:
                archive.write(folder / name, name)
        names = [*files, "none.png"]
        if where == "data":
            names = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in files.values()]
            names.append("data:image/png;base64,%")
        else:
            settings = settings | {"image_folder": str(folder if where == "folder" else tmp_path / "pictures.zip")}
        rows = [row(name) | {"chosen": "yes", "rejected": "no"} for name in names]
        media = MediaStore(tmp_path / "media")
        read = kind(location="rows.jsonl", **settings).read(raw(rows), media)
        last = "broken_image" if where == "data" else "missing_image"
        assert refusals(read) == [(2, "broken_image"), (3, "video_file"), (4, last)]
        assert read.prompts["images"].to_list() == [[media.put(files["good.png"])]]
        assert all(json.loads(payload) for payload in read.quarantine["payload"])


@pytest.mark.parametrize(
    ("source", "row"),
    [
        (TrlSource(location="x", image_limits={"required": True}), {"prompt": "?", "chosen": "a", "rejected": "b"}),
        (
            ColumnsSource(location="x", image_limits={"required": True}, **TestReaders.COLUMNS),
            {"question": "?", "image": None, "chosen": "a", "rejected": "b"},
        ),
    ],
    ids=["trl", "columns"],
)
def test_a_pair_without_an_image_where_images_are_required(source: Source, row: dict[str, Any], tmp_path: Path) -> None:
    assert refusals(source.read(raw([row]), MediaStore(tmp_path))) == [(1, "no_image")]
    free = source.model_copy(update={"image_limits": LIMITS})
    assert free.read(raw([row]), MediaStore(tmp_path)).prompts["images"].to_list() == [[]]


@pytest.mark.parametrize("source", [MmRlhfSource(location="x"), RlaifVSource(location="x")])
@pytest.mark.parametrize("image", [None, ""])
def test_a_null_image_where_the_format_has_one(source: Source, image: Any, tmp_path: Path) -> None:
    row = {"prompt": "?", "question": "?", "chosen": "a", "rejected": "b", "image": image}
    [(_, code)] = refusals(source.read(raw([row]), MediaStore(tmp_path)))
    assert code == ("wrong_type" if image == "" and isinstance(source, RlaifVSource) else "missing_field")


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({"type": "mm_rlhf"}, True),
        ({"type": "rlaif_v"}, True),
        ({"type": "trl"}, False),
        ({"type": "trl", "image_folder": "pictures"}, True),
        ({"type": "trl", "image_limits": {"required": True}}, True),
        ({"type": "columns", **TestReaders.COLUMNS}, True),
        ({"type": "columns", **{k: v for k, v in TestReaders.COLUMNS.items() if k != "images"}}, False),
        ({"type": "hh_rlhf"}, False),
    ],
)
def test_only_pipelines_with_images_have_assets_of_images(settings: dict[str, Any], shows: bool) -> None:
    attributes = {"name": "p", "sources": {"s": {"location": "x.jsonl", **settings}}}
    spec = parse_spec(attributes)
    assert spec.shows_images() is shows
    keys = _assets(spec)
    assert ({"pairs/images", "reports/gallery"} <= keys) is shows
    off = parse_spec(attributes | {"pairs": {"images": None}})
    keys = _assets(off)
    assert "pairs/images" not in keys
    assert ("reports/gallery" in keys) is shows


def _assets(spec: PipelineSpec) -> set[str]:
    made = [each for each in pipeline_definitions(spec).assets or () if isinstance(each, dg.AssetsDefinition)]
    return {"/".join(key.path[1:]) for each in made for key in each.keys}
