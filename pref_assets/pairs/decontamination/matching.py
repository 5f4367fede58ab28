"""What a slice of conversations shares with benches."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pairs.decontamination.grams import Grams, Places
from pref_assets.pairs.decontamination.settings import Decontamination
from pref_assets.pairs.duplicates.shingles import Shingles, concat, jaccard, windows
from pref_assets.pairs.duplicates.words import Words, words

NGRAM, NEAR = "ngram", "near_duplicate"
_FOUND = {"conversation": pl.Int64, "text": pl.Int64, "kind": pl.String, "similarity": pl.Float64, "detail": pl.String}


@dataclass(frozen=True)
class BenchIndex:
    """Bench texts by their n-grams and by their shingles, and the sets of the latter."""

    ngrams: Grams
    shingles: Grams
    sets: Shingles

    @classmethod
    def of(cls, texts: pl.Series, settings: Decontamination) -> "BenchIndex":
        found = words(texts)
        long = np.flatnonzero(np.diff(found.offsets) >= settings.ngram)
        ngrams = windows(found, settings.ngram)
        only_long = np.where(np.isin(np.arange(len(texts)), long), ngrams.counts, 0)
        ngrams = Shingles(ngrams.take(long).hashes, np.concatenate([[0], np.cumsum(only_long)]))
        shingles = windows(found, settings.shingle)
        return cls(Grams.of(ngrams, settings.common), Grams.of(shingles, settings.common), shingles.sets())

    def find(self, conversations: pl.Series, settings: Decontamination) -> pl.DataFrame:
        """Bench texts in conversations (``MESSAGES``): frame (conversation, text, kind, similarity, detail), places
        of both; each conversation, text and kind once."""
        said = _Said.of(conversations)
        found = [_ngrams(self, said, settings), _near(self, said, settings)]
        return pl.concat([pl.DataFrame(schema=_FOUND), *found])


@dataclass(frozen=True)
class _Said:
    """Words of the turns of conversations; ``owner`` is the conversation of each turn."""

    words: Words
    owner: Places

    @classmethod
    def of(cls, conversations: pl.Series) -> "_Said":
        turns = conversations.list.len().fill_null(0).to_numpy().astype(np.int64)
        texts = conversations.explode(empty_as_null=False, keep_nulls=False).struct.field("content")
        return cls(words(texts), np.repeat(np.arange(len(turns)), turns))


def _ngrams(index: BenchIndex, said: _Said, settings: Decontamination) -> pl.DataFrame:
    """Texts of which a conversation holds a large enough share."""
    grams = windows(said.words, settings.ngram)
    place, gram, text = index.ngrams.find(grams.hashes)
    turn = np.searchsorted(grams.offsets, place, side="right") - 1
    hits = pl.DataFrame({"conversation": said.owner[turn], "text": text, "gram": gram, "place": place})
    shared = (
        hits.filter(pl.col("text") >= 0)
        .group_by("conversation", "text")
        .agg(pl.col("gram").n_unique(), pl.col("place").unique().sort())
    )
    share = shared["gram"].to_numpy() / index.ngrams.sizes[shared["text"].to_numpy()]
    shared = shared.with_columns(similarity=pl.Series(share)).filter(pl.col("similarity") >= settings.share)
    return _told(shared, NGRAM, said, grams, settings.ngram, settings.detail_words)


def _near(index: BenchIndex, said: _Said, settings: Decontamination) -> pl.DataFrame:
    """Texts that a turn nearly repeats."""
    grams = windows(said.words, settings.shingle)
    place, gram, text = index.shingles.find(grams.hashes)
    turn = np.searchsorted(grams.offsets, place, side="right") - 1
    hits = pl.DataFrame({"turn": turn, "text": text, "gram": gram, "place": place})
    touched = np.unique(turn)
    sets = grams.take(touched).sets()
    common = hits.filter(pl.col("text") < 0).group_by("turn").agg(common=pl.col("gram").n_unique())
    shared = (
        hits.filter(pl.col("text") >= 0)
        .group_by("turn", "text")
        .agg(pl.col("gram").n_unique(), pl.col("place").unique().sort())
        .join(common, on="turn", how="left")
    )
    # Common shingles name no text, so what they may add is granted first and the sets decide.
    own = np.searchsorted(touched, shared["turn"].to_numpy())
    most = (shared["gram"] + shared["common"].fill_null(0)).to_numpy()
    union = sets.counts[own] + index.sets.counts[shared["text"].to_numpy()] - most
    hopeful = np.flatnonzero(most >= settings.near * union)
    shared, own = shared[hopeful], own[hopeful]
    exact = jaccard(concat([sets, index.sets]), own, len(touched) + shared["text"].to_numpy().astype(np.int64))
    shared = shared.with_columns(
        similarity=pl.Series(exact), conversation=pl.Series(said.owner[shared["turn"].to_numpy()])
    )
    near = shared.filter(pl.col("similarity") >= settings.near).sort("similarity", "turn", descending=[True, False])
    near = near.unique(["conversation", "text"], keep="first", maintain_order=True)
    return _told(near, NEAR, said, grams, settings.shingle, settings.detail_words)


def _told(found: pl.DataFrame, kind: str, said: _Said, grams: Shingles, size: int, longest: int) -> pl.DataFrame:
    """The findings with the longest run of shared words."""
    details = [_run(np.array(places), said.words, grams, size, longest) for places in found["place"].to_list()]
    frame = found.with_columns(kind=pl.lit(kind), detail=pl.Series(details, dtype=pl.String))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in _FOUND.items())


def _run(places: NDArray[np.int64], found: Words, grams: Shingles, size: int, longest: int) -> str:
    """Words of the first longest run of grams at ``places``, which are sorted."""
    turn = np.searchsorted(grams.offsets, places, side="right") - 1
    breaks = (np.diff(places) > 1) | (np.diff(turn) > 0)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    lengths = np.diff(np.concatenate([starts, [len(places)]]))
    best = int(np.argmax(lengths))
    at, length = int(starts[best]), int(lengths[best])
    first = int(found.offsets[turn[at]] + places[at] - grams.offsets[turn[at]])
    last = min(first + length - 1 + size, int(found.offsets[turn[at] + 1]))
    text = found.text(first, min(last, first + longest))
    return f"{text} …" if last - first > longest else text
