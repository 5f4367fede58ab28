"""Takes out, or weighs down, pairs with a plain fault in their texts or their label."""

from collections.abc import Iterator
from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.audit.texts import loose
from pref_assets.pairs.texts import contents_of
from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.cleaning import Cleaner
from pref_assets.settings import ScoresName

Flag = Literal["empty", "identical", "prefix_of", "truncated", "both_toxic", "inverted_p", "near_tie"]
Verdict = Literal["drop", "weight"]


class PairQuality(Cleaner):
    """Flags pairs by the faults that the relabelling of HH-RLHF found in "The Elephant in the Room" (CHH-RLHF,
    arXiv:2409.19024): empty, incomplete, indistinguishable, both toxic, inverted.

    Texts are compared without regard to case and runs of white space. What each flag means: ``empty``: an answer has
    no text; ``identical``: both answers say the same; ``prefix_of``: one answer is the start of the other;
    ``truncated``: the chosen answer has at least ``truncated_words`` words and stops on a letter or a comma, so
    probably in the middle of a sentence; ``both_toxic``: both answers hold words of better-profanity's list, as the
    audit's rule ``toxicity`` counts them; ``inverted_p``: a score says the label is probably wrong; ``near_tie``: the
    votes for the chosen side are within ``tie_band`` of one half. Thresholds are ours: the paper says little of how its
    annotators were instructed [choice]. A pair with several flags is dropped if any of them drops; weights multiply.

    Needs the texts, and scores for ``inverted_p``. Cost O(characters).
    """

    type: Literal["pair_quality"] = "pair_quality"
    flags: dict[Flag, Verdict] = Field(
        default={"empty": "drop", "identical": "drop", "prefix_of": "drop", "near_tie": "drop", "truncated": "weight"},
        min_length=1,
    )
    """Which flags to look for, and what becomes of pairs that have one."""
    weight: float = Field(default=0.5, gt=0, lt=1)
    """Weight in the loss that each flag with the verdict `weight` leaves a pair."""
    scores: ScoresName | None = None
    """Scores with a probability that the label is right, for `inverted_p`."""
    column: str = "p_correct"
    """Which number of the scores that is."""
    inverted_below: float = Field(default=0.25, gt=0, lt=1)
    """Probability that the label is right below which a pair counts as inverted."""
    tie_band: float = Field(default=0.0, ge=0, lt=0.5)
    """How far from one half the votes for the chosen side may be to count as a tie."""
    truncated_words: int = Field(default=20, ge=1)
    """Fewest words of an answer that can be truncated: short ones often end without a stop."""

    @model_validator(mode="after")
    def _inverted_has_scores(self) -> Self:
        if ("inverted_p" in self.flags) != (self.scores is not None):
            raise ValueError("`inverted_p` among the flags and `scores` go together: set both, or neither")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool, in an order drawn from the seed; ``score`` is the number of flags, negated.

        Raises:
            ValueError: a train pair lacks a completion or a finite probability; fewer pairs are clean than the budget.
        """
        found = self.flagged(pool)
        dropping = [flag for flag, verdict in self.flags.items() if verdict == "drop"]
        weighing = [flag for flag, verdict in self.flags.items() if verdict == "weight"]
        dropped = pl.any_horizontal(pl.lit(False), *dropping)
        named = pl.concat_str(
            [pl.when(flag).then(pl.lit(flag)) for flag in self.flags], separator=", ", ignore_nulls=True
        )
        first = pl.coalesce(*(pl.when(flag).then(pl.lit(flag)) for flag in [*dropping, *weighing]))
        count = pl.sum_horizontal(pl.col(flag).cast(pl.Float64) for flag in self.flags)
        weighed = pl.sum_horizontal(pl.lit(0), *(pl.col(flag).cast(pl.Int64) for flag in weighing))
        order = found.select(
            "pair_id",
            score=-count,
            clean=~dropped,
            reason=pl.when(dropped)
            .then(pl.format("{}: flags {}", first, named))
            .when(count > 0)
            .then(pl.format("weighted: flags {}", named))
            .otherwise(pl.lit("selected: no flag")),
            weight=self.weight**weighed,
        )
        order = order.with_columns(hash=seeded_hash(order["pair_id"], self.seed, "tie"))
        return self.keep(pool, order.sort(["score", "hash"], descending=[True, False]).drop("hash"))

    def flagged(self, pool: Pool) -> pl.DataFrame:
        """Frame (pair_id, one boolean column a flag) of the candidates, ordered by id; raises as ``select`` does."""
        candidates = pool.candidates() if self.scores is None else pool.scored(self.scores, self.column)
        texts = candidates
        said = pool.completions.select("completion_id", text=contents_of("messages"))
        for side in ("chosen", "rejected"):
            named = said.rename({"completion_id": f"{side}_id", "text": side})
            texts = texts.join(named, on=f"{side}_id", how="left", validate="m:1", maintain_order="left")
        absent = texts.filter(pl.any_horizontal(pl.col("chosen", "rejected").is_null()))["pair_id"]
        if len(absent):
            raise ValueError(
                f"{len(absent)} train pairs name a completion that the completions table does not hold, "
                f"e.g. {absent.head(3).to_list()}; materialize the pairs again"
            )
        texts = texts.with_columns(a=loose(pl.col("chosen")), b=loose(pl.col("rejected")))
        columns = dict(self._found(texts))
        return texts.select("pair_id", **columns)

    def _found(self, texts: pl.DataFrame) -> Iterator[tuple[str, pl.Expr | pl.Series]]:
        a, b = pl.col("a"), pl.col("b")
        empty, same = (a == "") | (b == ""), a == b
        rules: dict[Flag, pl.Expr] = {
            "empty": empty,
            "identical": same,
            "prefix_of": (a.str.starts_with(b) | b.str.starts_with(a)) & ~same & ~empty,
            "truncated": a.str.contains(r"[\p{L},]$") & (a.str.split(" ").list.len() >= self.truncated_words),
            "near_tie": (pl.col("p_chosen") - 0.5).abs() <= self.tie_band,
            "inverted_p": pl.col("score") < self.inverted_below if self.scores else pl.lit(False),
        }
        for flag in self.flags:
            yield flag, _both_toxic(texts) if flag == "both_toxic" else rules[flag]


def _both_toxic(texts: pl.DataFrame) -> pl.Series:
    from pref_assets.pairs.audit.toxicity import Toxicity

    said = texts.select("pair_id", chosen_text="chosen", rejected_text="rejected")
    sides = [set(Toxicity(parts=(part,)).find(said)["pair_id"]) for part in ("chosen", "rejected")]
    return texts["pair_id"].is_in(list(sides[0] & sides[1]))
