"""Policies against each other, or against their own base, on held-out prompts."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.answers import Answerer, PolicyAnswers, base, policy, stored_answers, with_bases
from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.evaluation.draws import drawn_mean
from pref_assets.evaluation.intervals import group_numbers, share
from pref_assets.evaluation.judges import JudgeConfig, duels, points
from pref_assets.evaluation.length_control import length_controlled
from pref_assets.evaluation.ratings import Matches, ratings
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.settings import PolicyName


class WinRate(PolicyAnswers):
    """Share of held-out prompts on which a policy's answer is judged better than another model's.

    - ``win_rate``: ties count half; interval clustered by prompt;
    - ``win_rate_length_controlled``: what it would be if both answers were equally long, as AlpacaEval 2 has it
      (Dubois et al. 2024, arXiv:2404.04475; see `length_control` for what differs), bootstrap interval over prompts;
    - ``length_difference``: mean of our answer's characters minus the other's; many judges like length;
    - ``judged``: share of duels that an asked judge decided; the others are left out;
    - ``rating``, with `round_robin`: Bradley-Terry rating of all policies and their bases from every duel between them.

    A reward model judges its own training: a policy that was optimised against the judge, or on the same pairs, wins
    more than it improves. Needs: a judge. Cost: one answer a model and draw, and one reward an answer (an asked judge:
    two questions a duel; `round_robin` makes k (k - 1) / 2 duels a prompt of k models).
    """

    type: Literal["win_rate"] = "win_rate"
    judge: JudgeConfig
    """Who decides."""
    against: PolicyName | None = None
    """The opponent, a policy; each policy's own reference when left out."""
    round_robin: bool = False
    """Rate all models by duels of each with each."""
    length_l2: float = Field(default=1.0, gt=0)
    """Penalty of the regression that controls for length; 1 is a weak pull to one half."""
    rating_l2: float = Field(default=1.0, gt=0)
    """Penalty of the ratings."""

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        if self.against is not None and self.names() == [self.against]:
            raise ValueError(f"`against` is {self.against!r}, the only policy that is measured")
        return self

    def pairings(
        self, checkpoints: Sequence[CheckpointRef], others: Mapping[str, CheckpointRef]
    ) -> list[tuple[Answerer, Answerer]]:
        """Each policy with its opponent; the opponent itself is not measured.

        Raises:
            ValueError: the opponent is no policy.
        """
        if self.against is None:
            return [(policy(each), base(each)) for each in checkpoints]
        opponent = others[self.against]
        if opponent.kind != "policy":
            raise ValueError(f"`against` is {self.against!r}, a {opponent.kind}, not a policy")
        return [(policy(each), policy(opponent)) for each in checkpoints if each.name != opponent.name]

    def fights(
        self, checkpoints: Sequence[CheckpointRef], others: Mapping[str, CheckpointRef]
    ) -> list[tuple[Answerer, Answerer]]:
        """Every two models whose answers are compared."""
        found = self.pairings(checkpoints, others)
        if self.round_robin:
            found = [*found, *combinations(with_bases(checkpoints), 2)]
        return list({(ours.model, theirs.model): (ours, theirs) for ours, theirs in found}.values())

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        prompts = self.test_prompts(inputs)
        rows: list[dict[str, Any]] = []
        for ours, theirs in self.pairings(inputs.checkpoints, inputs.others):
            fought = self.fought(prompts, ours, theirs, inputs.others, home)
            judged = fought.drop_nulls("points")
            of = Margins(ours.name, ours.version, judged)
            groups = group_numbers(fought["prompt_id"].to_list())
            decided = fought["points"].is_not_null().cast(pl.Float64).to_numpy()
            rows.append(row(of, "judged", "all", share(decided, groups)))
            if not judged.is_empty():
                rows += self._won(of)
        if self.round_robin and len(with_bases(inputs.checkpoints)) > 1:
            rows += self._rated(prompts, inputs, home)
        return EVALUATIONS.frame(rows)

    def fought(
        self,
        prompts: pl.DataFrame,
        ours: Answerer,
        theirs: Answerer,
        others: Mapping[str, CheckpointRef],
        home: Home,
    ) -> pl.DataFrame:
        """The duels of two models with ``points``, our share of each win."""
        ids = prompts["prompt_id"].to_list()
        answers = [stored_answers(home, who, ids, self.draws()) for who in (ours, theirs)]
        found = duels(prompts, *answers)
        return found.with_columns(points(self.judge, found, others, home).alias("points"))

    def _won(self, of: Margins) -> list[dict[str, Any]]:
        won, groups = of.frame["points"].to_numpy(), group_numbers(of.frame["prompt_id"].to_list())
        sizes = of.frame.select(pl.col("ours", "theirs").str.len_chars().cast(pl.Float64))
        lengths = (sizes["ours"] - sizes["theirs"]).to_numpy()
        controlled = length_controlled(won, lengths, groups, self.length_l2, self.seed, self.resamples)
        return [
            row(of, "win_rate", "all", share(won, groups)),
            row(of, "win_rate_length_controlled", "all", controlled.estimate()),
            row(of, "length_difference", "all", drawn_mean(lengths, groups, self.seed, self.resamples).estimate()),
        ]

    def _rated(self, prompts: pl.DataFrame, inputs: Inputs, home: Home) -> list[dict[str, Any]]:
        players = with_bases(inputs.checkpoints)
        parts = []
        for i, j in combinations(range(len(players)), 2):
            fought = self.fought(prompts, players[i], players[j], inputs.others, home).drop_nulls("points")
            parts.append(fought.select("prompt_id", "points", first=pl.lit(i), second=pl.lit(j)))
        met = pl.concat(parts)
        matches = Matches(
            [each.name for each in players],
            met["first"].to_numpy().astype(np.int64),
            met["second"].to_numpy().astype(np.int64),
            met["points"].to_numpy(),
            group_numbers(met["prompt_id"].to_list()),
        )
        found = zip(players, ratings(matches, self.rating_l2, self.seed, self.resamples), strict=True)
        return [
            row(Margins(each.name, each.version, met, each.version is None), "rating", "all", rating)
            for each, rating in found
        ]
