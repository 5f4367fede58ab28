"""A language model asked which of two answers is better, in both orders."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, field_validator

from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, Write, pair_scores
from pref_assets.scoring.judging.answers import ANSWERS, ask_all, conversation, question_id, questions
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.render import check_template, filled, judged_texts
from pref_assets.scoring.judging.verdicts import verdict
from pref_assets.training.job import Reporter

INSTRUCTIONS = (
    "You compare two answers to the same request. Judge how well each does what the request asks: correctness, "
    "helpfulness, safety, clarity. Neither the order of the answers nor their length is a reason. Say in a sentence or "
    "two what decides, then end with your verdict on a line of its own: [[A]] if answer A is better, [[B]] if answer B "
    "is better, [[C]] if neither is."
)
TEMPLATE = (
    "<request>\n{prompt}\n</request>\n\n<answer_a>\n{first}\n</answer_a>\n\n<answer_b>\n{second}\n</answer_b>\n\n"
    "Which answer is better? End with [[A]], [[B]] or [[C]]."
)
CONSISTENT, POSITION, UNPARSABLE = "consistent", "position", "unparsable"
DETAILS = ("first_order", "second_order", "agree", "first_position")


class Judge(MeasuredScorer):
    """Asks a language model behind an OpenAI-compatible server which answer is better, once in each order: LLM as a
    judge, Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv:2306.05685), section 3.4 on
    position bias.

    Score: mean of the two verdicts for the label, 1 chosen, 0 tie, -1 rejected; below 0 the judge contradicts the
    label. The paper calls verdicts that differ a tie; the mean does so when they are opposite, and gives half when one
    is a tie. Categories: `consistent` (both orders say the same), `position` (they differ), `unparsable` (an answer
    holds no verdict: score null, never half a judgement), `across_prompts` and `images` (not asked, score null).
    Details: `first_order` and `second_order` (the verdict with the chosen answer shown first, second), `agree`, and
    `first_position`, the share of the pair's decided verdicts for the answer shown first, whose mean is 0.5 without
    position bias.

    Needs a server. Cost: 2 requests for each pair, once for ever; answers are kept by model, sampling and question.
    """

    kind: ClassVar[str] = ANSWERS
    type: Literal["judge"] = "judge"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking()
    """How answers are drawn."""
    instructions: str = INSTRUCTIONS
    """System message; empty for models without one."""
    template: str = TEMPLATE
    """The question, with `{prompt}`, `{first}` and `{second}`; it asks for [[A]], [[B]] or [[C]]."""
    max_characters: int | None = Field(default=None, ge=2)
    """Longest text shown of the prompt and of each answer; of longer ones the middle is left out. Null: whole texts."""
    longest_side: int | None = Field(default=None, ge=16, le=4096)
    """Shows the prompt's images to a judge that sees, none with a longer side than so many pixels. Null: pairs about
    images are not put to it."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("prompt", "first", "second"))

    def key(self, pool: Pool) -> str:
        return answers_key(self.endpoint, self.asking)

    def items(self, pool: Pool) -> pl.DataFrame:
        """``QUESTIONS`` of all pairs, both orders."""
        return questions((id_, messages, 0) for _, _, id_, messages in self._asked(self._texts(pool)))

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Asks; counts beside those of ``ask_all``: ``unparsable`` answers, and ``first_position_share``, the share
        of decided verdicts for the answer shown first (left out when none is decided).

        Raises:
            ServerError: see ``ask_all``.
        """
        said: list[str] = []

        def keep(rows: pl.DataFrame) -> None:
            write(rows)
            said.extend(rows["answer"])

        counted = ask_all(self.endpoint, self.asking, items, keep, report)
        verdicts = [verdict(each) for each in said]
        decided = [each for each in verdicts if each in ("A", "B")]
        first = {"first_position_share": decided.count("A") / len(decided)} if decided else {}
        return {**counted, "unparsable": float(verdicts.count(None)), **first}

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        texts = self._texts(pool)
        answers = dict(measured.select("id", "answer").iter_rows()) if measured.height else {}
        # The letter of the chosen answer is A in the first order and B in the second.
        meaning = {"first_order": {"A": 1, "B": -1, "tie": 0}, "second_order": {"A": -1, "B": 1, "tie": 0}}
        found: dict[str, dict[str, int | None]] = {}
        for pair_id, order, id_, _ in self._asked(texts):
            said = verdict(answers[id_])
            found.setdefault(pair_id, {})[order] = None if said is None else meaning[order][said]
        rows = [(pair_id, each["first_order"], each["second_order"]) for pair_id, each in found.items()]
        schema = {"pair_id": pl.String, "first_order": pl.Float64, "second_order": pl.Float64}
        orders = pl.DataFrame(rows, schema=schema, orient="row")
        frame = texts.select("pair_id", "unasked").join(orders, on="pair_id", how="left", validate="1:1")
        return pair_scores(frame.with_columns(**_judged()), details=DETAILS)

    def _texts(self, pool: Pool) -> pl.DataFrame:
        return judged_texts(pool, self.max_characters, seen=self.longest_side is not None)

    def _asked(self, texts: pl.DataFrame) -> Iterator[tuple[str, str, str, Messages]]:
        """(pair_id, order, question id, messages) of every pair that is asked about, in both orders."""
        rows = texts.filter(pl.col("unasked").is_null()).select("pair_id", "prompt", "images", "chosen", "rejected")
        for pair_id, prompt, images, chosen, rejected in rows.iter_rows():
            for order, first, second in (("first_order", chosen, rejected), ("second_order", rejected, chosen)):
                text = filled(self.template, {"prompt": prompt, "first": first, "second": second})
                messages = conversation(self.instructions, text, images, self.longest_side)
                yield pair_id, order, question_id(messages), messages


def _judged() -> dict[str, pl.Expr]:
    first, second = pl.col("first_order"), pl.col("second_order")
    both = first.is_not_null() & second.is_not_null()
    category = (
        pl.when(pl.col("unasked").is_not_null())
        .then(pl.col("unasked"))
        .when(~both)
        .then(pl.lit(UNPARSABLE))
        .when(first == second)
        .then(pl.lit(CONSISTENT))
        .otherwise(pl.lit(POSITION))
    )
    decided = first.abs().fill_null(0) + second.abs().fill_null(0)
    for_first_shown = (first == 1).fill_null(value=False).cast(pl.Float64) + (second == -1).fill_null(value=False).cast(
        pl.Float64
    )
    return {
        "score": pl.when(both).then((first + second) / 2),
        "category": category,
        "agree": pl.when(both).then((first == second).cast(pl.Float64)),
        "first_position": pl.when(decided > 0).then(for_first_shown / decided),
    }
