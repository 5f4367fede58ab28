"""The heavy half of policy evaluations: what the store lacks is asked of the models, one model in memory at a time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.ranking import POLICY_LOGPS, RankingAccuracy, logps_key
from pref_assets.evaluation.verifier import GENERATIONS, Verifier, generations_key
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.reference import identity
from pref_assets.pairs.texts import content_text
from pref_assets.settings import digest
from pref_assets.training.job import Job, Reporter


def evaluate_policy(job: Job, report: Reporter) -> dict[str, Any]:
    """Task of ``RankingAccuracy`` and ``Verifier``, told apart by ``config["type"]``.

    Args:
        job: ``config`` the evaluation; ``inputs`` as its ``tables`` makes them; ``params["checkpoints"]`` as
            ``CheckpointRef.dump`` makes them.
        report: told of progress.

    Returns:
        Items ``computed`` now and ``reused`` from the store, over all models.
    """
    if job.config["type"] == "verifier":
        return _generate(Verifier.model_validate(job.config), job, report)
    return _rank(RankingAccuracy.model_validate(job.config), job, report)


def _rank(config: RankingAccuracy, job: Job, report: Reporter) -> dict[str, Any]:
    """Log-probabilities of the sampled completions under every checkpoint and its reference."""
    from pref_assets.training.data import encode
    from pref_assets.training.logprobs import completion_logps
    from pref_assets.training.policy import load_policy
    from pref_assets.training.reference import ReferenceLogps, reference_logps

    items = pl.read_parquet(job.inputs["items"]).rename({"completion_id": "id"})
    store = Store(Home(Path(job.home)).store)
    computed = reused = 0
    references = {digest(checkpoint["reference"]): checkpoint["reference"] for checkpoint in job.params["checkpoints"]}
    for settings in references.values():
        report.log(f"{settings['model']}: log-probabilities of {items.height} held-out completions, unless stored")
        done = reference_logps(
            Job(task="reference_logps", home=job.home, config=settings, inputs={"completions": job.inputs["items"]}),
            report,
        )
        computed, reused = computed + done["computed"], reused + done["reused"]
    for checkpoint in job.params["checkpoints"]:
        reference = ReferenceLogps.model_validate(checkpoint["reference"])

        def ask(part: pl.DataFrame, loaded: Any, reference: ReferenceLogps = reference) -> pl.DataFrame:
            model, tokenizer = loaded
            encoded = [
                encode(tokenizer, prompt, messages, reference.max_length)
                for prompt, messages in part.select("prompt", "messages").iter_rows()
            ]
            logps, counts = completion_logps(model, encoded, reference.batch_tokens)
            truncated = [each.truncated for each in encoded]
            return part.select("id").with_columns(
                logp=pl.Series(logps), n_tokens=pl.Series(counts), truncated=pl.Series(truncated)
            )

        new = fill(
            store,
            POLICY_LOGPS,
            logps_key(checkpoint["version"], checkpoint["reference"]),
            items,
            partial(load_policy, checkpoint["folder"]),
            ask,
            config.save_every,
            _progress(report, f"{checkpoint['name']}: log-probabilities"),
        )
        computed, reused = computed + new, reused + items.height - new
    return {"computed": computed, "reused": reused}


def _generate(config: Verifier, job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its base to the sampled prompts."""
    from pref_assets.models.generation import generate
    from pref_assets.training.policy import load_policy

    prompts = pl.read_parquet(job.inputs["prompts"])
    store = Store(Home(Path(job.home)).store)
    loaders: dict[str, tuple[str, Callable[[], Any]]] = {}
    for checkpoint in job.params["checkpoints"]:
        base = checkpoint["reference"]["model"]
        loaders[identity(base)] = (base, partial(_load_base, base))
        loaders[checkpoint["version"]] = (checkpoint["name"], partial(load_policy, checkpoint["folder"]))
    computed = 0
    for model_id, (name, load) in loaders.items():

        def ask(part: pl.DataFrame, loaded: Any, name: str = name) -> pl.DataFrame:
            model, tokenizer = loaded
            texts = generate(model, tokenizer, part["messages"].to_list(), config.sampling)
            asked = pl.Series([content_text(messages[-1:]) for messages in part["messages"]], dtype=pl.String)
            return part.select("id").with_columns(
                model=pl.lit(name), prompt=asked, text=pl.Series(texts, dtype=pl.String)
            )

        computed += fill(
            store,
            GENERATIONS,
            generations_key(model_id, config.sampling),
            prompts,
            load,
            ask,
            config.save_every,
            _progress(report, f"{name}: answers"),
        )
    return {"computed": computed, "reused": prompts.height * len(loaders) - computed}


def _load_base(reference: str) -> tuple[Any, Any]:
    from pref_assets.models.loading import load_causal_lm, load_tokenizer

    return load_causal_lm(reference), load_tokenizer(reference)


def _progress(report: Reporter, unit: str) -> Callable[[int, int], None]:
    return lambda done, total: report.progress(done, total, unit)
