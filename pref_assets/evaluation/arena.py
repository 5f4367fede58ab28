"""A leaderboard of the models whose answers the data compares."""

from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.base import AllOrNames, Evaluation, Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError
from pref_assets.evaluation.intervals import group_numbers
from pref_assets.evaluation.ratings import Matches, ratings
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName


class Arena(Evaluation):
    """Bradley-Terry ratings of the models that wrote the compared answers, as Music Arena rates systems (Kim et al.
    2025, arXiv:2507.20900; logistic regression without intercept, L2 with C = 1, 400 / ln 10, mean 1000).

    A pair is a match whose win is shared by its votes: `p_chosen` to the model of the chosen answer (choice; the paper
    has one vote a match, and both-bad votes are no pairs here). Pairs of one model with itself, or of an answer whose
    model is not known, say nothing. ``rating`` on ``all``; intervals by standard errors over resampled prompts;
    models are reported as baselines, because they are no checkpoints.

    Needs `model` on the answers; asks no model. O(pairs + resamples · models^3).
    """

    type: Literal["arena"] = "arena"
    checkpoint_kind: ClassVar[Kind] = "policy"
    task: ClassVar[TaskName] = "evaluate_policy"

    checkpoints: AllOrNames = Field(default=[], max_length=0)
    """Not read: the data's own models are rated."""
    splits: list[Literal["train", "validation", "test"]] = Field(default=["train", "validation", "test"], min_length=1)
    """Which pairs count."""
    l2: float = Field(default=1.0, ge=0)
    """Penalty on squared log odds; 0 has no finite ratings where a model won everything."""
    min_matches: int = Field(default=30, ge=1)
    """A model needs so many matches to be listed; the others still count as opponents."""

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """None: no model is asked."""
        return {}

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        """The ratings.

        Raises:
            NothingHeldOutError: no pair compares two known models.
            NoRatingError: the matches have no finite ratings.
        """
        matches = self.matches(inputs)
        found = zip(matches.players, ratings(matches, self.l2, self.seed, self.resamples), strict=True)
        rows: list[dict[str, Any]] = [
            row(Margins(name, None, pl.DataFrame(), baseline=True), "rating", "all", each)
            for name, each in found
            if each.n >= self.min_matches
        ]
        return EVALUATIONS.frame(rows)

    def matches(self, inputs: Inputs) -> Matches:
        """The pairs as matches, the model that is first by name first."""
        models = inputs.completions.select("completion_id", "model").drop_nulls()
        pairs = inputs.pairs.filter(pl.col("split").is_in(self.splits)).sort("pair_id")
        for side in ("chosen", "rejected"):
            named = models.rename({"completion_id": f"{side}_id", "model": f"{side}_model"})
            pairs = pairs.join(named, on=f"{side}_id", maintain_order="left")
        pairs = pairs.filter(pl.col("chosen_model") != pl.col("rejected_model"))
        if pairs.is_empty():
            raise NothingHeldOutError(
                f"no pair of the splits {self.splits} compares answers of two different known models; `arena` needs "
                "sources that name the model of each answer"
            )
        players = pl.concat([pairs["chosen_model"], pairs["rejected_model"]]).unique().sort().to_list()
        number = {name: i for i, name in enumerate(players)}
        chosen = np.array([number[name] for name in pairs["chosen_model"]])
        rejected = np.array([number[name] for name in pairs["rejected_model"]])
        prompts = pairs["prompt_id"].fill_null(pairs["pair_id"])
        groups = group_numbers(prompts.to_list())
        return Matches(players, chosen, rejected, pairs["p_chosen"].to_numpy().astype(np.float64), groups)
