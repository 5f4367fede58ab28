import hashlib

import pytest

from pref_assets.pairs.media import MediaError, MediaStore, suffix

PNG = b"\x89PNG\r\n\x1a\n rest"


def test_content_is_stored_once_under_its_hash(tmp_path):
    store = MediaStore(tmp_path)
    uri = store.put(PNG)
    digest = hashlib.sha256(PNG).hexdigest()
    assert uri == f"media://{digest}.png"
    assert store.path(uri) == tmp_path / digest[:2] / f"{digest}.png"
    assert store.path(uri).read_bytes() == PNG
    changed = store.path(uri).stat().st_mtime_ns
    assert store.put(PNG) == uri
    assert store.path(uri).stat().st_mtime_ns == changed
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 1


@pytest.mark.parametrize(
    "uri", ["media://../../secret.png", "file:///etc/passwd", f"media://{'a' * 64}.png", f"media://{'a' * 64}/x.png"]
)
def test_an_unknown_or_malformed_uri_is_refused(tmp_path, uri):
    with pytest.raises(MediaError, match="media"):
        MediaStore(tmp_path).path(uri)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"\0\0\0\x18ftypmp42", "mp4"),
        (b"hello", "bin"),
        (b"", "bin"),
    ],
)
def test_the_suffix_says_what_the_bytes_begin_like(data, expected):
    assert suffix(data) == expected
