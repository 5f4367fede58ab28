"""The heavy half of policy evaluations: what the store lacks is asked of the models, one model in memory at a time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.evaluation.answering import answer, progress
from pref_assets.evaluation.answers import with_bases
from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.ranking import POLICY_LOGPS, RankingAccuracy, logps_key
from pref_assets.evaluation.verifier import Verifier
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.training.job import Job, Reporter


def evaluate_policy(job: Job, report: Reporter) -> dict[str, Any]:
    """Task of every evaluation of policies, told apart by ``config["type"]``.

    Args:
        job: ``config`` the evaluation; ``inputs`` as its ``tables`` makes them; ``params["checkpoints"]`` and
            ``params["others"]`` as ``CheckpointRef.dump`` makes them.
        report: told of progress.

    Returns:
        Items ``computed`` now and ``reused`` from the store, over all models.
    """
    return _TASKS[job.config["type"]](job, report)


def checkpoints(job: Job) -> list[CheckpointRef]:
    """The checkpoints that a job measures."""
    return [CheckpointRef.load(each) for each in job.params["checkpoints"]]


def _rank(job: Job, report: Reporter) -> dict[str, Any]:
    """Log-probabilities of the sampled completions under every checkpoint and its reference."""
    from pref_assets.training.data import encode
    from pref_assets.training.logprobs import completion_logps
    from pref_assets.training.policy import load_policy
    from pref_assets.training.reference import ReferenceLogps, reference_logps

    config = RankingAccuracy.model_validate(job.config)
    items = pl.read_parquet(job.inputs["items"]).rename({"completion_id": "id"})
    store = Store(Home(Path(job.home)).store)
    computed = reused = 0
    references = {(each.base, each.reference_version): each for each in checkpoints(job)}
    for each in references.values():
        settings = dict(each.reference or {})
        report.log(f"{each.base}: log-probabilities of {items.height} held-out completions, unless stored")
        params = {"folder": str(each.reference_folder), "version": each.reference_version}
        done = reference_logps(
            Job(
                task="reference_logps",
                home=job.home,
                config=settings,
                inputs={"completions": job.inputs["items"]},
                params=params if each.reference_version else {},
            ),
            report,
        )
        computed, reused = computed + done["computed"], reused + done["reused"]
    for each in checkpoints(job):
        settings = dict(each.reference or {})
        reference = ReferenceLogps.model_validate(settings)

        def ask(part: pl.DataFrame, loaded: Any, reference: ReferenceLogps = reference) -> pl.DataFrame:
            model, tokenizer = loaded
            encoded = [
                encode(tokenizer, prompt, messages, reference.max_length)
                for prompt, messages in part.select("prompt", "messages").iter_rows()
            ]
            logps, counts = completion_logps(model, encoded, reference.batch_tokens)
            truncated = [sequence.truncated for sequence in encoded]
            return part.select("id").with_columns(
                logp=pl.Series(logps), n_tokens=pl.Series(counts), truncated=pl.Series(truncated)
            )

        new = fill(
            store,
            POLICY_LOGPS,
            logps_key(each.version, settings),
            items,
            partial(load_policy, each.folder),
            ask,
            config.save_every,
            progress(report, f"{each.name}: log-probabilities"),
        )
        computed, reused = computed + new, reused + items.height - new
    return {"computed": computed, "reused": reused}


def _generate(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its base to the sampled prompts."""
    config = Verifier.model_validate(job.config)
    prompts = pl.read_parquet(job.inputs["prompts"])
    return answer(job.home, with_bases(checkpoints(job)), prompts, [config.sampling], config.save_every, report)


_TASKS: dict[str, Callable[[Job, Reporter], dict[str, Any]]] = {
    "ranking_accuracy": _rank,
    "verifier": _generate,
}
