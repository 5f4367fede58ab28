"""A gallery of the data: pairs drawn at random with their images, answers, votes and what was said of them, on one HTML
page that loads nothing else."""

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl
from pydantic import Field

from pref_assets.inspection.gallery_page import CARD, PAGE, SIDE
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.thumbnails import is_tiny, stored, thumbnail
from pref_assets.pool import Pool, seeded_hash
from pref_assets.settings import Settings

_CHOICES = ("chosen", "rejected", "tie")


class Gallery(Settings):
    """A seeded sample of the pairs whose prompts show images, drawn by a hash of their ids, so that more data puts new
    pairs between the others and changes none."""

    pairs: int = Field(default=48, ge=1, le=500)
    """Most pairs on the page."""
    images: int = Field(default=6, ge=1, le=64)
    """Images shown of a prompt; of more, how many are left out is said."""
    side: int = Field(default=280, ge=32, le=1024)
    """Pixels of the longer side of a shown image, at most."""
    quality: int = Field(default=70, ge=1, le=100)
    """Quality of the shown WebP."""
    characters: int = Field(default=900, ge=20)
    """Characters of a text that are shown."""
    seed: int = Field(default=0, ge=0)
    """Another seed draws other pairs."""

    def sample(self, pool: Pool) -> pl.DataFrame:
        """The pairs on the page with their texts and ``images``, in the order drawn."""
        asked = pool.prompts.select("prompt_id", "images").filter(pl.col("images").list.len() > 0)
        pairs = pool.pairs.join(asked, on="prompt_id", maintain_order="left")
        drawn = pairs.sort(seeded_hash(pairs["pair_id"], self.seed, "gallery"), "pair_id").head(self.pairs)
        return pool.texts(drawn)


def page(title: str, pool: Pool, pairs: pl.DataFrame, media: MediaStore, settings: Gallery) -> str:
    """The page as HTML. Every text of the data is escaped; a policy in the page forbids scripts and requests.

    Args:
        pairs: as `Gallery.sample` gives them.

    Raises:
        MediaError: the store has lost an image.
    """
    scores = _scores(pool, pairs)
    critiques = {name: dict(_said(table)) for name, table in pool.critiques.items()}
    ratings = dict(pool.completions.select("completion_id", "ratings").iter_rows())
    cards = [_card(row, scores[row["pair_id"]], critiques, ratings, media, settings) for row in pairs.to_dicts()]
    known = pool.prompts.filter(pl.col("images").list.len() > 0).select("prompt_id")
    all_ = pool.pairs.join(known, on="prompt_id", how="semi").height
    shown = f"{len(cards):,} of {all_:,} pairs with images" if len(cards) < all_ else f"all {all_:,} pairs with images"
    splits = ", ".join(f"{count} {split}" for split, count in sorted(Counter(pairs["split"]).items()))
    texts = {"title": html.escape(title), "shown": html.escape(f"{shown}: {splits}" if splits else shown)}
    return PAGE.substitute(texts, cards="\n".join(cards))


def _scores(pool: Pool, pairs: pl.DataFrame) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """Of each pair its rows of every score table, by the entry's name."""
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {pair: [] for pair in pairs["pair_id"]}
    for name, table in pool.scores.items():
        for row in table.join(pairs.select("pair_id"), on="pair_id", how="semi").iter_rows(named=True):
            found[row["pair_id"]].append((name, row))
    return found


def _said(critiques: pl.DataFrame) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for completion, text, writer in critiques.select("completion_id", "critique", "writer").iter_rows():
        if text:
            yield completion, (text, writer)


def _card(
    row: Mapping[str, Any],
    scores: Iterable[tuple[str, Mapping[str, Any]]],
    critiques: Mapping[str, Mapping[str, tuple[str, str | None]]],
    ratings: Mapping[str, list[Mapping[str, Any]]],
    media: MediaStore,
    settings: Gallery,
) -> str:
    scores = list(scores)
    sides = []
    for side in ("chosen", "rejected"):
        completion = row[f"{side}_id"]
        notes = [_note(_rated(each), each["rationale"], settings) for each in ratings.get(completion) or ()]
        for name, said in critiques.items():
            if completion in said:
                text, writer = said[completion]
                notes.append(_note(f"{name} ({writer})" if writer else name, text, settings))
        numbers = [_chip(name, each[f"score_{side}"]) for name, each in scores if each[f"score_{side}"] is not None]
        sides.append(
            SIDE.substitute(
                side=side,
                text=_text(row[side], settings),
                notes="".join(notes),
                numbers="".join(numbers),
            )
        )
    margins = [_chip(name, each["score"], each["category"]) for name, each in scores if each["score"] is not None]
    facts = [f"<span>{html.escape(str(row['split']))}</span>", f"<span>p(chosen) {row['p_chosen']:.2f}</span>"]
    facts += [f"<span>{_votes(row['votes'])}</span>"]
    return CARD.substitute(
        pair=html.escape(row["pair_id"]),
        images="".join(_images(row["images"], media, settings)),
        prompt=_text(row["prompt"], settings),
        facts="".join(facts + margins),
        sides="".join(sides),
    )


def _images(uris: list[str], media: MediaStore, settings: Gallery) -> Iterator[str]:
    for place, uri in enumerate(uris[: settings.images], 1):
        data = stored(uri, media)
        if data is None:
            yield f'<p class="away">{html.escape(uri)}</p>'
        else:
            source = thumbnail(data, settings.side, settings.quality, exact=True)
            kind = ' class="tiny"' if is_tiny(data) else ""
            yield f'<img{kind} src="{source}" alt="image {place} of the prompt" title="{html.escape(uri)}">'
    if len(uris) > settings.images:
        yield f'<p class="away">and {len(uris) - settings.images} more</p>'


def _votes(votes: list[Mapping[str, Any]] | None) -> str:
    counts = Counter(vote["choice"] for vote in votes or ())
    return html.escape("votes: " + (", ".join(f"{counts[each]} {each}" for each in _CHOICES if counts[each]) or "none"))


def _rated(rating: Mapping[str, Any]) -> str:
    value = rating["value"]
    return str(rating["dimension"]) if value is None else f"{rating['dimension']} {value:g}"


def _note(name: str, text: str | None, settings: Gallery) -> str:
    return f'<p class="note"><b>{html.escape(name)}</b> {_text(text, settings)}</p>'


def _chip(name: str, value: float, category: str | None = None) -> str:
    said = f"{name} {value:.3g}" + (f" ({category})" if category else "")
    return f'<span class="score">{html.escape(said)}</span>'


def _text(text: str | None, settings: Gallery) -> str:
    said = text or ""
    return html.escape(said if len(said) <= settings.characters else f"{said[: settings.characters - 1]}…")
