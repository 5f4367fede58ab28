"""Training rows and reference log-probabilities of sampled answers."""

import polars as pl

from pref_assets.pairs.schema import ONLINE_SAMPLES, REFERENCE_LOGPS
from pref_assets.training.data import TRAINING_ROWS, with_shown
from pref_assets.training.online.updates import SAMPLED, UpdateConfig, choices_of


def online_rows(update: UpdateConfig, samples: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """What an update makes of samples (``ONLINE_SAMPLES``), as ``TRAINING_ROWS`` sorted by pair id; empty where no
    group of answers teaches anything.

    Args:
        prompts: frame with prompt_id and messages, at least of the samples' prompts.

    Raises:
        ValueError: a prompt is not there.
    """
    asked = samples.select("prompt_id").unique().join(with_shown(prompts), on="prompt_id", how="left")
    if absent := asked.filter(pl.col("messages").is_null())["prompt_id"].sort().to_list():
        raise ValueError(f"{len(absent)} prompts of the samples are not in the prompts table, e.g. {absent[:3]}")
    turns = dict(asked.select("prompt_id", "messages").iter_rows())
    rows = [
        {
            "pair_id": choice.pair_id,
            "prompt": turns[prompt],
            "chosen": choice.chosen.messages,
            "rejected": choice.rejected.messages,
            "chosen_id": choice.chosen.completion_id,
            "rejected_id": choice.rejected.completion_id,
            "p_chosen": 1.0,
            "weight": choice.weight,
            "stage": 1,
            "margin": None,
            "swapped": False,
            "rejected_prompt": None,
            "columns": [{"name": name, "value": value} for name, value in choice.columns.items()],
            "texts": [] if choice.sampled is None else [{"name": SAMPLED, "text": _said(choice.sampled.messages)}],
        }
        for prompt, choice in choices_of(update, samples)
    ]
    return pl.DataFrame(rows, schema=TRAINING_ROWS).sort("pair_id")


def _said(messages: list[dict[str, str]]) -> str:
    return messages[0]["content"]


def online_reference(samples: pl.DataFrame) -> pl.DataFrame:
    """The reference log-probabilities that the samples (``ONLINE_SAMPLES``) bring, as ``REFERENCE_LOGPS``."""
    renamed = ONLINE_SAMPLES.conform(samples).select(
        "completion_id",
        "n_tokens",
        "truncated",
        key="reference_key",
        logp="reference_logp",
        token_logps="reference_tokens",
    )
    return REFERENCE_LOGPS.conform(renamed)
