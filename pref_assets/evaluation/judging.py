"""The heavy half of judging answers: what the store lacks is asked of the judge."""

from collections.abc import Mapping
from functools import partial

import polars as pl

from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.judges import AskedJudge, RewardJudge
from pref_assets.evaluation.reward import REWARD_SCORES
from pref_assets.features.store import Store
from pref_assets.scoring.judging.answers import ANSWERS, ask_all, questions
from pref_assets.scoring.judging.endpoint import Asking, Endpoint, answers_key
from pref_assets.training.job import Reporter
from pref_assets.training.reward_model import RewardModel, load_reward_model, reward_text


def reward_answers(
    judge: RewardJudge,
    items: pl.DataFrame,
    others: Mapping[str, CheckpointRef],
    store: Store,
    save_every: int,
    report: Reporter,
) -> int:
    """Rewards of answers (``judges.answer_items``); the number computed now."""

    def ask(part: pl.DataFrame, model: RewardModel) -> pl.DataFrame:
        texts = [reward_text(*each) for each in part.select("prompt", "messages").iter_rows()]
        return part.select("id", pl.Series("score", model.score(texts), dtype=pl.Float64))

    checkpoint = judge.version(others)
    return fill(
        store,
        REWARD_SCORES,
        checkpoint.version,
        items,
        partial(load_reward_model, checkpoint.folder),
        ask,
        save_every,
        lambda done, total: report.progress(done, total, f"{checkpoint.name}: answers judged"),
    )


def ask_about(judge: AskedJudge, fought: pl.DataFrame, store: Store, report: Reporter) -> int:
    """Asks about duels (``judges.duels``) in both orders; the number of questions asked now.

    Raises:
        ServerError: see ``scoring.judging.answers.ask_all``.
    """
    items = questions((id_, messages, 0) for _, _, id_, messages in judge.asked(fought))
    return ask_missing(judge.endpoint, judge.asking, items, store, report)


def ask_missing(endpoint: Endpoint, asking: Asking, items: pl.DataFrame, store: Store, report: Reporter) -> int:
    """Asks the questions whose answers the store lacks; how many those were. Raises as ``ask_about`` does."""
    key = answers_key(endpoint, asking)
    missing = store.missing(ANSWERS, key, items["id"].to_list())
    todo = items.filter(pl.col("id").is_in(missing))
    if not todo.is_empty():
        ask_all(endpoint, asking, todo, lambda rows: store.append(ANSWERS, key, rows), report)
    return todo.height
