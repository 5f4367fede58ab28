"""The heavy half of MM-RLHF's reward bench: checkpoints say what the store lacks, one in memory at a time."""

from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.benches.critics import bench_pool, measure
from pref_assets.evaluation.benches.mm_rlhf import MMRLHFBench
from pref_assets.evaluation.reward import score_items
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.training.critique_reward import KIND
from pref_assets.training.job import Job, Reporter


def judge_bench(job: Job, report: Reporter) -> dict[str, Any]:
    """Rewards of every answer under every checkpoint.

    Args:
        job: ``inputs`` as ``MMRLHFBench.tables`` makes them; ``params["checkpoints"]`` as ``CheckpointRef.dump`` makes
            it.
        report: told of progress.

    Returns:
        Answers ``computed`` now and ``reused`` from the store.
    """
    config = MMRLHFBench.model_validate(job.config)
    pairs, store = pl.read_parquet(job.inputs["pairs"]), Store(Home(Path(job.home)).store)
    critics = [each for each in job.params["checkpoints"] if each["kind"] == KIND]
    others = [each for each in job.params["checkpoints"] if each["kind"] != KIND]
    done = score_items(job.model_copy(update={"params": {**job.params, "checkpoints": others}}), report)
    for each in critics:
        checkpoint = CheckpointRef.load(each)
        computed, total = measure(config.scorer(checkpoint.name), bench_pool(pairs, checkpoint), store, report)
        done = {"computed": done["computed"] + computed, "reused": done["reused"] + total - computed}
    return done
