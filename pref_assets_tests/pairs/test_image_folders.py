"""Images that rows name, in a folder or an archive: found, checked and stored by content."""

import base64
import io
import zipfile

import pytest
from PIL import Image

from pref_assets.pairs.images import Images, ImagesError
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers import TrlSource
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.schema import RAW
from pref_assets.synthesis.broken.case import good_line


def image(kind="png", colour=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def media(tmp_path):
    return MediaStore(tmp_path / "media")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(image())
    (folder / "deep" / "b.jpg").write_bytes(image("jpeg"))
    (folder / "cut.jpg").write_bytes(image("jpeg")[:-200])
    return folder


@pytest.fixture
def archive(tmp_path, folder):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in folder.rglob("*.*"):
            packed.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_images_are_stored_by_content_wherever_they_lie(media, folder, archive, packed):
    uris = Images(str(archive if packed else folder), media).stored(["a.png", "deep/b.jpg", "./a.png"])
    assert uris == [media.put(image()), media.put(image("jpeg")), media.put(image())]


def test_an_absolute_name_inside_the_folder_is_found(media, folder):
    assert Images(str(folder), media).stored([str(folder / "a.png")]) == [media.put(image())]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("c.png", "missing_image"),
        ("../pictures.zip", "missing_image"),
        ("/etc/hostname", "missing_image"),
        ("a\0b.png", "missing_image"),
        ("cut.jpg", "broken_image"),
    ],
)
def test_a_missing_or_damaged_image_is_named(media, folder, archive, packed, name, code):
    with pytest.raises(BadRowError) as error:
        Images(str(archive if packed else folder), media).stored(["a.png", name])
    assert error.value.code == code
    assert repr(name) in str(error.value)


def test_data_uris_are_decoded_and_addresses_stay(media):
    data = f"data:image/png;base64,{base64.b64encode(image()).decode()}"
    images = Images(None, media)
    assert images.stored([data, "https://example.org/a.png", "a.png"]) == [
        media.put(image()),
        "https://example.org/a.png",
        "a.png",
    ]
    with pytest.raises(BadRowError, match="no base64 data"):
        images.stored(["data:image/png;base64,???"])


def test_a_folder_that_is_not_there_is_one_error(media, tmp_path):
    with pytest.raises(ImagesError, match="nowhere"):
        Images(str(tmp_path / "nowhere"), media)


def test_prompts_with_the_same_image_under_two_names_are_one(media, folder):
    (folder / "again.png").write_bytes(image())
    lines = [good_line(1, images=[name]).decode() for name in ("a.png", "again.png", "c.png")]
    raw = RAW.frame(
        {"source": "s", "uri": "rows.jsonl", "row": row, "batch": "b", "payload": line}
        for row, line in enumerate(lines, 1)
    )
    read = TrlSource(location="rows.jsonl", image_folder=str(folder)).read(raw, media)
    assert read.prompts["prompt_id"].n_unique() == 1
    assert read.prompts["images"].to_list() == [[media.put(image())]] * 2
    assert read.quarantine.select("row", "code").rows() == [(3, "missing_image")]
    assert TrlSource(location="rows.jsonl").read(raw).prompts["prompt_id"].n_unique() == 3
