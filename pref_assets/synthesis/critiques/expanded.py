"""Short reasons made into whole critiques by a language model that may add nothing to them."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field, field_validator

from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pairs.texts import text_of
from pref_assets.pool import Pool
from pref_assets.scoring.base import Measured, Write
from pref_assets.scoring.judging.answers import ANSWERS, ask_all, question_id, questions
from pref_assets.scoring.judging.client import Messages
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.scoring.judging.pictures import with_pictures
from pref_assets.scoring.judging.render import check_template, filled
from pref_assets.synthesis.critiques.reasons import compared, said
from pref_assets.synthesis.critiques.rules import ANSWERING, GUESSING, REFUSALS, Said, cleaned, fault
from pref_assets.training.job import Reporter

INSTRUCTIONS = (
    "You turn a reviewer's short notes on an answer into a full assessment of that answer. Keep every strength and "
    "every weakness that the notes state, and how much weight they give it. Explain each point in an orderly way, in a "
    "professional tone. Add no merit, fault or fact that the notes do not support, and do not guess. Do not answer the "
    "question yourself and do not rewrite the answer. Reply with the assessment and nothing else."
)
TEMPLATE = (
    "<question>\n{question}\n</question>\n\n<answer>\n{answer}\n</answer>\n\n<notes>\n{reasons}\n</notes>\n\n"
    "Write the assessment."
)
EXPANDED, SILENT = "expanded", "silent"


class ExpandedCritiques(Measured):
    """Asks a language model behind an OpenAI-compatible server to expand the annotators' reasons: the critique
    augmentation of MM-RLHF (Zhang et al., arXiv 2502.10391, section 4.1 and table 7), with its constraints: keep the
    stated strengths and weaknesses, professional and logical, nothing speculative, no answer to the question.

    What comes back is checked by plain rules. ``category``: ``expanded``; ``silent`` where nobody gave a reason (not
    asked, no critique); or the first rule that was broken, and then ``otherwise`` stands in: ``empty``; ``refused``, it
    begins with one of ``refusals``; ``too_long``; ``answers``, it has one of ``answering`` that no reason has, or
    begins with the whole answer; ``drops``, too few words of a reason occur; ``adds``, it has a number that neither
    question, answer nor reasons have; ``guesses``, it has one of ``guessing`` that no reason has. The rules look at
    words and numbers, not at meaning: a fault in other words passes, and a paraphrase without a reason's words does
    not. ``writer``: the model, or ``human`` where the reasons stand in.

    Needs a server. Cost: a request for each answer with reasons, once for ever; answers are kept by model, sampling
    and question, so changing a rule asks nothing.
    """

    kind: ClassVar[str] = ANSWERS
    type: Literal["expanded"] = "expanded"
    endpoint: Endpoint
    """The server and its model."""
    asking: Asking = Asking(max_tokens=1024)
    """How expansions are drawn."""
    dimensions: tuple[str, ...] = Field(default=("reason",), min_length=1)
    """Dimensions of ratings whose rationales are expanded."""
    instructions: str = INSTRUCTIONS
    """System message; empty for models without one."""
    template: str = TEMPLATE
    """The question, with `{question}`, `{answer}` and `{reasons}` (one a line)."""
    longest_side: int | None = Field(default=None, ge=16, le=4096)
    """Sends the prompt's images with the question, none with a longer side than so many pixels. Null: words alone."""
    most_words: int = Field(default=400, ge=1)
    """Critiques of more words are ``too_long``."""
    kept_words: float = Field(default=0.5, ge=0, le=1)
    """Share of each reason's words that must occur; 0 leaves the rule out."""
    refusals: tuple[str, ...] = REFUSALS
    """Beginnings of refusals; case does not count."""
    answering: tuple[str, ...] = ANSWERING
    """Phrases of one who answers the question."""
    guessing: tuple[str, ...] = GUESSING
    """Phrases of one who guesses."""
    otherwise: Literal["reasons", "nothing"] = "reasons"
    """What stands in for an expansion that broke a rule: the annotators' own words, or no critique."""

    @field_validator("template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_template(template, ("question", "answer", "reasons"))

    def key(self, pool: Pool) -> str:
        return answers_key(self.endpoint, self.asking)

    def items(self, pool: Pool) -> pl.DataFrame:
        """``QUESTIONS`` of all compared answers with reasons."""
        return questions((id_, messages, 0) for _, id_, messages in self._asked(self._told(pool)))

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Asks; counts those of ``ask_all``.

        Raises:
            ServerError: see ``ask_all``.
            SightError: an image is not there or cannot be opened.
        """
        return ask_all(self.endpoint, self.asking, items, write, report)

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``CRITIQUES`` of the compared answers, ordered by id, from the measured rows of ``items``."""
        told = self._told(pool)
        known = measured.select("id", "answer", "finish").iter_rows() if measured.height else ()
        answers = {id_: (answer, finish) for id_, answer, finish in known}
        rows = {row["completion_id"]: self._critique(row, *answers[id_]) for row, id_, _ in self._asked(told)}
        silent = {"critique": None, "reasons": None, "writer": self.endpoint.model, "category": SILENT}
        return CRITIQUES.frame({"completion_id": id_, **rows.get(id_, silent)} for id_ in told["completion_id"])

    def _critique(self, row: Mapping[str, Any], answer: str, finish: str) -> dict[str, Any]:
        text, reasons = cleaned(answer), " ".join(row["said"])
        wrong = fault(
            Said(text, finish == "length", row["question"], row["answer"], row["said"]),
            most_words=self.most_words,
            kept_words=self.kept_words,
            refusals=self.refusals,
            answering=self.answering,
            guessing=self.guessing,
        )
        if wrong is None:
            return {"critique": text, "reasons": reasons, "writer": self.endpoint.model, "category": EXPANDED}
        if self.otherwise == "reasons":
            return {"critique": reasons, "reasons": reasons, "writer": "human", "category": wrong}
        return {"critique": None, "reasons": reasons, "writer": self.endpoint.model, "category": wrong}

    def _told(self, pool: Pool) -> pl.DataFrame:
        """The compared answers, ordered by id: completion_id, question, answer, images, and ``said``, the reasons (null
        where there are none)."""
        reasons = said(pool, self.dimensions).group_by("completion_id", maintain_order=True).agg(said="reason")
        answers = pool.completions.select("completion_id", "prompt_id", answer=text_of("messages"))
        prompts = pool.prompts.select("prompt_id", "images", question=text_of("messages"))
        return (
            compared(pool)
            .join(answers, on="completion_id", how="left", maintain_order="left")
            .join(prompts, on="prompt_id", how="left", maintain_order="left")
            .join(reasons, on="completion_id", how="left", maintain_order="left")
        )

    def _asked(self, told: pl.DataFrame) -> Iterator[tuple[dict[str, Any], str, Messages]]:
        """(row, question id, messages) of every answer that is asked about."""
        for row in told.filter(pl.col("said").is_not_null()).iter_rows(named=True):
            values = {"question": row["question"], "answer": row["answer"], "reasons": "\n".join(row["said"])}
            side = self.longest_side
            turn = with_pictures(filled(self.template, values), (row["images"] or ()) if side else (), side or 0)
            system = [{"role": "system", "content": self.instructions}] if self.instructions else []
            messages = [*system, turn]
            yield row, question_id(messages), messages
