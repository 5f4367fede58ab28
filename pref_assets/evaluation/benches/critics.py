"""Reward models that criticise, on pairs of a bench: the scorer of pipelines, given a pool made of the bench."""

from typing import Any

import polars as pl

from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.benches.paired import PAIR_REWARDS
from pref_assets.features.store import Store
from pref_assets.pairs.schema import COMPLETIONS, CRITIQUES, PAIRS, PROMPTS, Table
from pref_assets.pool import Pool
from pref_assets.scoring.reward import CritiqueReward
from pref_assets.training.job import Reporter

REASONS = "reasons"
"""Name, in the pool, of what the bench's rows say of their answers."""


def bench_pool(pairs: pl.DataFrame, checkpoint: CheckpointRef) -> Pool:
    """The pool of a ``PAIRED`` frame. An answer of several pairs is one answer for each, as each row has its own
    reasons."""
    prompts = pairs.unique("prompt_id", keep="first").sort("prompt_id")
    sides = [
        pairs.select("prompt_id", completion_id=_name(side), messages=side, critique=f"{side}_reason")
        for side in ("chosen", "rejected")
    ]
    answers = pl.concat(sides).sort("completion_id")
    said = answers.select("completion_id", "critique", reasons="critique", writer=pl.lit("human"))
    return Pool(
        pairs=_table(PAIRS, pairs.select("pair_id", chosen_id=_name("chosen"), rejected_id=_name("rejected"))),
        prompts=_table(PROMPTS, prompts.select("prompt_id", "images", messages="prompt", split=pl.lit("test"))),
        completions=_table(COMPLETIONS, answers.select("completion_id", "prompt_id", "messages")),
        checkpoints={checkpoint.name: str(checkpoint.folder)},
        critiques={REASONS: _table(CRITIQUES, said)},
    )


def measure(scorer: CritiqueReward, pool: Pool, store: Store, report: Reporter) -> tuple[int, int]:
    """Measures what the store lacks; the answers measured now, and all."""
    key, items = scorer.key(pool), scorer.items(pool)
    missing = store.missing(scorer.kind, key, items["id"])
    if missing:
        todo = items.filter(pl.col("id").is_in(missing))
        report.log(f"{scorer.checkpoint}: judging {todo.height} of {items.height} answers of the bench")
        write: Any = lambda rows: store.append(scorer.kind, key, rows)  # noqa: E731
        scorer.measure(todo, scorer.sources(pool), write, report)
    return len(missing), items.height


def rewards(scorer: CritiqueReward, pool: Pool, pairs: pl.DataFrame, store: Store) -> pl.DataFrame:
    """``PAIR_REWARDS`` from what the store holds; null where a side has no critique to be given.

    Raises:
        MissingRowsError: the task did not measure an answer.
    """
    measured = store.read(scorer.kind, scorer.key(pool), scorer.items(pool)["id"].to_list())
    scores = scorer.combine(pool, measured).select("pair_id", of_chosen="score_chosen", of_rejected="score_rejected")
    found = pairs.select("pair_id", "group", "category").join(scores, on="pair_id", how="left", validate="1:1")
    named = found.select("pair_id", "group", "category", chosen="of_chosen", rejected="of_rejected")
    return named.select(pl.col(name).cast(dtype) for name, dtype in PAIR_REWARDS.items()).sort("pair_id")


def _name(side: str) -> pl.Expr:
    return pl.format("{}:{}", "pair_id", pl.lit(side))


def _table(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the table's other columns, empty."""
    schema = table.schema
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
