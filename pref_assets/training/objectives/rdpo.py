"""Preferences with the reason for them."""

import hashlib
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.training.data import texts_named
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives.extended import Extended, Term
from pref_assets.training.objectives.kernel import Pairs
from pref_assets.training.views.parts import Part, parts_frame
from pref_assets.training.views.rationale import NAME, RationaleKind, asked_why, rationales


class RDPO(Extended):
    """Rationale DPO (Just et al. 2024, arXiv 2407.14477): the pair's loss plus a term that makes the policy more likely
    to write why the chosen answer is the better one, after the prompt and both answers.

    ``nll`` is the paper's form, gamma times the rationale's negative log-likelihood (a sum over its tokens);
    ``logsigmoid`` is that of its released code, -log S(gamma log pi), whose pull is half of gamma for a short
    rationale and reaches gamma for a very long one. Its runs take gamma 0.001, its code defaults to 0.1, which lets
    the sum over tokens outweigh the pair's loss by far. A pair without a rationale lacks the term (`rdpo/rationales`
    is the share that has it). Costs one more sequence, without a reference.
    """

    type: Literal["rdpo"] = "rdpo"
    part_names: ClassVar[tuple[str, ...]] = (NAME,)
    parts_without_reference: ClassVar[frozenset[str]] = frozenset((NAME,))
    gamma: float = Field(default=0.001, ge=0)
    """Weight of the rationale; 0 leaves its sequence out."""
    form: Literal["nll", "logsigmoid"] = "nll"
    """The paper's form, or that of its code."""
    rationale: RationaleKind = "votes"
    """Where rationales come from: `votes` as voters wrote them, or a template over ratings, `general`, `specific` or
    `detailed`."""
    shuffled: bool = False
    """A control: every pair gets the rationale of another one, after its own prompt and answers."""

    def texts(self, rows: pl.DataFrame, pairs: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
        """The pairs' rationales."""
        return rationales(rows if self.gamma else rows.clear(), pairs, completions, self.rationale)

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The rationales that the rows bring, after a question that shows both answers.

        Raises:
            TrainingDataError: no pair has one.
        """
        if not self.gamma or rows.is_empty():
            return parts_frame([])
        reasons = texts_named(rows, NAME)
        if not reasons:
            raise TrainingDataError(
                f"no pair has a rationale (objective rdpo, rationale: {self.rationale}); take another kind, or gamma 0"
            )
        if self.shuffled:
            order = sorted(reasons, key=lambda pair: hashlib.sha256(f"{seed}\0{pair}".encode()).digest())
            reasons = {pair: reasons[other] for pair, other in zip(order, [*order[1:], order[0]], strict=True)}
        found = []
        for pair, prompt, chosen, rejected in rows.select("pair_id", "prompt", "chosen", "rejected").iter_rows():
            if pair in reasons:
                said = [{"role": "assistant", "content": reasons[pair]}]
                found.append(Part(pair, NAME, asked_why(prompt, chosen, rejected, seed, pair), said))
        return parts_frame(found)

    def further(self, pairs: Pairs) -> Term | None:
        from torch.nn.functional import logsigmoid

        if not self.gamma:
            return None
        part = pairs.parts[NAME]
        present = (part.n_tokens > 0).to(part.logp)
        loss = -self.gamma * part.logp if self.form == "nll" else -logsigmoid(self.gamma * part.logp)
        values = {"rdpo/rationales": present, "rdpo/nll_per_token": -part.mean_logp.detach()}
        return Term(loss * present, values)
