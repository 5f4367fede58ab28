"""What the policy learns from its own answers: from rewarded samples to training rows, and the loss on them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import content_id
from pref_assets.settings import Settings
from pref_assets.training.objectives import DPO, SFT, ObjectiveConfig, PolicyGradient
from pref_assets.training.online.advantages import Baseline, advantages

SAMPLED = "sampled"
"""Name of the text in a row that is an answer as it was drawn, which objective `selm` asks for."""


@dataclass(frozen=True)
class Answer:
    """One of the distinct answers to a prompt, a row of ``ONLINE_SAMPLES``."""

    completion_id: str
    messages: list[dict[str, str]]
    count: int
    reward: float
    sampled_tokens: int
    sampler_logp: float


@dataclass(frozen=True)
class Choice:
    """A training row to be: two answers to a prompt, its weight, and numbers of each side."""

    chosen: Answer
    rejected: Answer
    weight: float = 1.0
    columns: Mapping[str, float] = field(default_factory=dict)
    sampled: Answer | None = None

    @property
    def pair_id(self) -> str:
        return content_id("online", self.chosen.completion_id, self.rejected.completion_id)


class Update(Settings):
    """How answers become rows. Subclasses set ``type`` and implement ``choices``."""

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        """The loss: by default the one that the policy's settings name."""
        return given

    def choices(self, answers: list[Answer]) -> list[Choice]:
        """Rows of one prompt, of its distinct answers with the best one first; none where they teach nothing."""
        raise NotImplementedError

    def scaled(self, choices: list[Choice]) -> list[Choice]:
        """The rows of all prompts with their final weights."""
        return choices


class OnlineDPO(Update):
    """Learns from the best answer against the worst one with the policy's own objective: online DPO (Guo et al. 2024,
    arXiv 2402.04792) with n answers, as iterative DPO does. With `selm` each row also brings the worst answer as the
    one that was `sampled`.
    """

    type: Literal["online_dpo"] = "online_dpo"
    min_gap: float = Field(default=0.0, ge=0)
    """Prompts whose best and worst reward differ by no more than this are left out."""

    def choices(self, answers: list[Answer]) -> list[Choice]:
        best, worst = answers[0], answers[-1]
        return [Choice(best, worst, sampled=worst)] if best.reward - worst.reward > self.min_gap else []


class BestOfN(Update):
    """Imitates the best of n answers: best-of-n distillation (arXiv 2404.14367, section 3)."""

    type: Literal["best_of_n"] = "best_of_n"
    per_token: bool = True
    """As in objective `sft`."""

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        return SFT(per_token=self.per_token)

    def choices(self, answers: list[Answer]) -> list[Choice]:
        """The best answer, where there is another one; a policy that always says the same has nothing to imitate."""
        return [Choice(answers[0], answers[-1])] if len(answers) > 1 else []


class Rejection(Update):
    """Imitates every answer whose reward is high enough: rejection sampling (STaR, arXiv 2203.14465; RAFT, arXiv
    2304.06767). An answer that was drawn several times counts as often."""

    type: Literal["rejection"] = "rejection"
    min_reward: float = 1.0
    """Least reward of an accepted answer."""
    per_token: bool = True
    """As in objective `sft`."""

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        return SFT(per_token=self.per_token)

    def choices(self, answers: list[Answer]) -> list[Choice]:
        if len(answers) == 1:
            return []
        # The loss does not look at the rejected side, but a row has two answers.
        other = answers[-1]
        accepted = [each for each in answers if each.reward >= self.min_reward]
        return [Choice(each, other if each is not other else answers[0], each.count) for each in accepted]


class _Gradient(Update):
    """What policy gradients share: every answer counts by its advantage over the group."""

    kl: float = Field(default=0.04, ge=0)
    """Weight of the distance to the reference, k3; above 0 needs `tokens: true` in its `reference_logps`."""

    def choices(self, answers: list[Answer]) -> list[Choice]:
        """The answers two by two; of an odd number the last one's partner has no share. Groups whose rewards do not
        differ have no gradient and give no rows."""
        drawn = [each.reward for each in answers for _ in range(each.count)]
        found = advantages(drawn, self.baseline(), self.least_std())
        if not found.any():
            return []
        places = [sum(each.count for each in answers[:i]) for i in range(len(answers))]
        sides = [
            (each, {"advantage": float(found[place]), "share": float(each.count)})
            for each, place in zip(answers, places, strict=True)
        ]
        if len(sides) % 2:
            first, numbers = sides[0]
            sides.append((first, {**numbers, "share": 0.0}))
        return [_two(*sides[i], *sides[i + 1]) for i in range(0, len(sides), 2)]

    def scaled(self, choices: list[Choice]) -> list[Choice]:
        """Weights with which the mean over rows is the mean over all answers."""
        total = sum(each.columns["share_chosen"] + each.columns["share_rejected"] for each in choices)
        return [Choice(each.chosen, each.rejected, len(choices) / total, each.columns) for each in choices]

    def baseline(self) -> Baseline:
        """As of ``advantages``."""
        raise NotImplementedError

    def least_std(self) -> float:
        """As of ``advantages``."""
        return 1.0


def _two(chosen: Answer, its: dict[str, float], rejected: Answer, others: dict[str, float]) -> Choice:
    columns: dict[str, float] = {}
    for side, answer, numbers in (("chosen", chosen, its), ("rejected", rejected, others)):
        told = {"tokens": float(answer.sampled_tokens), "sampler_logp": answer.sampler_logp, "reward": answer.reward}
        columns |= {f"{name}_{side}": value for name, value in {**numbers, **told}.items()}
    return Choice(chosen, rejected, columns=columns)


class Reinforce(_Gradient):
    """REINFORCE (Williams 1992): the advantage is the reward minus the mean of the prompt's answers."""

    type: Literal["reinforce"] = "reinforce"

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        return PolicyGradient(per_token=False, clip=None, kl=self.kl)

    def baseline(self) -> Baseline:
        return "mean"


class Rloo(_Gradient):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): the baseline of an answer is the mean reward
    of the prompt's others, which leaves the gradient unbiased. [choice] The KL is a term of the loss, as in `grpo`,
    not of the reward."""

    type: Literal["rloo"] = "rloo"

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        return PolicyGradient(per_token=False, clip=None, kl=self.kl)

    def baseline(self) -> Baseline:
        return "others"


class Grpo(_Gradient):
    """GRPO (Shao et al. 2024, arXiv 2402.03300): advantages in units of the group's standard deviation, means over
    tokens, clipped ratios, k3. Groups without spread are left out, as their gradient is 0 (arXiv 2503.14476)."""

    type: Literal["grpo"] = "grpo"
    clip: float | None = Field(default=0.2, gt=0, lt=1)
    """As in objective `policy_gradient`."""
    min_std: float = Field(default=0.01, gt=0)
    """Least standard deviation that rewards are divided by: without it, rewards that hardly differ would get
    advantages as large as any."""

    def objective(self, given: ObjectiveConfig) -> ObjectiveConfig:
        return PolicyGradient(per_token=True, clip=self.clip, kl=self.kl)

    def baseline(self) -> Baseline:
        return "normalised"

    def least_std(self) -> float:
        return self.min_std


UpdateConfig = Annotated[OnlineDPO | BestOfN | Rejection | Reinforce | Rloo | Grpo, Field(discriminator="type")]
"""What `update:` of an online entry may be."""


def choices_of(update: UpdateConfig, samples: pl.DataFrame) -> Iterator[tuple[str, Choice]]:
    """(prompt id, row) of ``ONLINE_SAMPLES``, by prompt; answers without a reward are left out."""
    order = samples.filter(pl.col("reward").is_not_null()).sort(
        "prompt_id", "reward", "completion_id", descending=[False, True, False]
    )
    names = list(Answer.__dataclass_fields__)
    groups = order.group_by("prompt_id", maintain_order=True).agg(answers=pl.struct(names))
    found = [
        (prompt, choice)
        for prompt, answers in groups.iter_rows()
        for choice in update.choices([Answer(**each) for each in answers])
    ]
    yield from zip([prompt for prompt, _ in found], update.scaled([choice for _, choice in found]), strict=True)


def pair_ids_of(update: UpdateConfig, samples: pl.DataFrame) -> set[str]:
    """Ids of the rows that these samples make."""
    return {choice.pair_id for _, choice in choices_of(update, samples)}


def has_objective_of_its_own(update: UpdateConfig) -> bool:
    """Whether the update brings its loss, so that the policy's settings must not name one."""
    given: Any = DPO()
    return update.objective(given) != given
