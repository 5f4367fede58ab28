"""How likely a language model finds the two answers."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, pair_scores, ranked_by, sides
from pref_assets.scoring.language.base import LanguageScorer, completions_to_read

if TYPE_CHECKING:
    import torch

_MEASURED = ("logp", "mean_logp", "perplexity", "entropy", "n_tokens")


class Likelihood(LanguageScorer):
    """Log-probability, perplexity and predictive entropy of both answers after their prompts (perplexity as an
    indicator of quality: survey arXiv:2402.16827, section 3; arXiv:2309.04564).

    Perplexity is exp(-mean log p) over the answer's tokens, entropy the mean over these tokens of the entropy of the
    model's next-token distribution, in nats. The sums are those of ``reference_logps`` for the same model and length.
    Details, each for both sides (``_chosen``, ``_rejected``): logp, mean_logp, perplexity, entropy, n_tokens.
    Images of the prompt are shown to a model that sees. O(tokens) through the model; the answers of a prompt share its
    computation.
    """

    type: Literal["likelihood"] = "likelihood"
    kind: ClassVar[str] = "likelihood"
    looks: ClassVar[bool] = True
    per: Literal["token", "sequence"] = "token"
    """Rank by the mean log-probability of a token, or by the sum over the answer, which favours short ones."""
    by: RankBy = "margin"
    """How the two answers' log-probabilities become one number."""

    def items(self, pool: Pool) -> pl.DataFrame:
        """Frame (id, prompt, messages) of compared completions. Raises ``ValueError`` as `completions_to_read`."""
        return completions_to_read(pool, seen=True)

    def read(self, items: pl.DataFrame, model: Any, tokenizer: Any) -> tuple[pl.DataFrame, int]:
        """Rows (id, logp, entropy, n_tokens, truncated); log-probability and entropy are sums in nats."""
        from pref_assets.training.data import encode
        from pref_assets.training.logprobs import completion_sums

        encoded = [encode(tokenizer, p, m, self.max_length) for p, m in items.select("prompt", "messages").iter_rows()]
        sums = completion_sums(model, encoded, self.batch_tokens, logps_and_entropies, 2)
        counts, cut = [e.n_completion for e in encoded], [e.truncated for e in encoded]
        rows = {"id": items["id"], "logp": sums[:, 0], "entropy": sums[:, 1], "n_tokens": counts, "truncated": cut}
        return pl.DataFrame(rows), sum(len(e.ids) for e in encoded)

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``; the sides' scores are mean or summed log-probabilities, as ``per`` says."""
        mean = measured.with_columns(
            mean_logp=pl.col("logp") / pl.col("n_tokens"),
            entropy=pl.col("entropy") / pl.col("n_tokens"),
            n_tokens=pl.col("n_tokens").cast(pl.Float64),
        ).with_columns(perplexity=(-pl.col("mean_logp")).exp())
        column = "mean_logp" if self.per == "token" else "logp"
        chosen, rejected = pl.col(f"{column}_chosen"), pl.col(f"{column}_rejected")
        frame = sides(pool.pairs, mean, _MEASURED).with_columns(
            score=ranked_by(self.by, chosen, rejected), score_chosen=chosen, score_rejected=rejected
        )
        return pair_scores(frame, [f"{name}_{side}" for name in _MEASURED for side in ("chosen", "rejected")])


def logps_and_entropies(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Log-probability of each target and entropy of the distribution it was drawn from, (tokens, 2), in nats."""
    import torch

    found = []
    # A part at a time: several copies of a whole batch's logits would be most of the memory.
    for part, wanted in zip(logits.split(_PART), targets.split(_PART), strict=True):
        logps = part.log_softmax(-1)
        entropies = torch.special.entr(logps.exp()).sum(-1)
        found.append(torch.stack([logps.gather(-1, wanted[:, None])[:, 0], entropies], dim=-1))
    return torch.cat(found)


_PART = 256
