"""Which of two images is a statement true of? Votes on answers about one image become votes between images."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.pairing import PROVENANCE_COLUMNS
from pref_assets.pairs.readers.around import AroundSource
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.schema import RECORD_VOTES, completion_id, prompt_id

DIMENSION, ANNOTATOR = "images", "majority"
"""Of the votes between images; no single person gave them."""
_SIDES = ("completion_a", "completion_b")


class ImageContrastSource(AroundSource):
    """Reads another source, and compares equal answers to equal questions about other images.

    An answer is right about an image when more of its votes are for it than against it, and wrong when fewer are. Each
    answer that is right about one image is preferred to the same words where they are wrong: two prompts, one answer,
    so that nothing but the image decides (votes of dimension ``images`` by ``majority``). Ties compare nothing. Votes
    within an image stay. Only images of the same batch are compared. A question has at most ``most`` such pairs, those
    with the smallest ids; n images of a question could otherwise make n² / 2.

    `pairs.audit.policy` must say ``prompts_differ: keep``: such pairs go to quarantine otherwise. Those whose prompts
    fall into two splits are dropped (``two_splits``).

    A vote between images names the row of the image that the answer is right about. Withdraw the rows of an annotator
    to withdraw what his votes decided here: a withdrawal of the annotator alone takes back his own votes, not the
    majority he was part of.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "id": "d1_1",
            "image": "d1.png",
            "prompt": "There is a black item in every box. True?",
            "chosen": "true",
            "rejected": "false",
        },
    )
    example_settings: ClassVar[dict[str, Any]] = {"of": {"type": "mm_rlhf"}}
    keeps: ClassVar[str] = "What the source in `of` keeps, with further votes."

    type: Literal["image_contrast"] = "image_contrast"
    most: int = Field(default=16, ge=1, le=10_000)
    """Pairs of images of a question, at most."""

    def read_each(self, frames: Iterable[pl.DataFrame], media: MediaStore | None = None) -> Iterator[Records]:
        """Records of the frames of a batch, which are held together; the votes between images come with the last."""
        found = list(self.of.read_each(frames, media))
        if not found:
            return
        yield from found[:-1]
        prompts, completions, votes = (
            pl.concat([getattr(each, name) for each in found]) for name in ("prompts", "completions", "votes")
        )
        last = found[-1]
        contrasted = pl.concat([last.votes, contrasts(prompts, completions, votes, self.most)])
        yield Records(last.prompts, last.completions, contrasted, last.quarantine)


def contrasts(prompts: pl.DataFrame, completions: pl.DataFrame, votes: pl.DataFrame, most: int) -> pl.DataFrame:
    """``RECORD_VOTES`` between equal answers to equal questions about other images.

    Args:
        prompts, completions, votes: ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS`` and ``RECORD_VOTES`` of a batch.
        most: pairs of a question.
    """
    shown = prompts.filter(pl.col("images").list.len() > 0).unique("prompt_id")
    questions = [prompt_id(turns, (), context) for turns, context in shown.select("messages", "context").iter_rows()]
    asked = shown.select("prompt_id", "images", question=pl.Series(questions, dtype=pl.String))
    said = completions.sort("completion_id", "uri", "row").unique("completion_id", keep="first", maintain_order=True)
    answers = pl.Series([completion_id("", turns) for turns in said["messages"]], dtype=pl.String)
    said = said.with_columns(answer=answers).join(asked, on="prompt_id").join(_won(votes), on="completion_id")
    right, wrong = said.filter(pl.col("won") > 0), said.filter(pl.col("won") < 0)
    against = wrong.select("question", "answer", other="completion_id", other_images="images")
    found = right.join(against, on=["question", "answer"]).filter(pl.col("images") != pl.col("other_images"))
    found = found.sort("completion_id", "other")
    found = found.filter(pl.col("completion_id").cum_count().over("question") <= most)
    first = pl.col("completion_id") < pl.col("other")
    return RECORD_VOTES.conform(
        found.select(
            *PROVENANCE_COLUMNS,
            prompt_id=pl.lit(None, pl.String),
            completion_a=pl.min_horizontal("completion_id", "other"),
            completion_b=pl.max_horizontal("completion_id", "other"),
            annotator=pl.lit(ANNOTATOR),
            dimension=pl.lit(DIMENSION),
            choice=pl.when(first).then(pl.lit("a")).otherwise(pl.lit("b")),
            strength=pl.lit(None, pl.Float64),
            rationale=pl.lit(None, pl.String),
        )
    )


def _won(votes: pl.DataFrame) -> pl.DataFrame:
    """Frame (completion_id, won): votes for a completion less those against it."""
    sides = []
    for side, choice in zip(_SIDES, ("a", "b"), strict=True):
        mine = pl.when(pl.col("choice") == "tie").then(0).when(pl.col("choice") == choice).then(1).otherwise(-1)
        sides.append(votes.select(completion_id=side, won=mine))
    return pl.concat(sides).group_by("completion_id").agg(pl.col("won").sum())
