"""Preferences between prompts: which instructions an answer follows."""

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, model_validator

from pref_assets.training.objectives.extended import Extended, Term, check_alone, preference
from pref_assets.training.objectives.kernel import Pairs
from pref_assets.training.views.constrained import inter, intra
from pref_assets.training.views.parts import Part, parts_frame

FOLLOWED, BROKEN = "intra_followed", "intra_broken"
INTER = ("inter_1_chosen", "inter_1_rejected", "inter_2_chosen", "inter_2_rejected")


class MAPL(Extended):
    """Multi-level aware preference learning (arXiv 2505.12845) in its DPO form: the pair's loss, plus l1 times
    "the chosen answer suits the prompt whose instructions it follows better than one whose it breaks", plus l2 times
    "the chosen answer is further ahead under the prompt whose instruction it alone follows".

    With m(x) = beta [ratio(chosen|x) - ratio(rejected|x)], the third term is -log S(m(x_1) - m(x_2)); no code of the
    paper is known, this term is read from its description, and the weights are not from it. The instructions and their
    checks are those of ``synthesis.verifiable`` that have an opposite (length, a word), so that prompts alone tell
    nothing. Normalisers do not cancel across prompts: both terms are approximations for a policy. A pair that gives no
    such prompts lacks the term. Costs two more sequences for l1 and four for l2.
    """

    type: Literal["mapl"] = "mapl"
    part_names: ClassVar[tuple[str, ...]] = (FOLLOWED, BROKEN, *INTER)
    l1: float = Field(default=1.0, ge=0)
    """Weight of the term within an answer (intra-sample); 0 leaves its sequences out."""
    l2: float = Field(default=1.0, ge=0)
    """Weight of the term across the pair (inter-sample); 0 leaves its sequences out."""
    instructions: int = Field(default=2, ge=1, le=8)
    """Instructions added to each prompt of the first."""
    violated: int = Field(default=1, ge=1, le=8)
    """Of them, those that the answer breaks in the second prompt."""

    @model_validator(mode="after")
    def _terms_are_possible(self) -> "MAPL":
        if self.violated > self.instructions:
            raise ValueError(f"violated ({self.violated}) is above instructions ({self.instructions})")
        if self.l1:
            check_alone(self.inner)
        return self

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Answers after the prompts that ``views.constrained`` makes of the pair's own."""
        found = []
        for pair, prompt, chosen, rejected in rows.select("pair_id", "prompt", "chosen", "rejected").iter_rows():
            if self.l1:
                made = intra(prompt, chosen, rejected, self.instructions, self.violated, seed, pair)
                if made is not None:
                    found += [Part(pair, FOLLOWED, made.prompt_1, chosen), Part(pair, BROKEN, made.prompt_2, chosen)]
            if self.l2 and (made := inter(prompt, chosen, rejected, seed, pair)) is not None:
                asked = (made.prompt_1, made.prompt_1, made.prompt_2, made.prompt_2)
                answers = (chosen, rejected, chosen, rejected)
                found += [Part(pair, *each) for each in zip(INTER, asked, answers, strict=True)]
        return parts_frame(found)

    def further(self, pairs: Pairs) -> Term | None:
        import torch
        from torch.nn.functional import logsigmoid

        loss, values = torch.zeros_like(pairs.chosen.logp), {}
        if self.l1:
            within = preference(self.inner, pairs.parts[FOLLOWED], pairs.parts[BROKEN])
            loss = loss + self.l1 * within
            values["loss/intra"] = within.detach()
        if self.l2:
            first, second, third, fourth = (pairs.parts[name] for name in INTER)
            ahead = self.inner.beta * ((first.ratio - second.ratio) - (third.ratio - fourth.ratio))
            across = -logsigmoid(ahead) * (first.n_tokens > 0)
            loss = loss + self.l2 * across
            values["loss/inter"] = across.detach()
        return Term(loss, values) if values else None
