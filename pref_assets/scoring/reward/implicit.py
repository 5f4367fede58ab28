"""The reward that a policy implies: how far training moved it towards an answer."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.evaluation.ranking import POLICY_LOGPS, logps_key
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, RankBy, Write, pair_scores, ranked_by, sides
from pref_assets.scoring.reward.items import completion_items, longest_first
from pref_assets.scoring.reward.logps import TIE, complete, rank_correct, reference_sides
from pref_assets.settings import PolicyName, ReferenceName
from pref_assets.training.checkpoint import Manifest, pair_ids, read_manifest
from pref_assets.training.job import Reporter
from pref_assets.training.reference import ReferenceLogps

TRAINED_ON, UNSEEN = "trained_on", "unseen"

DETAILS = (
    "log_ratio_chosen",
    "log_ratio_rejected",
    "logp_chosen",
    "logp_rejected",
    "dpo_loss",
    "rank_correct",
    "rank_correct_ln",
)


class ImplicitReward(MeasuredScorer):
    """DPO's implicit reward, beta (log policy(answer) - log reference(answer)), of both sides of every pair (Rafailov
    et al., "Direct Preference Optimization", arXiv 2305.18290, section 4).

    ``score`` is the margin between the sides. ``details``: the log-ratios and the policy's own log-probabilities, in
    nats; ``dpo_loss``, -log S(margin); ``rank_correct``, whether the policy finds the chosen side likelier (differences
    up to .01 nats count .5), and ``rank_correct_ln``, the same per token. ``category``: ``trained_on`` when the policy
    learned from this very pair, so its reward vouches for the label, else ``unseen``.

    The policy's log-probabilities are those that `ranking_accuracy` stores: measured once for both. Choice: the
    reference must be the one that the policy started from; another would mix training with the distance of two bases.

    Needs: a policy checkpoint, and log-probabilities of every pair under its base. Cost: one pass over each answer.
    """

    kind: ClassVar[str] = POLICY_LOGPS
    type: Literal["implicit_reward"] = "implicit_reward"
    checkpoint: PolicyName
    """The policy."""
    reference: ReferenceName
    """Log-probabilities under the model that it started from."""
    beta: float = Field(default=0.1, gt=0)
    """Scale of the reward; the policy's own beta makes it the one that it was trained with."""
    rank_by: RankBy = "margin"
    """What selectors rank by: chosen minus rejected, either alone, or their mean."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """Tokens, padding included, that go through the model at once; changes no number."""
    save_every: int = Field(default=128, ge=1)
    """Answers between two commits to the store; a killed run loses at most this many."""

    def key(self, pool: Pool) -> str:
        """Store key: the policy's version and the length it reads.

        Raises:
            ValueError: the checkpoint is no policy, or started from another model than the reference.
        """
        manifest = self._policy(pool.checkpoints[self.checkpoint])
        settings = dict(manifest.reference or {})
        known = pool.reference_logps[self.reference]["key"].unique().to_list()
        own = ReferenceLogps.model_validate(settings).key()
        if known and known != [own]:
            raise ValueError(
                f"policy {self.checkpoint!r} started from {settings['model']} at max_length {settings['max_length']}, "
                f"and reference_logps {self.reference!r} are of another model or length; name its `base`"
            )
        return logps_key(manifest.version, settings)

    def items(self, pool: Pool) -> pl.DataFrame:
        """The compared completions after their prompts, images in their places, (id, prompt, messages)."""
        return completion_items(pool, seen=True)

    def sources(self, pool: Pool) -> dict[str, str]:
        return {"checkpoint": pool.checkpoints[self.checkpoint]}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Writes rows (id, logp, n_tokens, truncated).

        Returns:
            ``tokens`` of the answers and ``truncated`` answers.

        Raises:
            TrainingDataError: the chat template refuses a conversation, an answer has no token, or a prompt has images
                and the policy does not see.
        """
        from pref_assets.training.data import encode
        from pref_assets.training.logprobs import completion_logps
        from pref_assets.training.loop import memory_advice
        from pref_assets.training.policy import load_policy

        folder = sources["checkpoint"]
        max_length = int(dict(self._policy(folder).reference or {})["max_length"])
        loaded: Any = load_policy(folder)
        model, tokenizer = loaded
        counted, done = {"tokens": 0.0, "truncated": 0.0}, 0
        for part in longest_first(items).iter_slices(self.save_every):
            texts = part.select("prompt", "messages").iter_rows()
            encoded = [encode(tokenizer, prompt, messages, max_length) for prompt, messages in texts]
            with memory_advice(self.batch_tokens):
                logps, counts = completion_logps(model, encoded, self.batch_tokens)
            cut = [each.truncated for each in encoded]
            facts = {"logp": pl.Series(logps), "n_tokens": pl.Series(counts), "truncated": pl.Series(cut)}
            write(part.select("id").with_columns(**facts))
            done += part.height
            report.progress(done, items.height, "answers")
            counted["tokens"] += float(counts.sum())
            counted["truncated"] += sum(cut)
        return counted

    def _policy(self, folder: str) -> Manifest:
        manifest = read_manifest(folder)
        if manifest.kind != "policy":
            raise ValueError(f"checkpoint {self.checkpoint!r} is a {manifest.kind}, not a policy")
        return manifest

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows.

        Raises:
            ValueError: a completion of a pair has no log-probability under the reference or the policy.
        """
        if pool.pairs.is_empty():
            return pair_scores(pl.DataFrame(schema={"pair_id": pl.String, "score": pl.Float64}))
        policy = complete(sides(pool.pairs, measured, ["logp", "n_tokens"]), f"policy {self.checkpoint!r}")
        reference = reference_sides(pool, self.reference).select(
            "pair_id", ref_chosen="logp_chosen", ref_rejected="logp_rejected"
        )
        frame = policy.join(reference, on="pair_id", validate="1:1", maintain_order="left").with_columns(
            log_ratio_chosen=pl.col("logp_chosen") - pl.col("ref_chosen"),
            log_ratio_rejected=pl.col("logp_rejected") - pl.col("ref_rejected"),
        )
        chosen, rejected = (self.beta * pl.col(f"log_ratio_{side}") for side in ("chosen", "rejected"))
        per_token = [pl.col(f"logp_{side}") / pl.col(f"n_tokens_{side}") for side in ("chosen", "rejected")]
        seen = pl.col("pair_id").is_in(pair_ids(pool.checkpoints[self.checkpoint]))
        frame = frame.with_columns(
            score=ranked_by(self.rank_by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
            dpo_loss=_softplus(rejected - chosen),
            rank_correct=rank_correct(pl.col("logp_chosen") - pl.col("logp_rejected"), TIE),
            rank_correct_ln=rank_correct(per_token[0] - per_token[1], 0),
            category=pl.when(seen).then(pl.lit(TRAINED_ON)).otherwise(pl.lit(UNSEEN)),
        )
        return pair_scores(frame, DETAILS)


def _softplus(x: pl.Expr) -> pl.Expr:
    """log(1 + e^x), which no margin overflows."""
    return x.clip(lower_bound=0) + (-x.abs()).exp().log1p()
