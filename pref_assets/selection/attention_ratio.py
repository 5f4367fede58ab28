"""Keeps pairs whose wrong answer was written while the model looked at the wrong image."""

from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool
from pref_assets.selection.base import Selector, decide
from pref_assets.settings import ScoresName

SEQUENCE, PICTURE = "sequence", "picture_in_picture"


class AttentionRatioSelector(Selector):
    """MIA-DPO's selection (Liu et al., arXiv:2410.17637, section 3): a pair is kept when little of the attention on
    images went to the one in question while the rejected answer was read, when the model was not sure of every token of
    it, and when the chosen answer, the truth, is short.

    Limits of a ratio go by the number of images put together: at most .8, .7, .6, .6 of two to five; a picture in a
    picture has less than .8 on its middle. The paper says nothing of grids: [choice] less than the limit of as many
    images, of more than five that of five. Post-selection on perplexity, length ratio and edit distance is in the paper
    without its limits, hence off. Reads scores of scorer `attention_ratio`. O(n), with edit distances O(n · m²).
    """

    type: Literal["attention_ratio"] = "attention_ratio"
    scores: ScoresName
    """Scores of an `attention_ratio`."""
    limits: dict[int, float] = Field(default={2: 0.8, 3: 0.7, 4: 0.6, 5: 0.6})
    """Largest ratio that is kept, by number of images; of more images than any key the last one's."""
    picture_limit: float = Field(default=0.8, gt=0, le=1)
    """A picture in a picture is kept below this share."""
    sure: float = Field(default=1.1, ge=1)
    """The rejected answer's pseudo-perplexity is above this."""
    chosen_below: int = Field(default=512, ge=1)
    """The chosen answer has fewer characters."""
    most_perplexity: float | None = Field(default=None, gt=1)
    """Post-selection: largest pseudo-perplexity of the rejected answer."""
    most_length_ratio: float | None = Field(default=None, ge=1)
    """Post-selection: most times that one answer is as long as the other, in characters."""
    least_edit_distance: float | None = Field(default=None, ge=0, le=1)
    """Post-selection: least edit distance of the answers, as a share of the longer one's characters."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if min(self.limits, default=0) != 2 or sorted(self.limits) != list(range(2, max(self.limits) + 1)):
            raise ValueError("limits: one for 2 images, 3, and so on, none left out")
        if not all(0 < limit <= 1 for limit in self.limits.values()):
            raise ValueError("limits: a ratio lies in (0, 1]")
        if self.most_perplexity is not None and self.most_perplexity <= self.sure:
            raise ValueError(f"most_perplexity {self.most_perplexity:g}: nothing is above `sure` {self.sure:g} then")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; what is kept comes in the order of the ratio, the lowest first.

        Raises:
            ValueError: a train pair has no row of scores, or no text; or the scores are of another scorer.
        """
        frame = self._read(pool)
        texts = pool.texts(frame.select(pool.pairs.columns)).select("pair_id", "chosen", "rejected")
        frame = frame.join(texts, on="pair_id", how="left", validate="1:1", maintain_order="left")
        reasons = [self._reason(row) for row in frame.iter_rows(named=True)]
        frame = frame.with_columns(reason=pl.Series(reasons, dtype=pl.String))
        frame = frame.with_columns(selected=pl.col("reason").str.starts_with("selected"))
        frame = frame.sort("score", "pair_id", nulls_last=True)
        return decide(pool, frame.select("pair_id", "score", "selected", "reason"))

    def _read(self, pool: Pool) -> pl.DataFrame:
        """The candidates with score, category, images and pseudo_perplexity."""
        table = pool.scores[self.scores]
        frame = pool.candidates()
        absent = frame.join(table, on="pair_id", how="anti")["pair_id"]
        if len(absent):
            raise ValueError(
                f"{len(absent)} train pairs have no row in scores {self.scores!r}, e.g. {absent.head(3).to_list()}; "
                "materialize the scores again"
            )
        frame = frame.join(table.select("pair_id", "score", "category"), on="pair_id", maintain_order="left")
        for name in ("images", "pseudo_perplexity"):
            values = pool.value(self.scores, name).rename({"value": name})
            frame = frame.join(values, on="pair_id", how="left", maintain_order="left")
        known = frame.filter(pl.col("score").is_not_null())
        broken = known.filter(~pl.col("score").is_finite())["pair_id"]
        if len(broken):
            raise ValueError(
                f"{len(broken)} train pairs have no usable score in scores {self.scores!r}, e.g. "
                f"{broken.head(3).to_list()}; materialize the scores again"
            )
        if not known.select(
            ((pl.col("images") >= 2) & (pl.col("pseudo_perplexity") >= 1)).fill_null(False).all()
        ).item():
            raise ValueError(f"scores {self.scores!r} say nothing of images; name ones of scorer `attention_ratio`")
        return frame

    def _reason(self, row: dict[str, object]) -> str:
        """Why a pair is kept or not: a code and numbers."""
        ratio, images, perplexity = row["score"], row["images"], row["pseudo_perplexity"]
        if ratio is None:
            return f"no_ratio: {row['category'] or 'not measured'}"
        assert isinstance(ratio, float)
        assert isinstance(images, float)
        assert isinstance(perplexity, float)
        chosen, rejected = str(row["chosen"]), str(row["rejected"])
        limit = self.picture_limit if row["category"] == PICTURE else self.limits[min(int(images), max(self.limits))]
        # In a sequence the limit itself is kept, as the paper's rule has it; a share of one image stays below it.
        if ratio > limit or (ratio == limit and row["category"] != SEQUENCE):
            return f"looked_there: ratio {ratio:.4g} of {int(images)} images, limit {limit:g}"
        if perplexity <= self.sure:
            return f"sure: pseudo-perplexity {perplexity:.4g} of the rejected answer, not above {self.sure:g}"
        if len(chosen) >= self.chosen_below:
            return f"long: the chosen answer has {len(chosen)} characters, not below {self.chosen_below}"
        return self._after(chosen, rejected, perplexity) or f"selected: ratio {ratio:.4g} of {int(images)} images"

    def _after(self, chosen: str, rejected: str, perplexity: float) -> str | None:
        """Why post-selection turns a pair down, if it does."""
        if self.most_perplexity is not None and perplexity > self.most_perplexity:
            return f"post_perplexity: {perplexity:.4g} is above {self.most_perplexity:g}"
        shorter, longer = sorted((len(chosen), len(rejected)))
        if self.most_length_ratio is not None and longer > self.most_length_ratio * shorter:
            return f"post_length: {longer} characters against {shorter}, more than {self.most_length_ratio:g} times"
        if self.least_edit_distance is not None:
            distance = edit_distance(chosen, rejected) / max(longer, 1)
            if distance < self.least_edit_distance:
                return f"post_edit_distance: {distance:.4g} is below {self.least_edit_distance:g}"
        return None


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance: the fewest characters put in, left out or replaced that make ``b`` of ``a``. O(|a| |b|),
    a row of the table at a time."""
    first, second = (np.array([ord(each) for each in text], dtype=np.int64) for text in (a, b))
    steps = np.arange(len(second) + 1)
    row = steps.copy()
    for number, letter in enumerate(first, start=1):
        best = np.minimum(row[:-1] + (second != letter), row[1:] + 1)
        # Putting in a run of letters costs one each: the least of all starts of the run.
        row = np.minimum.accumulate(np.concatenate([[number], best]) - steps) + steps
    return int(row[-1])
