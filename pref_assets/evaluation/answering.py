"""Answers of several models to the same prompts: what the store lacks is drawn, one model in memory at a time."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.evaluation.answers import Answerer
from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.seen import refuse_blind
from pref_assets.evaluation.verifier import GENERATIONS, generations_key
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.texts import content_text
from pref_assets.training.job import Reporter


def answer(
    home: str | Path,
    who: Sequence[Answerer],
    prompts: pl.DataFrame,
    draws: Sequence[Sampling],
    save_every: int,
    report: Reporter,
) -> dict[str, Any]:
    """Every model's answers to every prompt, one for each of ``draws``.

    Args:
        home: the state folder.
        who: the models.
        prompts: frame(id, messages).
        draws: how each answer is drawn; different seeds for different answers.
        save_every: prompts answered between two commits to the store.
        report: told of progress.

    Returns:
        Answers ``computed`` now and ``reused`` from the store.

    Raises:
        CannotSeeError: a model reads text alone, and a prompt has images.
    """
    from pref_assets.models.generation import generate

    store = Store(Home(Path(home)).store)
    computed = 0
    for each in who:
        # Loaded at most once, and only where an answer is missing.
        loaded = Loaded(each)
        for sampling in draws:

            def ask(part: pl.DataFrame, model: tuple[Any, Any], sampling: Sampling = sampling) -> pl.DataFrame:
                conversations = part["messages"].to_list()
                refuse_blind(each.name, model[1], conversations)  # noqa: B023
                texts = generate(*model, conversations, sampling)
                asked = pl.Series([content_text(messages[-1:]) for messages in part["messages"]], dtype=pl.String)
                name = pl.lit(each.name)  # noqa: B023
                return part.select("id").with_columns(model=name, prompt=asked, text=pl.Series(texts, dtype=pl.String))

            key = generations_key(each.model, sampling)
            computed += fill(
                store, GENERATIONS, key, prompts, loaded.get, ask, save_every, progress(report, f"{each.name}: answers")
            )
    return {"computed": computed, "reused": prompts.height * len(who) * len(draws) - computed}


class Loaded:
    """A model that is loaded when it is first asked for, and then kept."""

    def __init__(self, who: Answerer) -> None:
        self._who = who

    def get(self) -> tuple[Any, Any]:
        """Model and tokenizer."""
        return self._pair

    @cached_property
    def _pair(self) -> tuple[Any, Any]:
        return self._who.load()


def progress(report: Reporter, unit: str) -> Callable[[int, int], None]:
    """A callback (done, to do) that reports in this unit."""
    return lambda done, total: report.progress(done, total, unit)
