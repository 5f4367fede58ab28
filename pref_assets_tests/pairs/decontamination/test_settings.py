"""A bench that changes makes what was found with it out of date."""

import zipfile
from pathlib import Path

from pref_assets.pairs.decontamination import Bench, Decontamination
from pref_assets.pairs.readers import TrlSource


def test_another_content_of_a_bench_is_another_digest(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    file.write_text('{"prompt": "one"}\n')
    settings = Decontamination(benches={"mine": Bench(location=str(file), texts=("prompt",))})
    before = settings.digest()
    assert settings.digest() == before
    file.write_text('{"prompt": "one and two"}\n')
    assert settings.digest() != before


def test_benches_elsewhere_are_known_by_their_name() -> None:
    there = Decontamination(benches={"hub": Bench(location="hf://org/name", texts=("prompt",))})
    assert there.digest() == there.digest() != Decontamination().digest()


def test_another_archive_of_images_is_another_source(tmp_path: Path) -> None:
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.png", b"one")
    source = TrlSource(location="rows.jsonl", image_folder=str(archive))
    before = source.digest()
    assert source.digest() == before
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.png", b"two")
    assert source.digest() != before
