"""Online training, written once: an entry becomes the samples and the checkpoint of every round."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pref_assets.models.generation import Sampling
from pref_assets.pipeline.curricula import Made, following
from pref_assets.scoring.reward.rollouts import ConstraintRewards
from pref_assets.settings import Settings
from pref_assets.training import PolicyCheckpoint, ReferenceLogps
from pref_assets.training.objectives import DPO
from pref_assets.training.online.rewards import RewardConfig
from pref_assets.training.online.sampling import OnlineSamples
from pref_assets.training.online.updates import OnlineDPO, UpdateConfig, has_objective_of_its_own


class Online(Settings):
    """Trains a policy on its own answers, round after round. Round ``i`` is two assets: `samples` ``<name>_i``, the
    answers of the current policy with their rewards and reference log-probabilities, and the checkpoint ``<name>_i``
    that learns from them and answers in round ``i + 1``.

    After a curriculum or another checkpoint (`policy.start`) with the base reference this is the second stage of MPO
    (arXiv:2403.19443); with `reference: previous` and objective `selm` that of SELM (arXiv:2405.19332).
    """

    rounds: int = Field(ge=1, le=100)
    """How many times."""
    reference: Literal["first", "previous"] = "first"
    """What later rounds are held close to: the reference of the first one, or the policy as the round before left
    it."""
    prompts: int | None = Field(default=None, ge=1)
    """Prompts a round, drawn anew for each; all of the subset's if left out."""
    answers: int = Field(default=4, ge=2, le=1024)
    """Answers to each prompt."""
    sampling: Sampling = Sampling(temperature=1.0)
    """How answers are drawn; every round has a seed of its own, counted up from this one."""
    reward: RewardConfig = ConstraintRewards()
    """What an answer earns."""
    update: UpdateConfig = OnlineDPO()
    """What the policy learns from a round."""
    policy: PolicyCheckpoint
    """How a round trains; `subset` gives the prompts, `start` the first policy, `objective` the loss of
    `online_dpo`."""

    @model_validator(mode="after")
    def _rounds_are_its_own(self) -> Self:
        for name in ("stage", "samples", "update"):
            if getattr(self.policy, name) is not None:
                raise ValueError(f"policy.{name}: an online entry sets it for each of its rounds; leave it out")
        if has_objective_of_its_own(self.update) and self.policy.objective != DPO():
            raise ValueError(f"policy.objective: update `{self.update.type}` has a loss of its own; leave it out")
        return self

    def made(self, name: str, references: Mapping[str, ReferenceLogps]) -> Made:
        """The samples, checkpoints and references of this entry."""
        found: Made = {"samples": {}, "checkpoints": {}, "reference_logps": {}}
        base = self.policy.base
        for place in range(1, self.rounds + 1):
            own, seed = f"{name}_{place}", self.policy.seed + place - 1
            changes: dict[str, Any] = {
                "samples": own,
                "update": self.update,
                "objective": self.update.objective(self.policy.objective),
                "seed": seed,
            }
            if place > 1:
                changes |= following(found, name, place, base, self.reference, references)
            policy = self.policy.model_copy(update=changes)
            found["checkpoints"][own] = policy
            found["samples"][own] = OnlineSamples(
                subset=policy.subset,
                base=policy.base,
                start=policy.start,
                prompts=self.prompts,
                answers=self.answers,
                sampling=self.sampling.model_copy(update={"seed": self.sampling.seed + place - 1}),
                reward=self.reward,
                seed=seed,
            )
        return found
