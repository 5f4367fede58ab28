"""How often reward models and cross-fitted scores rank held-out pairs as their labels do, and their length bias."""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.content import content_hash
from pref_assets.evaluation.accuracy import (
    Margins,
    accuracy_rows,
    baseline_margins,
    length_bias_rows,
    paired_rows,
    plus_rows,
    recorded_rows,
)
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.fill import fill
from pref_assets.home import Home
from pref_assets.pairs.schema import (
    EVALUATIONS,
)
from pref_assets.settings import ScoresName
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import Job, Reporter, TaskName

REWARD_SCORES = "reward_scores"
"""Kind of the store: id (completion), score; the key is the checkpoint's version."""


class Rewards(Evaluation):
    """What measurements of reward models share: whom they ask, and about which completions."""

    checkpoint_kind: ClassVar[Kind] = "reward_model"
    task: ClassVar[TaskName] = "evaluate_reward_model"

    scores: list[ScoresName] = Field(default_factory=list)
    """Score tables to measure beside the checkpoints, such as the cross-fitted ensemble."""

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``items``: every completion of a held-out pair after its prompt."""
        return {"items": items(self.test_pairs(inputs), inputs)}

    def scorers(self, test: pl.DataFrame, inputs: Inputs, home: Home) -> list[Margins]:
        """Margins of the score tables, the checkpoints and the baselines."""
        tables = [score_margins(name, inputs.scores[name]) for name in self.scores]
        return tables + [_stored_margins(each, test, home) for each in inputs.checkpoints] + baseline_margins(test)


class RewardAccuracy(Rewards):
    """Share of held-out pairs whose chosen side gets the higher reward, whole and by slice.

    Beside it ``accuracy_plus``, the share of prompts with all pairs right, and the difference of every two scorers on
    the same pairs (slices ``vs:``).
    """

    type: Literal["reward_accuracy"] = "reward_accuracy"

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        test = self.test_pairs(inputs)
        scorers = self.scorers(test, inputs, home)
        rows = accuracy_rows(scorers, test, "accuracy") + plus_rows(scorers, test)
        rows += paired_rows(scorers, test, "accuracy", self.seed, self.resamples)
        return EVALUATIONS.frame(rows + recorded_rows(test, "accuracy"))


class LengthBias(Rewards):
    """How closely reward margins follow the difference in length."""

    type: Literal["length_bias"] = "length_bias"

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        test = self.test_pairs(inputs)
        return EVALUATIONS.frame(length_bias_rows(self.scorers(test, inputs, home), test, self.seed, self.resamples))


def items(test: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
    """Completions of the pairs: frame(completion_id, prompt, messages) sorted by id, each once."""
    ids = pl.concat([test["chosen_id"], test["rejected_id"]]).unique().alias("completion_id").to_frame()
    prompts = inputs.prompts.select("prompt_id", pl.col("messages").alias("prompt"))
    found = ids.join(inputs.completions, on="completion_id").join(prompts, on="prompt_id")
    if found.height < ids.height:
        absent = ids.join(found, on="completion_id", how="anti")["completion_id"].sort()[0]
        raise ValueError(f"completion {absent} is in a pair, but it or its prompt is not in its table")
    return found.select("completion_id", "prompt", "messages").sort("completion_id")


def score_margins(name: str, scores: pl.DataFrame) -> Margins:
    """Margins of a ``PAIR_SCORES`` table, named ``scores/<name>``; its version is its content hash.

    The margin is the difference of the sides' scores. A scorer that compares without scoring sides, such as a general
    preference head, says how probable its labels are, and then its ``score`` is the margin.

    Raises:
        ValueError: the scorer does neither.
    """
    margin = pl.coalesce(
        pl.col("score_chosen") - pl.col("score_rejected"), pl.when(pl.col("p_correct").is_not_null()).then("score")
    )
    silent = scores.filter(margin.is_null())
    if not silent.is_empty():
        raise ValueError(
            f"scores {name!r} does not say how it scores each side (pair {silent['pair_id'][0]}), so its accuracy is "
            "not defined; leave it out of the evaluation's `scores`"
        )
    return Margins(f"scores/{name}", content_hash(scores), scores.select("pair_id", margin.alias("margin")))


def _stored_margins(checkpoint: CheckpointRef, test: pl.DataFrame, home: Home) -> Margins:
    from pref_assets.features.store import Store

    ids = pl.concat([test["chosen_id"], test["rejected_id"]]).unique().sort()
    scores = Store(home.store).read(REWARD_SCORES, checkpoint.version, ids.to_list()).select("id", "score")
    frame = test.join(scores.rename({"id": "chosen_id", "score": "of_chosen"}), on="chosen_id").join(
        scores.rename({"id": "rejected_id", "score": "of_rejected"}), on="rejected_id"
    )
    margin = pl.col("of_chosen") - pl.col("of_rejected")
    return Margins(checkpoint.name, checkpoint.version, frame.select("pair_id", margin.alias("margin")))


def evaluate_reward_model(job: Job, report: Reporter) -> dict[str, Any]:
    """Scores completions with every checkpoint that has not scored them yet; for `probe`, keeps its states as well.

    Args:
        job: ``inputs["items"]`` as ``items`` makes it; ``params["checkpoints"]`` as ``CheckpointRef.dump`` makes it.
        report: told of progress.

    Returns:
        Items ``computed`` now and ``reused`` from the store.
    """
    from pref_assets.evaluation.states import store_states

    if job.config.get("type") == "probe":
        return store_states(job, report)
    if job.config.get("type") == "mm_rlhf_bench":
        from pref_assets.evaluation.benches.judging import judge_bench

        return judge_bench(job, report)
    return score_items(job, report)


def score_items(job: Job, report: Reporter) -> dict[str, Any]:
    """Rewards of the items under every checkpoint, unless stored."""
    from pref_assets.features.store import Store
    from pref_assets.training.reward_model import RewardModel, load_reward_model, reward_text

    store = Store(Home(Path(job.home)).store)
    frame = pl.read_parquet(job.inputs["items"]).rename({"completion_id": "id"})
    scored = 0
    for checkpoint in job.params["checkpoints"]:

        def ask(part: pl.DataFrame, model: RewardModel) -> pl.DataFrame:
            texts = [reward_text(*each) for each in part.select("prompt", "messages").iter_rows()]
            return part.select("id", pl.Series("score", model.score(texts)))

        report.log(f"{checkpoint['name']}: scores of {frame.height} held-out completions, unless stored")
        scored += fill(
            store,
            REWARD_SCORES,
            checkpoint["version"],
            frame,
            partial(load_reward_model, checkpoint["folder"]),
            ask,
            int(job.config["save_every"]),
            lambda done, total: report.progress(done, total, "completions"),
        )
    return {"computed": scored, "reused": frame.height * len(job.params["checkpoints"]) - scored}
