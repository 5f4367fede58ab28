"""Criteria that vote on pairs, once they have shown on labelled pairs that they are any good."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.scoring.base import Write, pair_scores
from pref_assets.scoring.judging.answers import ask_all, conversation, question_id, questions
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.render import check_template, filled, judged_texts
from pref_assets.scoring.judging.verdicts import verdict
from pref_assets.scoring.judging.voters import VotingScorer, chosen_first, rule_votes, vote_of
from pref_assets.training.job import Reporter

INSTRUCTIONS = (
    "You compare two answers to the same request under one criterion and nothing else. Say in a sentence what decides, "
    "then end with your vote on a line of its own: [[A]], [[B]], or [[U]] if the criterion does not tell them apart."
)
TEMPLATE = (
    "Criterion: {criterion}\n\n<request>\n{prompt}\n</request>\n\n<answer_a>\n{first}\n</answer_a>\n\n"
    "<answer_b>\n{second}\n</answer_b>\n\nWhich answer meets the criterion better? End with [[A]], [[B]] or [[U]]."
)
KEEP, REWRITE, REPLACE = "keep", "rewrite", "replace"


class CriteriaVote(VotingScorer):
    """Criteria vote on every pair; those that are right on labelled pairs count: CritiQ, Guo et al., "CritiQ: Mining
    Data Quality Criteria from Human Preferences" (arXiv:2502.19279), its flow as published in code.

    Every voter votes for an answer, abstains (U) or says nothing readable. On ``gate_pairs`` labelled train pairs its
    accuracy leaves U out of the denominator and counts the unreadable as wrong; from ``keep_at`` on it is kept, and
    the kept ones vote. Score: (votes for - votes against the label) / kept, in [-1, 1]. Categories: `chosen` when for -
    against exceeds ``margin``, `rejected` when against - for does, else `undecided`; `unparsable` when no kept voter
    was readable (score null); `across_prompts` and `images` when `asked` voters were not asked and abstain. Details:
    ``votes_for``, ``votes_against``, ``unsure``, ``unparsable`` among the kept, ``vote_<name>`` of every voter, and
    ``gate_<name>``, its accuracy on the gate, the same on every row.

    The flow's manager, which rewrites criteria between ``replace_at`` and ``keep_at`` and invents others, is left to
    the reader of ``gate_<name>``: criteria are configuration here. Answers are shown in an order drawn for each pair
    and criterion, as the original does. The pairs of the gate vouch for their own labels, by 1 / ``gate_pairs`` each.

    Needs a server for `asked` voters: one request for each of them and each pair, kept by model, sampling and question.
    """

    type: Literal["criteria_vote"] = "criteria_vote"
    gate_pairs: int = Field(default=120, ge=1)
    """Labelled train pairs on which criteria are tried, drawn by the seed. Of 30 pairs, the paper's number, a criterion
    right on 85 % fails with probability .070; of 120 with .001."""
    keep_at: float = Field(default=0.75, gt=0, le=1)
    """Least accuracy of a criterion that votes."""
    replace_at: float = Field(default=0.5, ge=0, le=1)
    """At this accuracy or below a criterion is worth nothing; between the two it may be worth rewriting."""
    margin: int = Field(default=0, ge=0)
    """How many votes more one side needs for its category."""
    instructions: str = INSTRUCTIONS
    """System message for `asked` voters."""
    template: str = TEMPLATE
    """Question for `asked` voters, with `{criterion}`, `{prompt}`, `{first}` and `{second}`."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("criterion", "prompt", "first", "second"))

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Self:
        if self.replace_at >= self.keep_at:
            raise ValueError(f"`replace_at` ({self.replace_at:g}) has to be below `keep_at` ({self.keep_at:g})")
        return self

    def items(self, pool: Pool) -> pl.DataFrame:
        """``QUESTIONS``: one for each pair and `asked` voter."""
        return questions((id_, messages, 0) for _, _, _, id_, messages in self._asked(self._shown(pool)))

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Asks; counts beside those of ``ask_all``: ``unparsable`` answers. Raises ``ServerError``."""
        unparsable = 0

        def keep(rows: pl.DataFrame) -> None:
            nonlocal unparsable
            write(rows)
            unparsable += sum(verdict(each) is None for each in rows["answer"])

        return {**ask_all(self.server(), self.asking, items, keep, report), "unparsable": float(unparsable)}

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``.

        Raises:
            ValueError: fewer labelled train pairs than the gate needs, or no criterion passes it; says how each did.
        """
        votes, unasked = self.votes(pool, measured)
        gated = gate(votes, self._labelled(pool), self.keep_at, self.replace_at)
        kept = gated.filter(pl.col("status") == KEEP)["name"].to_list()
        if not kept:
            told = ", ".join(f"{name} {'none' if acc is None else f'{acc:.3f}'}" for name, acc, *_ in gated.rows())
            raise ValueError(
                f"criteria_vote: no criterion is right on {self.keep_at:.0%} of {self.gate_pairs} labelled pairs "
                f"({told}); lower `keep_at` or write other criteria"
            )
        return self._scores(votes.join(unasked, on="pair_id"), kept, dict(gated.select("name", "accuracy").iter_rows()))

    def votes(self, pool: Pool, measured: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Frame (pair_id, one Int8 column a voter: 1 chosen, -1 rejected, 0 unsure or not asked, null unreadable), and
        frame (pair_id, ``unasked``: why it was not asked about)."""
        votes = rule_votes(judged_texts(pool), self.rules())
        shown = self._shown(pool)
        answers = dict(measured.select("id", "answer").iter_rows()) if measured.height else {}
        found: dict[str, dict[str, int | None]] = {name: {} for name in self.asked()}
        for pair_id, name, first, id_, _ in self._asked(shown):
            found[name][pair_id] = vote_of(verdict(answers[id_]), chosen_is_first=first)
        ids = votes["pair_id"].to_list()
        said = [pl.Series(name, [of.get(each, 0) for each in ids], dtype=pl.Int8) for name, of in found.items()]
        unasked = shown.select("pair_id", "unasked" if self.asked() else pl.lit(None, pl.String).alias("unasked"))
        return votes.with_columns(said).select("pair_id", *self.voters), unasked

    def _labelled(self, pool: Pool) -> list[str]:
        """The train pairs of the gate: labelled ones without a tie, drawn by the seed."""
        labelled = pool.candidates().filter(pl.col("p_chosen") > 0.5).select("pair_id")
        if len(labelled) < self.gate_pairs:
            raise ValueError(
                f"criteria_vote: the gate needs {self.gate_pairs} labelled train pairs, but there are only "
                f"{len(labelled)}; lower `gate_pairs`"
            )
        order = labelled.sort(seeded_hash(labelled["pair_id"], self.seed, "gate"))
        return order["pair_id"].head(self.gate_pairs).to_list()

    def _scores(self, votes: pl.DataFrame, kept: Sequence[str], accuracy: Mapping[str, float | None]) -> pl.DataFrame:
        side = {each: pl.sum_horizontal((pl.col(name) == each).cast(pl.Int64) for name in kept) for each in (1, -1, 0)}
        difference = pl.col("votes_for") - pl.col("votes_against")
        category = (
            pl.when(difference > self.margin)
            .then(pl.lit("chosen"))
            .when(-difference > self.margin)
            .then(pl.lit("rejected"))
            .otherwise(pl.lit("undecided"))
        )
        frame = votes.with_columns(
            votes_for=side[1].fill_null(0),
            votes_against=side[-1].fill_null(0),
            unsure=side[0].fill_null(0),
            unparsable=pl.sum_horizontal(pl.col(name).is_null().cast(pl.Int64) for name in kept),
            **{f"vote_{name}": pl.col(name).cast(pl.Float64) for name in self.voters},
            **{f"gate_{name}": pl.lit(accuracy[name], pl.Float64) for name in self.voters},
        )
        unread = pl.col("unparsable") == len(kept)
        frame = frame.with_columns(
            score=pl.when(~unread).then(difference / len(kept)),
            category=pl.coalesce("unasked", pl.when(unread).then(pl.lit("unparsable")), category),
        )
        named = [f"{what}_{name}" for what in ("vote", "gate") for name in self.voters]
        return pair_scores(frame, details=["votes_for", "votes_against", "unsure", "unparsable", *named])

    def _shown(self, pool: Pool) -> pl.DataFrame:
        return judged_texts(pool, self.max_characters, seen=self.longest_side is not None)

    def _asked(self, texts: pl.DataFrame) -> Iterator[tuple[str, str, bool, str, Messages]]:
        """(pair_id, voter, whether the chosen answer is shown first, question id, messages)."""
        rows = texts.filter(pl.col("unasked").is_null()).select("pair_id", "prompt", "images", "chosen", "rejected")
        for name, voter in self.asked().items():
            for pair_id, prompt, images, chosen, rejected in rows.iter_rows():
                first = chosen_first(pair_id, name, self.seed)
                a, b = (chosen, rejected) if first else (rejected, chosen)
                values = {"criterion": voter.text, "prompt": prompt, "first": a, "second": b}
                text = filled(self.template, values)
                messages = conversation(self.instructions, text, images, self.longest_side)
                yield pair_id, name, first, question_id(messages), messages


def gate(votes: pl.DataFrame, labelled: Sequence[str], keep_at: float, replace_at: float) -> pl.DataFrame:
    """How each voter did on labelled pairs: name, accuracy, n_used, n_unsure, n_bad and status.

    ``accuracy`` is right / (votes without U), the unreadable counted as wrong; null when every vote is U. ``status``:
    ``keep`` from ``keep_at`` on, ``replace`` up to ``replace_at`` and where it is null, else ``rewrite``.

    Args:
        votes: pair_id and one Int8 column a voter: 1 right (for the label), -1 wrong, 0 unsure, null unreadable.
        labelled: ids of the pairs to look at.
    """
    seen = votes.join(pl.DataFrame({"pair_id": labelled}, schema={"pair_id": pl.String}), on="pair_id", how="semi")
    long = seen.unpivot(index="pair_id", variable_name="name", value_name="vote")
    accuracy = pl.col("right") / pl.col("n_used")
    status = (
        pl.when(pl.col("accuracy") >= keep_at)
        .then(pl.lit(KEEP))
        .when(pl.col("accuracy") > replace_at)
        .then(pl.lit(REWRITE))
        .otherwise(pl.lit(REPLACE))
    )
    counted = long.group_by("name", maintain_order=True).agg(
        right=(pl.col("vote") == 1).sum(),
        n_used=(pl.col("vote").is_null() | (pl.col("vote") != 0)).sum(),
        n_unsure=(pl.col("vote") == 0).sum(),
        n_bad=pl.col("vote").null_count(),
    )
    counted = counted.with_columns(accuracy=pl.when(pl.col("n_used") > 0).then(accuracy)).with_columns(status=status)
    return counted.select("name", "accuracy", "n_used", "n_unsure", "n_bad", "status")
