"""Preferences with optimism: away from what has been tried."""

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.training.data import texts_named
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.objectives.dpo import DPO
from pref_assets.training.objectives.extended import Extended, Term
from pref_assets.training.objectives.kernel import Pairs
from pref_assets.training.objectives.live import LiveSamples
from pref_assets.training.views.parts import Part, parts_frame

SAMPLED = "sampled"


class SELM(Extended):
    """Self-exploring language models (Zhang et al. 2024, arXiv 2405.19332): the pair's loss plus alpha beta
    (log policy - log reference) of an answer that the reference gave, which makes what was already tried less likely.

    An online stage brings that answer in its rows: a text named ``sampled``, and its reference log-probability. With
    ``samples`` the answers are drawn from the reference at every step instead, which needs `lora` and a reference that
    is a base model, the policy with its adapters off. Defaults are those of the Zephyr runs.
    """

    type: Literal["selm"] = "selm"
    part_names: ClassVar[tuple[str, ...]] = (SAMPLED,)
    inner: DPO = DPO(beta=0.01)
    """The loss of the two sides; its `beta` scales the further term too."""
    alpha: float = Field(default=0.001, ge=0)
    """Weight of the optimism; 0 leaves it out."""
    samples: int = Field(default=0, ge=0, le=64)
    """Answers drawn from the reference to each prompt at every step; 0: the rows bring one."""
    max_new_tokens: int = Field(default=64, ge=1, le=100_000)
    """Drawn answers are cut after this many tokens."""

    @property
    def live(self) -> LiveSamples | None:
        if not (self.alpha and self.samples):
            return None
        return LiveSamples(n=self.samples, max_new_tokens=self.max_new_tokens, by="reference")

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The answers that the rows bring.

        Raises:
            TrainingDataError: a pair has none, and none is drawn.
        """
        if not self.alpha or self.samples:
            return parts_frame([])
        brought = texts_named(rows, SAMPLED)
        if lacking := [pair for pair in rows["pair_id"] if pair not in brought]:
            raise TrainingDataError(
                f"{len(lacking)} pairs bring no text named `{SAMPLED}`, an answer of the reference: "
                f"{name_pairs(lacking)}. Rows of an online stage have one; set `samples` of the objective to draw them"
            )
        return parts_frame(
            Part(pair, SAMPLED, prompt, [{"role": "assistant", "content": brought[pair]}])
            for pair, prompt in rows.select("pair_id", "prompt").iter_rows()
        )

    def further(self, pairs: Pairs) -> Term | None:
        import torch

        if not self.alpha:
            return None
        names = [f"{SAMPLED}_{i}" for i in range(self.samples)] or [SAMPLED]
        ratio = torch.stack([pairs.parts[name].ratio for name in names]).mean(0)
        return Term(self.alpha * self.inner.beta * ratio, {"logps/sampled_ratio": ratio.detach()})
