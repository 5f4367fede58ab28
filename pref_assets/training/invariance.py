"""Whether a reward model's scores depend on what else is in the batch: they must not."""

from typing import Any

import polars as pl

from pref_assets.training.job import Job, Reporter

BATCHED_TOKENS = 4096
ONE_BY_ONE = 1
"""Fewer tokens than any text has, so that every text is a batch of its own, without padding."""


def batch_invariance(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: scores the same texts in padded batches and one by one.

    Args:
        job: ``inputs["texts"]`` is Parquet (id, text), ``params["folder"]`` a published reward model.
        report: told of progress.

    Returns:
        ``texts``, ``largest_difference`` of a score, and ``spread`` of the scores (their standard deviation).
    """
    from pref_assets.training.reward_model import load_reward_model

    texts = pl.read_parquet(job.inputs["texts"]).sort("id")["text"].to_list()
    model = load_reward_model(job.params["folder"])
    batched, alone = (model.score(texts, tokens) for tokens in (BATCHED_TOKENS, ONE_BY_ONE))
    report.progress(len(texts), len(texts), "texts")
    return {
        "texts": len(texts),
        "largest_difference": float(abs(batched - alone).max()) if texts else 0.0,
        "spread": float(alone.std()) if texts else 0.0,
    }
