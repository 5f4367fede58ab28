"""The gallery: which pairs are on it, what is said of each, and that no text of the data can do anything."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from pref_assets.inspection.gallery import Gallery, _images, page
from pref_assets.pairs.media import MediaError, MediaStore
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.schema import CRITIQUES, PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets_tests.pairs.build import raw

HOSTILE = '</p><script>alert(1)</script><img src=x onerror=alert(2)> $title & "quotes"'


def a_pool(root: Path, count: int = 6, **changed: Any) -> tuple[Pool, MediaStore]:
    folder = root / "pictures"
    folder.mkdir()
    rows = []
    for number in range(count):
        Image.new("RGB", (600, 30), (40 * number, 200, 10)).save(folder / f"{number}.png")
        rows.append(
            {"image": f"{number}.png", "prompt": f"Question {number} {HOSTILE}", "chosen": "yes " * 400,
             "rejected": HOSTILE, "chosen_reason": f"Because {HOSTILE}", "rejected_reason": "No."} | changed
        )  # fmt: skip
    media = MediaStore(root / "media")
    read = MmRlhfSource(location="x.jsonl", image_folder=str(folder)).read(raw(rows), media)
    assert read.quarantine.is_empty()
    merged = merge(read.prompts, read.completions, read.votes, PairsSettings())
    ids = merged.completions["completion_id"].sort().to_list()
    critiques = CRITIQUES.frame(
        {"completion_id": each, "critique": f"Critique {place} {HOSTILE}", "writer": "template"}
        for place, each in enumerate(ids)
    )
    scores = PAIR_SCORES.frame(
        {"pair_id": pair, "score": 1.25, "score_chosen": 2.0, "score_rejected": 0.75, "category": "sure"}
        for pair in merged.pairs["pair_id"]
    )
    pool = Pool(
        pairs=merged.pairs,
        prompts=merged.prompts,
        completions=merged.completions,
        critiques={"told": critiques},
        scores={"reward": scores},
    )
    return pool, media


def drawn(pool: Pool, media: MediaStore, settings: Gallery | None = None) -> str:
    settings = settings or Gallery()
    return page("Gallery of <demo>", pool, settings.sample(pool), media, settings)


def test_a_page_tells_everything_known_of_a_pair(tmp_path: Path) -> None:
    text = drawn(*a_pool(tmp_path, 1))
    for said in ("Question 0", "votes: 1 chosen", "p(chosen) 1.00", "<b>reason</b> Because", "<b>told (template)</b>",
                 "reward 1.25 (sure)", "reward 2", "reward 0.75", "all 1 pairs with images"):  # fmt: skip
        assert said in text
    [image] = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(image))) as shown:
        assert shown.size == (280, 14)


def test_no_text_of_the_data_can_do_anything(tmp_path: Path) -> None:
    text = drawn(*a_pool(tmp_path))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert "<script" not in text
    assert len(re.findall(r"<img [^>]*>", text)) == 6
    assert all(tag.startswith('<img src="data:') for tag in re.findall(r"<img [^>]*>", text))
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 6 * 5
    assert "<title>Gallery of &lt;demo&gt;</title>" in text
    assert "$title &amp; &quot;quotes&quot;" in text
    assert not re.search(r"(href=|https?://|@import|url\()", text)


def test_a_sample_is_seeded_bounded_and_told(tmp_path: Path) -> None:
    pool, media = a_pool(tmp_path)
    few = drawn(pool, media, Gallery(pairs=3))
    assert few.count("<article") == 3
    assert "3 of 6 pairs with images" in few
    turned = Pool(**{**vars(pool), "pairs": pool.pairs.reverse(), "completions": pool.completions.reverse()})
    assert drawn(turned, media, Gallery(pairs=3)) == few
    ids = Gallery(pairs=3).sample(pool)["pair_id"].to_list()
    assert Gallery(pairs=4).sample(pool)["pair_id"].to_list()[:3] == ids
    assert {tuple(Gallery(pairs=3, seed=s).sample(pool)["pair_id"]) for s in range(5)} != {tuple(ids)}


def test_long_texts_many_images_and_what_is_not_stored(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(4)] + ["https://example.org/<far>.png"]
    pool, media = a_pool(tmp_path, 5, image=names)
    text = drawn(pool, media, Gallery(images=5, characters=100))
    assert "yes " * 24 + "yes…" in text
    assert "https://example.org/&lt;far&gt;.png" in text
    fewer = drawn(pool, media, Gallery(images=2))
    assert "and 3 more" in fewer
    assert fewer.count("<img ") == 2 * pool.pairs.height


def test_pairs_without_images_are_not_shown_and_lost_ones_are_an_error(tmp_path: Path) -> None:
    pool, media = a_pool(tmp_path)
    blind = pool.prompts.with_columns(images=pl.lit([], pl.List(pl.String)))
    text = drawn(Pool(**{**vars(pool), "prompts": blind}), media)
    assert "all 0 pairs with images" in text
    [uri] = pool.prompts["images"][0]
    media.path(uri).unlink()
    with pytest.raises(MediaError, match="read the source again"):
        drawn(pool, media)


def test_only_tiny_images_are_shown_larger_than_they_are(tmp_path: Path) -> None:
    media = MediaStore(tmp_path)
    for side, tag in ((16, '<img class="tiny" src="data:'), (200, '<img src="data:')):
        stream = io.BytesIO()
        Image.new("RGB", (side, side), "red").save(stream, "PNG")
        [shown] = _images([media.put(stream.getvalue())], media, Gallery())
        assert shown.startswith(tag)
