"""Complexity and quality as a language model grades them: the expected digit, not the digit it would write."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.schema import content_id
from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, pair_scores, ranked_by, sides
from pref_assets.scoring.language.base import LanguageScorer, completions_to_read
from pref_assets.scoring.language.exchanges import Exchange, exchanges
from pref_assets.training.data import Encoded

if TYPE_CHECKING:
    import torch

    from pref_assets.training.logprobs import PerToken

INSTRUCTION, RESPONSE, GRADES = "{instruction}", "{response}", "{grades}"
COMPLEXITY = f"""Grade how complex a request is: how many demands, steps and kinds of knowledge it takes to meet it.
1 is the simplest, {GRADES} the most complex. Reply with one digit from 1 to {GRADES} and nothing else.

Request:
{INSTRUCTION}

Complexity of the request, 1 to {GRADES}:"""
QUALITY = f"""Grade how good an answer to a request is: whether it is helpful, correct, complete and clear.
1 is the worst, {GRADES} the best. Reply with one digit from 1 to {GRADES} and nothing else.

Request:
{INSTRUCTION}

Answer:
{RESPONSE}

Quality of the answer, 1 to {GRADES}:"""
_MEASURED = ("complexity", "quality", "evol", "grade_mass")


class DigitExpectation(LanguageScorer):
    """Complexity of the prompt and quality of the answer as the expected grade sum_i i p(i), the softmax taken over
    the grade tokens alone (DEITA, Liu et al., arXiv:2312.15685, section 2; official scorer code).

    ``evol`` is sum over turns of complexity * quality, as in the paper; ``complexity`` and ``quality`` of several
    turns are means over them, which stay grades (choice). The original falls back to 3 when a grade cannot be read;
    here every grade is a number from the logits, and a tokenizer that splits a digit is an error. The original uses
    trained graders: name one as ``model`` with ``chat: false`` and its own templates; an untrained small model's grades
    say little. Details: complexity, quality, evol, each ``_chosen`` and ``_rejected``, those not measured null; and
    grade_mass, the mean probability that the model answers with a grade at all: near 0 it does not grade.
    One pass of the model for each distinct exchange (twice for ``evol``); turns that answers share are graded once.
    """

    type: Literal["digit_expectation"] = "digit_expectation"
    kind: ClassVar[str] = "digit_expectation"
    what: Literal["complexity", "quality", "evol"] = "evol"
    """The number of a side."""
    by: RankBy = "chosen"
    """How the two sides' numbers become one."""
    grades: int = Field(default=6, ge=2, le=9)
    """Grades go from 1 to this digit."""
    chat: bool = True
    """Ask in a user's turn of the chat template, the grade being the start of the reply; else as plain text."""
    complexity_template: str = COMPLEXITY
    """Text that asks for the complexity of `{instruction}`; `{grades}` stands for the highest grade."""
    quality_template: str = QUALITY
    """Text that asks for the quality of `{response}` to `{instruction}`."""

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        wanted = {"complexity_template": (INSTRUCTION,), "quality_template": (INSTRUCTION, RESPONSE)}
        for field, names in wanted.items():
            if missing := [name for name in names if name not in getattr(self, field)]:
                raise ValueError(f"{field} lacks {missing[0]}, where the text goes")
        return self

    def method(self) -> list[Any]:
        """The grades and how they are asked for; the template is part of each item."""
        return [self.grades, self.chat]

    def items(self, pool: Pool) -> pl.DataFrame:
        """Frame (id, text) of questions, each once: ``id`` a content id of ``text``.

        Raises:
            ValueError: as `completions_to_read`.
        """
        asked = self._questions(pool)
        return asked.select("id", "text").unique("id").sort("id")

    def in_order(self, items: pl.DataFrame) -> pl.DataFrame:
        """Longest text first."""
        return items.sort(pl.col("text").str.len_bytes(), "id", descending=[True, False])

    def read(self, items: pl.DataFrame, model: Any, tokenizer: Any) -> tuple[pl.DataFrame, int]:
        """Rows (id, grade, grade_mass, truncated). A text above ``max_length`` loses tokens from its middle.

        Raises:
            ValueError: a digit is not one token, or the tokenizer has no chat template.
        """
        from pref_assets.training.logprobs import completion_sums

        texts = [self._asked(tokenizer, text) for text in items["text"]]
        tokens = grade_tokens(tokenizer, texts[0], self.grades)
        read = tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        kept = [without_middle(ids, self.max_length) for ids in read]
        cut = [len(ids) > self.max_length for ids in read]
        encoded = [Encoded((*ids, tokens[0]), len(ids), truncated=False) for ids in kept]
        sums = completion_sums(model, encoded, self.batch_tokens, expected_grade(tokens), 2)
        rows = {"id": items["id"], "grade": sums[:, 0], "grade_mass": sums[:, 1], "truncated": cut}
        return pl.DataFrame(rows), sum(map(len, kept))

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``; the sides' scores are what ``what`` says."""
        grades = self._questions(pool).join(measured, on="id", how="left", validate="m:1")
        mass = grades.group_by("completion_id").agg(pl.col("grade_mass").sort_by("id").mean())
        turns = grades.pivot("aspect", index=["completion_id", "turn"], values="grade")
        absent = [pl.lit(None, pl.Float64).alias(each) for each in _ASPECTS if each not in turns.columns]
        turns = turns.with_columns(absent).sort("completion_id", "turn")
        product = pl.col("complexity") * pl.col("quality")
        summed = pl.when(product.is_not_null().all()).then(product.sum())
        found = turns.group_by("completion_id").agg(pl.col("complexity", "quality").mean(), evol=summed)
        values = found.join(mass, on="completion_id", validate="1:1").rename({"completion_id": "id"})
        chosen, rejected = pl.col(f"{self.what}_chosen"), pl.col(f"{self.what}_rejected")
        frame = sides(pool.pairs, values, _MEASURED).with_columns(
            score=ranked_by(self.by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
            grade_mass=(pl.col("grade_mass_chosen") + pl.col("grade_mass_rejected")) / 2,
        )
        named = [f"{name}_{side}" for name in _MEASURED[:3] for side in ("chosen", "rejected")]
        return pair_scores(frame, [*named, "grade_mass"])

    def _questions(self, pool: Pool) -> pl.DataFrame:
        """Frame (completion_id, turn, aspect, id, text): what is asked of every turn of every compared completion."""
        wanted = _ASPECTS if self.what == "evol" else (self.what,)
        rows = []
        for id_, prompt, messages in completions_to_read(pool).iter_rows():
            for turn, exchange in enumerate(exchanges([*prompt, *messages])):
                rows += [(id_, turn, aspect, self._question(aspect, exchange)) for aspect in wanted]
        columns = ["completion_id", "turn", "aspect", "text"]
        frame = pl.DataFrame(rows, schema=dict(zip(columns, _TYPES, strict=True)), orient="row")
        ids = [content_id("question", text) for text in frame["text"]]
        return frame.with_columns(id=pl.Series(ids, dtype=pl.String))

    def _question(self, aspect: str, exchange: Exchange) -> str:
        template = self.complexity_template if aspect == "complexity" else self.quality_template
        # Split first, so that text which looks like a placeholder stays what it is.
        parts = template.replace(GRADES, str(self.grades)).split(INSTRUCTION)
        return exchange[0].join(part.replace(RESPONSE, exchange[1]) for part in parts)

    def _asked(self, tokenizer: Any, text: str) -> str:
        if not self.chat:
            return text
        if tokenizer.chat_template is None:
            raise ValueError(f"the tokenizer of {self.model} has no chat template; use chat: false")
        turns = [{"role": "user", "content": text}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


_ASPECTS = ("complexity", "quality")
_TYPES = (pl.String, pl.Int64, pl.String, pl.String)


def grade_tokens(tokenizer: Any, text: str, grades: int) -> list[int]:
    """Ids of the tokens "1" to ``grades`` as they stand after ``text``. Raises ``ValueError`` when one is split."""
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = []
    for grade in range(1, grades + 1):
        after = tokenizer(f"{text}{grade}", add_special_tokens=False)["input_ids"]
        if after[:-1] != before:
            raise ValueError(
                f"grade {grade} is not one token after {text[-20:]!r}; use another model, or end the template otherwise"
            )
        found.append(after[-1])
    return found


def expected_grade(tokens: list[int]) -> "PerToken":
    """For logits (n, vocabulary): the expected grade 1 … len(tokens) by a softmax over ``tokens`` alone, and the
    probability that the whole softmax gives to them, (n, 2)."""
    import torch

    def grade(logits: "torch.Tensor", _: "torch.Tensor") -> "torch.Tensor":
        among = logits[:, tokens]
        values = torch.arange(1, len(tokens) + 1, device=logits.device, dtype=logits.dtype)
        mass = (among.logsumexp(-1) - logits.logsumexp(-1)).exp()
        return torch.stack([among.softmax(-1) @ values, mass], dim=-1)

    return grade


def without_middle(ids: list[int], length: int) -> list[int]:
    """At most ``length`` tokens: the first half and the last, where a template says what it asks."""
    if len(ids) <= length:
        return ids
    return ids[: length - length // 2] + ids[len(ids) - length // 2 :]
