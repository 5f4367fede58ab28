"""Folders of frames, in a folder or an archive, as the images of a row."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pref_assets.pairs.images import Images
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.back import records
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.record import BadRowError
from pref_assets_tests.pairs.build import raw, refusals

FRAMES = ("frame_1.png", "frame_2.png", "frame_10.png")
ROW = MmRlhfSource.example[1]


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), grey).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    video = tmp_path / "media" / "video" / "v1"
    video.mkdir(parents=True)
    for grey, name in enumerate(FRAMES):
        (video / name).write_bytes(png(grey))
    (video / ".hidden").write_bytes(b"no image")
    return tmp_path / "media"


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "media.zip"
    with zipfile.ZipFile(path, "w") as written:
        for file in sorted(folder.rglob("*")):
            written.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_a_video_is_its_frames_in_the_order_of_their_numbers(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = MediaStore(tmp_path / "store")
    source = MmRlhfSource(location="x.jsonl", image_folder=str(request.getfixturevalue(kind)))
    read = source.read(raw([ROW]), store)
    assert read.quarantine.height == 0
    assert [store.path(uri).read_bytes() for uri in read.prompts["images"][0]] == [png(0), png(1), png(2)]
    [(_, _, record)] = records(read.prompts, read.completions, read.votes)
    assert source.row(record) == ROW


@pytest.mark.parametrize("kind", ["folder", "archive"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("video/v2", "missing_image"),
        ("video", "no_frames"),
        (".", "missing_image"),
        ("..", "missing_image"),
        ("video/v1/frame_3.png", "missing_image"),
    ],
)
def test_a_folder_without_images_is_missing(
    kind: str, name: str, code: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    images = Images(str(request.getfixturevalue(kind)), MediaStore(tmp_path / "store"))
    with pytest.raises(BadRowError) as caught:
        images.stored([name])
    assert caught.value.code == code


def test_a_broken_frame_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "video" / "v1" / "frame_2.png").write_bytes(png(1)[:40])
    source = MmRlhfSource(location="x.jsonl", image_folder=str(folder))
    read = source.read(raw([ROW]), MediaStore(tmp_path / "store"))
    assert refusals(read) == [(1, "broken_image")]
    assert "'video/v1/frame_2.png'" in read.quarantine["reason"][0]
