"""The heavy half of the probe: what a reward model's head reads of each completion."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.probe import HIDDEN_STATES, Probe
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.training.data import buckets
from pref_assets.training.job import Job, Reporter

if TYPE_CHECKING:
    from pref_assets.training.reward_model import RewardModel


def store_states(job: Job, report: Reporter) -> dict[str, Any]:
    """States and scores of completions under every checkpoint that has not read them yet; arguments and result as of
    ``reward.evaluate_reward_model``."""
    from pref_assets.training.reward_model import load_reward_model, reward_text

    config = Probe.model_validate(job.config)
    store = Store(Home(Path(job.home)).store)
    frame = pl.read_parquet(job.inputs["items"]).rename({"completion_id": "id"})
    computed = 0

    def ask(part: pl.DataFrame, model: "RewardModel") -> pl.DataFrame:
        texts = [reward_text(*each) for each in part.select("prompt", "messages").iter_rows()]
        states, scores = head_states(model, texts)
        column = pl.Series("state", states.tolist(), dtype=pl.List(pl.Float32))
        return part.select("id", column, pl.Series("score", scores, dtype=pl.Float64))

    for checkpoint in job.params["checkpoints"]:
        computed += fill(
            store,
            HIDDEN_STATES,
            checkpoint["version"],
            frame,
            partial(load_reward_model, checkpoint["folder"]),
            ask,
            config.save_every,
            lambda done, total: report.progress(done, total, "completions read"),
        )
    return {"computed": computed, "reused": frame.height * len(job.params["checkpoints"]) - computed}


def head_states(
    model: "RewardModel", texts: list[str], batch_tokens: int = 2048
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What the head reads of each text, (n, d), and its score, (n,)."""
    import torch

    tokens = model.tokens(texts)
    states = np.zeros((len(texts), model.head.in_features), np.float32)
    scores = np.zeros(len(texts), np.float64)
    read: list[torch.Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    try:
        with torch.inference_mode():
            for batch in buckets([len(ids) for ids in tokens], batch_tokens):
                scores[batch] = model.forward([tokens[i] for i in batch]).double().cpu().numpy()
                states[batch] = read.pop().float().cpu().numpy()
    finally:
        handle.remove()
    return states, scores
