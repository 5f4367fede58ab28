"""A constitution found in the labels: principles that explain them, and what it says of each pair."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from pref_assets.pool import Pool
from pref_assets.scoring.base import Write, pair_scores
from pref_assets.scoring.judging.answers import ask_all, conversation, question_id, questions
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.render import check_template, filled, judged_texts
from pref_assets.scoring.judging.verdicts import verdicts_by_number
from pref_assets.scoring.judging.voters import VotingScorer, chosen_first, rule_votes, vote_of
from pref_assets.training.job import Reporter

INSTRUCTIONS = (
    "You are given two answers to the same request, and numbered principles. For each principle say which answer it "
    "favours, whatever else you think of them. Reply with one line for each principle, its number and your verdict: A, "
    "B, both, or neither. For example `1: A`."
)
TEMPLATE = (
    "<request>\n{prompt}\n</request>\n\n<answer_a>\n{first}\n</answer_a>\n\n<answer_b>\n{second}\n</answer_b>\n\n"
    "Principles:\n{principles}\n\nOne line for each, e.g. `1: A`, `1: B`, `1: both` or `1: neither`."
)


class PrincipleVotes(VotingScorer):
    """A constitution reconstructed from the labels votes on every pair: ICAI, Findeis et al., "Inverse Constitutional
    AI: Compressing Preferences into Principles" (arXiv:2406.06560), voting, filtering and ranking of principles.

    Every principle says for each pair which answer it favours, if any. Over the labelled train pairs it enters the
    constitution when for > against the labels, for is at least ``min_relevance`` of its votes, and invalid votes are
    fewer than the valid ones; the best by for - against make it, ``most`` of them. A server is asked about up to
    ``per_question`` principles at once, ``repeats`` times with other seeds and orders; its vote counts when all
    repeats agree, else the principle does not apply; an unreadable repeat makes the vote invalid.

    Score: share of the constitution's votes on the pair that favour the chosen answer, in [0, 1]; 0.5 when none of its
    principles applies. Categories: `chosen` above 0.5, `rejected` below, `split`, `none_applies`, `unparsable` when
    every vote is invalid (score null), `across_prompts` and `images` when `asked` principles abstain as they were not
    asked. Details: ``votes_for``, ``votes_against``, ``vote_<name>`` of every principle (1, -1, 0 does not apply, null
    invalid), and, the same on every row, ``rank_<name>`` (null outside the constitution), ``accuracy_<name>`` = for /
    (for + against) and ``relevance_<name>`` = for / all votes.

    Each pair's own label is one of the many that choose the constitution; held-out pairs are scored and choose
    nothing. Principles are configuration: proposing them by a model, and clustering the proposals, is not done here.

    Needs a server for `asked` principles: ``repeats`` requests for each pair and each ``per_question`` principles.
    """

    type: Literal["principle_votes"] = "principle_votes"
    repeats: int = Field(default=3, ge=1)
    """How often a server is asked; its votes count where all agree."""
    per_question: int = Field(default=40, ge=1, le=200)
    """Principles in one question."""
    min_relevance: float = Field(default=0.1, ge=0, le=1)
    """Least share of a principle's votes that are for the label."""
    most: int = Field(default=10, ge=1)
    """Principles in the constitution, at most."""
    instructions: str = INSTRUCTIONS
    """System message for `asked` voters."""
    template: str = TEMPLATE
    """Question for `asked` voters, with `{principles}`, `{prompt}`, `{first}` and `{second}`."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("principles", "prompt", "first", "second"))

    def items(self, pool: Pool) -> pl.DataFrame:
        """``QUESTIONS``: for each pair, each batch of `asked` principles, each repeat."""
        asked = self._asked(self._shown(pool))
        return questions((id_, messages, draw) for _, _, draw, _, id_, messages in asked)

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Asks; counts beside those of ``ask_all``: ``unparsable`` answers, in which no line could be read. Raises
        ``ServerError``."""
        unparsable = 0

        def keep(rows: pl.DataFrame) -> None:
            nonlocal unparsable
            write(rows)
            read = (verdicts_by_number(each, self.per_question) for each in rows["answer"])
            unparsable += sum(all(each is None for each in verdicts) for verdicts in read)

        return {**ask_all(self.server(), self.asking, items, keep, report), "unparsable": float(unparsable)}

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``.

        Raises:
            ValueError: there is no labelled train pair, or no principle explains the labels; says how each did.
        """
        votes = self.votes(pool, measured)
        labelled = pool.candidates().filter(pl.col("p_chosen") > 0.5)["pair_id"].to_list()
        if not labelled:
            raise ValueError("principle_votes: no train pair has a label, so no principle can explain any")
        ranked = constitution(votes, labelled, self.min_relevance, self.most)
        if not ranked["rank"].count():
            told = ", ".join(f"{name} {n_for}:{n_against}" for name, n_for, n_against, *_ in ranked.rows())
            raise ValueError(
                f"principle_votes: no principle explains the labels of {len(labelled)} pairs (for:against {told}); "
                "lower `min_relevance` or write other principles"
            )
        unasked = self._shown(pool).select("pair_id", "unasked" if self.asked() else pl.lit(None).alias("unasked"))
        return self._scores(votes.join(unasked, on="pair_id"), ranked)

    def votes(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """Frame (pair_id, one Int8 column a principle): 1 for the chosen answer, -1 for the rejected one, 0 where it
        does not apply, null where it is invalid."""
        votes = rule_votes(judged_texts(pool), self.rules())
        answers = dict(measured.select("id", "answer").iter_rows()) if measured.height else {}
        repeated: dict[str, dict[str, list[int | None]]] = {name: {} for name in self.asked()}
        for pair_id, names, _, first, id_, _ in self._asked(self._shown(pool)):
            for name, said in zip(names, verdicts_by_number(answers[id_], len(names)), strict=True):
                repeated[name].setdefault(pair_id, []).append(vote_of(said, chosen_is_first=first))
        ids = votes["pair_id"].to_list()
        said_of = [
            pl.Series(name, [unanimous(of[each]) if each in of else 0 for each in ids], dtype=pl.Int8)
            for name, of in repeated.items()
        ]
        return votes.with_columns(said_of).select("pair_id", *self.voters)

    def _scores(self, votes: pl.DataFrame, ranked: pl.DataFrame) -> pl.DataFrame:
        kept = ranked.drop_nulls("rank")["name"].to_list()
        facts = {
            f"{fact}_{name}": pl.lit(value, pl.Float64)
            for fact in ("rank", "accuracy", "relevance")
            for name, value in ranked.select("name", fact).iter_rows()
        }
        frame = votes.with_columns(
            votes_for=pl.sum_horizontal((pl.col(name) == 1).fill_null(value=False).cast(pl.Int64) for name in kept),
            votes_against=pl.sum_horizontal(
                (pl.col(name) == -1).fill_null(value=False).cast(pl.Int64) for name in kept
            ),
            unread=pl.all_horizontal(pl.col(name).is_null() for name in kept),
            **{f"vote_{name}": pl.col(name).cast(pl.Float64) for name in self.voters},
            **facts,
        )
        applied = pl.col("votes_for") + pl.col("votes_against")
        share = pl.when(applied > 0).then(pl.col("votes_for") / applied).otherwise(0.5)
        frame = frame.with_columns(score=pl.when(~pl.col("unread")).then(share))
        category = (
            pl.when("unread")
            .then(pl.lit("unparsable"))
            .when(applied == 0)
            .then(pl.lit("none_applies"))
            .when(share > 0.5)
            .then(pl.lit("chosen"))
            .when(share < 0.5)
            .then(pl.lit("rejected"))
            .otherwise(pl.lit("split"))
        )
        frame = frame.with_columns(category=pl.coalesce(pl.col("unasked").cast(pl.String), category))
        named = [f"vote_{name}" for name in self.voters]
        return pair_scores(frame, details=["votes_for", "votes_against", *named, *sorted(facts)])

    def _shown(self, pool: Pool) -> pl.DataFrame:
        return judged_texts(pool, self.max_characters, seen=self.longest_side is not None)

    def _asked(self, texts: pl.DataFrame) -> Iterator[tuple[str, list[str], int, bool, str, Messages]]:
        """(pair_id, principles, repeat, whether the chosen answer is shown first, question id, messages)."""
        asked = list(self.asked().items())
        rows = texts.filter(pl.col("unasked").is_null()).select("pair_id", "prompt", "images", "chosen", "rejected")
        for start in range(0, len(asked), self.per_question):
            batch = asked[start : start + self.per_question]
            names = [name for name, _ in batch]
            lines = "\n".join(f"{number}. {voter.text}" for number, (_, voter) in enumerate(batch, 1))
            for pair_id, prompt, images, chosen, rejected in rows.iter_rows():
                for draw in range(self.repeats):
                    first = chosen_first(pair_id, f"repeat {draw}", self.seed)
                    a, b = (chosen, rejected) if first else (rejected, chosen)
                    values = {"principles": lines, "prompt": prompt, "first": a, "second": b}
                    text = filled(self.template, values)
                    messages = conversation(self.instructions, text, images, self.longest_side)
                    yield pair_id, names, draw, first, question_id(messages, draw), messages


def unanimous(votes: Sequence[int | None]) -> int | None:
    """The vote that all repeats cast; 0 when they differ, null when one of them is invalid."""
    if None in votes:
        return None
    return votes[0] if len(set(votes)) == 1 else 0


def constitution(votes: pl.DataFrame, labelled: Sequence[str], min_relevance: float, most: int) -> pl.DataFrame:
    """How each principle explains the labels: name, for, against, abstain, invalid, accuracy, relevance, and rank in
    the constitution (null outside it), best first.

    Args:
        votes: pair_id and one Int8 column a principle: 1 for the label, -1 against, 0 abstains, null invalid.
        labelled: ids of the pairs that count.
        min_relevance: least share of all votes that are for the label.
        most: size of the constitution.
    """
    seen = votes.join(pl.DataFrame({"pair_id": labelled}, schema={"pair_id": pl.String}), on="pair_id", how="semi")
    long = seen.unpivot(index="pair_id", variable_name="name", value_name="vote")
    vote, n_for, against = pl.col("vote"), pl.col("for"), pl.col("against")
    counted = long.group_by("name").agg(
        **{"for": (vote == 1).sum(), "against": (vote == -1).sum()},
        abstain=(vote == 0).sum(),
        invalid=vote.null_count(),
    )
    valid = n_for + against + pl.col("abstain")
    counted = counted.with_columns(
        accuracy=pl.when(n_for + against > 0).then(n_for / (n_for + against)),
        relevance=n_for / (valid + pl.col("invalid")),
        lead=n_for.cast(pl.Int64) - against.cast(pl.Int64),
    )
    enters = (n_for > against) & (pl.col("relevance") >= min_relevance) & (pl.col("invalid") < valid)
    counted = counted.with_columns(enters=enters).sort(
        ["enters", "lead", "name"], descending=[True, True, False], maintain_order=True
    )
    place = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    ranked = counted.with_columns(rank=pl.when(pl.col("enters") & (place <= most)).then(place))
    return ranked.select("name", "for", "against", "abstain", "invalid", "accuracy", "relevance", "rank")
