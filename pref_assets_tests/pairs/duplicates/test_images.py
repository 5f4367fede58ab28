"""Near duplicates among images: what the hash sees, what the colours see, who came first, and which prompts share a
split."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw

from pref_assets.features.store import Store
from pref_assets.pairs.audit import AuditSettings, flags
from pref_assets.pairs.audit.images import ImageAcrossSplits
from pref_assets.pairs.duplicates import ArrivalError, NearImages, image_duplicates
from pref_assets.pairs.duplicates.images import stands_for
from pref_assets.pairs.duplicates.looks import bands, differences, distances, hexadecimal, look, perceptual_hash
from pref_assets.pairs.media import MediaError, MediaStore
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers import TrlSource
from pref_assets.pairs.splits import Splits
from pref_assets_tests.pairs.build import raw

SETTINGS = NearImages()


def photograph(seed: int, size: int = 96) -> Image.Image:
    """Smooth noise: as much structure as a photograph has at this size."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def scene(shapes: list[tuple[int, int, str]]) -> Image.Image:
    """Squares on white, as the scenes of a planted world are."""
    image = Image.new("RGB", (96, 96), "white")
    for x, y, colour in shapes:
        ImageDraw.Draw(image).rectangle((x, y, x + 11, y + 11), fill=colour)
    return image


def written(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


class TestLooks:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize(
        "change",
        [
            lambda image: written(image, "JPEG", quality=70),
            lambda image: written(image, "WEBP", quality=60),
            lambda image: written(image.resize((64, 64))),
            lambda image: written(image.resize((300, 280))),
        ],
        ids=["jpeg", "webp", "smaller", "larger"],
    )
    def test_scaling_and_compression_change_little(self, seed: int, change: Any) -> None:
        bits, gap = apart(written(photograph(seed)), change(photograph(seed)))
        assert bits <= SETTINGS.distance
        assert gap <= SETTINGS.difference

    def test_other_photographs_are_far_apart(self) -> None:
        hashes = np.array([perceptual_hash(photograph(seed)) for seed in range(40)])
        left, right = np.triu_indices(40, 1)
        found = distances(hashes, left, right)
        assert found.min() > 10
        assert found.mean() == pytest.approx(32, abs=2)

    def test_colours_tell_apart_what_the_hash_cannot(self) -> None:
        red, green = (written(Image.new("RGB", (40, 40), colour)) for colour in ("red", "green"))
        assert apart(red, green) == (0, pytest.approx(1.0))
        one, other = (written(scene([(10, 10, "black"), (70, 70, colour)])) for colour in ("red", "#ff8800"))
        bits, gap = apart(one, other)
        assert bits <= SETTINGS.distance
        assert gap > SETTINGS.difference

    def test_what_a_look_says(self) -> None:
        width, height, kind, phash, cells = look(written(Image.new("RGB", (30, 20), (1, 2, 3)), "BMP"))
        assert (width, height, kind, phash) == (30, 20, "bmp", 0)
        assert cells == bytes([1, 2, 3]) * 256
        assert (hexadecimal(-1), hexadecimal(255)) == ("f" * 16, "00000000000000ff")

    def test_half_of_the_bits_of_a_hash_are_set(self) -> None:
        assert [(perceptual_hash(photograph(seed)) & (1 << 64) - 1).bit_count() for seed in range(5)] == [32] * 5

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16])
    def test_hashes_that_differ_in_fewer_bits_than_parts_share_one(self, count: int) -> None:
        random = np.random.default_rng(0)
        first = random.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, 500)
        flipped = np.array([np.bitwise_or.reduce(1 << random.choice(63, count - 1, replace=False)) for _ in first])
        second = first ^ flipped.astype(np.int64) if count > 1 else first
        assert (bands(first, count) == bands(second, count)).any(axis=1).all()


def apart(one: bytes, other: bytes) -> tuple[int, float]:
    looks = [look(each) for each in (one, other)]
    hashes = np.array([each[3] for each in looks], dtype=np.int64)
    cells = np.array([np.frombuffer(each[4], np.uint8) for each in looks])
    left, right = np.array([0]), np.array([1])
    return int(distances(hashes, left, right)[0]), float(differences(cells, left, right)[0])


@pytest.fixture
def media(tmp_path: Path) -> MediaStore:
    return MediaStore(tmp_path / "media")


def prompts(shown: list[tuple[str, list[str]]], batch: str = "b0", start: int = 1) -> pl.DataFrame:
    """Record prompts, each with its images, in order of arrival."""
    return pl.DataFrame(
        [
            {"prompt_id": name, "images": uris, "source": "s", "batch": batch, "uri": "f", "row": start + row}
            for row, (name, uris) in enumerate(shown)
        ],
        schema_overrides={"images": pl.List(pl.String)},
    )


def order(*batches: str) -> pl.DataFrame:
    return pl.DataFrame({"source": "s", "batch": list(batches), "sequence": range(len(batches))})


def found(frame: pl.DataFrame, media: MediaStore, settings: NearImages = SETTINGS, **more: Any) -> tuple[Any, Any]:
    images, groups = image_duplicates(frame.lazy(), order("b0", "b1"), settings, media, **more)
    near = dict(images.filter(pl.col("near").is_not_null()).select("uri", "near").iter_rows())
    return near, dict(groups.iter_rows())


class TestSearch:
    def test_the_earliest_of_several_near_ones_is_named(self, media: MediaStore) -> None:
        a = media.put(written(photograph(0)))
        b = media.put(written(photograph(0), "JPEG", quality=80))
        c = media.put(written(photograph(0, 128)))
        other = media.put(written(photograph(1)))
        frame = prompts([("p", [a]), ("q", [other]), ("r", [b]), ("s", [c]), ("t", [other])])
        near, groups = found(frame, media)
        assert near == {b: a, c: a}
        assert groups == {"r": "p", "s": "p", "t": "q"}
        images, _ = image_duplicates(frame.lazy(), order("b0"), SETTINGS, media)
        assert dict(images.select("uri", "prompts").iter_rows()) == {a: 1, b: 1, c: 1, other: 2}
        row = images.row(by_predicate=pl.col("uri") == b, named=True)
        assert (row["width"], row["height"], row["format"], row["bytes"]) == (
            96,
            96,
            "jpeg",
            len(media.path(b).read_bytes()),
        )
        assert 0 <= row["distance"] <= SETTINGS.distance
        assert 0 < row["difference"] <= SETTINGS.difference

    def test_the_order_of_rows_changes_nothing_and_later_batches_move_nobody(
        self, media: MediaStore, tmp_path: Path
    ) -> None:
        uris = [media.put(written(photograph(seed % 3), "JPEG", quality=95 - seed)) for seed in range(9)]
        frame = prompts([(f"p{at}", [uri]) for at, uri in enumerate(uris[:6])])
        before = found(frame, media)
        assert found(frame.reverse(), media) == before
        more = pl.concat([frame, prompts([(f"n{at}", [uri]) for at, uri in enumerate(uris[6:])], "b1")])
        near, groups = found(more, media, store=Store(tmp_path / "store"))
        assert len(before[0]) == 3
        assert before[0].items() <= near.items()
        assert before[1].items() <= groups.items()

    def test_looks_are_computed_once(self, media: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uris = [media.put(written(photograph(seed))) for seed in range(3)]
        frame, store = prompts([("p", uris[:2])]), Store(tmp_path / "store")
        before = found(frame, media, store=store)
        seen: list[bytes] = []

        def looked(data: bytes) -> Any:
            seen.append(data)
            return look(data)

        monkeypatch.setattr("pref_assets.pairs.duplicates.images.look", looked)
        assert found(frame, media, store=store) == before
        assert not seen
        found(pl.concat([frame, prompts([("q", uris[2:])], "b1")]), media, store=store)
        assert seen == [media.path(uris[2]).read_bytes()]

    def test_a_crowded_part_is_bounded(self, media: MediaStore) -> None:
        colours = [(n, 255 - n, (7 * n) % 256) for n in range(0, 240, 12)]
        uris = [media.put(written(Image.new("RGB", (16, 16), colour))) for colour in colours]
        frame = prompts([(f"p{at}", [uri]) for at, uri in enumerate(uris)])
        assert found(frame, media, NearImages(difference=0))[0] == {}
        twice = media.put(written(Image.new("RGB", (20, 20), colours[-1])))
        frame = pl.concat([frame, prompts([("last", [twice])], "b1")])
        assert found(frame, media)[0] == {twice: uris[-1]}
        assert found(frame, media, NearImages(candidates=3))[0] == {}

    def test_addresses_and_names_repeat_only_themselves(self, media: MediaStore) -> None:
        frame = prompts([("p", ["https://example.org/a.png"]), ("q", ["https://example.org/a.png"]), ("r", ["b.png"])])
        near, groups = found(frame, media)
        assert (near, groups) == ({}, {"q": "p"})
        images, _ = image_duplicates(frame.lazy(), order("b0"), SETTINGS, media)
        assert images["phash"].to_list() == [None, None]

    def test_no_images_at_all(self, media: MediaStore) -> None:
        images, groups = image_duplicates(prompts([("p", [])]).lazy(), order("b0"), SETTINGS, media)
        assert images.is_empty()
        assert groups.is_empty()

    def test_a_lost_file_and_an_unknown_batch_are_errors(self, media: MediaStore) -> None:
        lost = f"media://{'0' * 64}.png"
        with pytest.raises(MediaError, match="read the source again"):
            found(prompts([("p", [lost])]), media)
        with pytest.raises(ArrivalError):
            found(prompts([("p", ["a.png"])], "never"), media)

    def test_chains_of_near_images_begin_with_the_first(self) -> None:
        frame = pl.DataFrame({"uri": ["c", "a", "b", "d"], "near": ["b", None, "a", None]})
        assert stands_for(frame) == {"a": "a", "b": "a", "c": "a", "d": "d"}

    def test_a_prompt_of_several_images_joins_the_earliest_and_joins_no_groups(self, media: MediaStore) -> None:
        a, b, c = (media.put(written(photograph(seed))) for seed in range(3))
        _, groups = found(prompts([("p", [a]), ("q", [b]), ("r", [b, a]), ("s", [b, c]), ("t", [c])]), media)
        assert groups == {"r": "p", "s": "q", "t": "q"}


def test_prompts_about_one_image_share_a_split_and_leaks_are_flagged(media: MediaStore) -> None:
    seeds = range(40)
    files = [written(photograph(seed)) for seed in seeds]
    again = [written(photograph(seed), "JPEG", quality=92) for seed in seeds]
    rows = [_row(f"What is in picture {n}?", [media.put(files[n])]) for n in seeds]
    rows += [_row(f"Describe picture {n} in other words.", [media.put(again[n])]) for n in seeds]
    apart_ = PairsSettings(splits=Splits(test=0.3, validation=0.0))
    said = TrlSource(location="rows.jsonl").read(raw(rows, batch="b0"), media)
    images, groups = image_duplicates(said.prompts.lazy(), order("b0"), SETTINGS, media)
    assert images["near"].count() == 40
    dealt = merge(said.prompts, said.completions, said.votes, apart_, groups)
    split = {row["images"][0]: row["split"] for row in dealt.prompts.iter_rows(named=True)}
    near = dict(images.select("uri", "near").drop_nulls().iter_rows())
    assert all(split[uri] == split[of] for uri, of in near.items())
    assert 5 < sum(split[of] == "test" for of in near.values()) < 22
    without = merge(said.prompts, said.completions, said.votes, apart_)
    found_apart = {row["images"][0]: row["split"] for row in without.prompts.iter_rows(named=True)}
    assert any(found_apart[uri] != found_apart[of] for uri, of in near.items())

    def codes(merged: Any) -> dict[str, int]:
        tables = merged.comparisons.lazy(), merged.prompts.lazy(), merged.completions.lazy()
        seen = flags(*tables, AuditSettings(), arrival=order("b0"), images=images)
        return dict(seen.filter(pl.col("code").str.contains("image")).group_by("code").len().iter_rows())

    assert codes(dealt) == {"repeated_image": 40}
    torn = sum(found_apart[uri] != found_apart[of] for uri, of in near.items())
    assert codes(without) == {"repeated_image": 40, "image_across_splits": torn}


def test_a_prompt_of_two_groups_is_flagged_and_the_earlier_ones_stay() -> None:
    shown = pl.DataFrame(
        {
            "pair_id": ["early", "other", "both", "both"],
            "split": ["train", "test", "train", "train"],
            "rank": [0, 1, 2, 2],
            "uri": ["a", "b", "a", "b2"],
            "first": ["a", "b", "a", "b"],
        }
    )
    rows = ImageAcrossSplits().find(shown).rows()
    assert rows == [("both", "its prompt is in train, but `b2` is shown in test too")]


def _row(question: str, images: list[str]) -> dict[str, Any]:
    return {"prompt": question, "chosen": "Some words.", "rejected": "Other words.", "images": images}
