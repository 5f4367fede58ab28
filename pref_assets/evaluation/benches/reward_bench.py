"""Reward models on public benches."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.evaluation import baselines
from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.base import Evaluation, Inputs
from pref_assets.evaluation.benches.counting import (
    Counted,
    llmbar_rows,
    reward_bench_2_rows,
    reward_bench_rows,
    rm_bench_rows,
)
from pref_assets.evaluation.benches.formats import Format, read_bench
from pref_assets.evaluation.reward import REWARD_SCORES
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pairs.texts import text_of
from pref_assets.pool import seeded_uniform
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName

_COUNTING: Mapping[Format, Callable[[pl.DataFrame, float, int, int], list[Counted]]] = {
    "reward_bench": reward_bench_rows,
    "reward_bench_2": reward_bench_2_rows,
    "rm_bench": rm_bench_rows,
    "llmbar": llmbar_rows,
}


class RewardBench(Evaluation):
    """Reward models on a public bench, counted as that bench counts: RewardBench (Lambert et al. 2024,
    arXiv:2403.13787), RewardBench 2 (Malik et al. 2025, arXiv:2506.01937), RM-Bench (Liu et al. 2024,
    arXiv:2410.16184), LLMBar (Zeng et al. 2023, arXiv:2310.07641).

    ``bench_score`` on ``all`` is the bench's own number; further rows are its parts:

    - `reward_bench`: accuracy by ``subset:``; ``section:`` weighs subsets by the bench's counts (math-prm as 984);
      the whole is the mean of the sections, with older test sets (``section:Prior Sets``) at half a section's weight
      where they are among the rows.
    - `reward_bench_2`: best of 4 by ``subset:``, a shared first place counts as a share; ``subset:Ties`` is scored as
      a whole (60 % accuracy, 40 % margins), its parts are the metrics ``ties_*``; the whole is the mean over subsets.
    - `rm_bench`: a 3 x 3 matrix over the styles of the two answers, ``style:<chosen>><rejected>``; ``bench_score``,
      ``hard_accuracy`` (the chosen answer is plainer), ``normal_accuracy`` and ``easy_accuracy`` by ``domain:``, whose
      mean is the whole.
    - `llmbar`: accuracy by ``subset:``, the file's name; ``adversarial`` is the mean over the four adversarial subsets
      and the whole the mean over the five that experts checked (choice; those of other benches stand alone).

    ``accuracy_plus`` is the share of prompts with every right answer above every wrong one (ACC+ of MM-RLHF).
    Intervals resample prompts within subsets. Baselines: the longer, the shorter and a random answer.

    Needs reward-model checkpoints. Cost: one pass over every answer, kept by content. No bench is shipped here.
    """

    type: Literal["reward_bench"] = "reward_bench"
    checkpoint_kind: ClassVar[Kind] = "reward_model"
    task: ClassVar[TaskName] = "evaluate_reward_model"

    location: str
    """Files, a folder, a glob, ``package://module/folder``, a URL of an object store, or
    ``hf://org/name[@revision][:split]``."""
    format: Format
    """What the rows look like, and how they count."""
    subsets: list[str] | None = None
    """Only these subsets (domains of RM-Bench); all when left out."""
    tie: float = Field(default=0.0, ge=0, le=1)
    """What equal scores of a chosen and a rejected answer count; 0 as in the benches' own code."""

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``items``: every answer after its prompt."""
        answers = self.bench().unique("completion_id", keep="first").sort("completion_id")
        return {"items": answers.select("completion_id", "prompt", "messages")}

    def bench(self) -> pl.DataFrame:
        """The bench as a ``BENCH`` frame; raises as ``read_bench`` does."""
        return read_bench(self.location, self.format, self.subsets)

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        from pref_assets.features.store import Store

        bench = self.bench()
        ids = bench["completion_id"].unique().sort().to_list()
        store = Store(home.store)
        rows = []
        for each in inputs.checkpoints:
            scores = store.read(REWARD_SCORES, each.version, ids).select(completion_id="id", score="score")
            rows += self.counted(Margins(each.name, each.version, scores), bench)
        for name, scores in baseline_scores(bench, self.seed).items():
            rows += self.counted(Margins(name, None, scores, baseline=True), bench)
        return EVALUATIONS.frame(rows)

    def counted(self, of: Margins, bench: pl.DataFrame) -> list[dict[str, Any]]:
        """``EVALUATIONS`` rows of one scorer's scores of the answers.

        Args:
            of: whose; ``frame`` holds (completion_id, score).
            bench: as ``bench`` returns it.

        Raises:
            ValueError: an answer has no score, or one that is not finite.
        """
        scored = bench.join(of.frame, on="completion_id", how="left", maintain_order="left", validate="m:1")
        bad = scored.filter(~pl.col("score").is_finite().fill_null(value=False))
        if not bad.is_empty():
            raise ValueError(f"{of.name}: no finite score for {bad.height} answers, such as {bad['completion_id'][0]}")
        parts = _COUNTING[self.format](scored, self.tie, self.seed, self.resamples)
        return [row(of, part.metric, part.subset, part.drawn.estimate()) for part in parts]


def baseline_scores(bench: pl.DataFrame, seed: int) -> dict[str, pl.DataFrame]:
    """Scores (completion_id, score) that need no model: longer, shorter, and a random number for each answer."""
    answers = bench.unique("completion_id", keep="first").sort("completion_id")
    length = text_of("messages").str.len_chars().cast(pl.Float64)
    chance = pl.Series(seeded_uniform(answers["completion_id"], seed, "bench"))
    scores = {baselines.LONGER: length, baselines.SHORTER: -length, baselines.RANDOM: pl.lit(chance)}
    return {name: answers.select("completion_id", score=score) for name, score in scores.items()}
