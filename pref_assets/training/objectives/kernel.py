"""The preference kernel's joint: log-probabilities of pairs go in, a loss for each pair comes out.

An objective is a ``Settings`` class whose ``pair_losses`` is a pure function of ``Pairs``. What every objective would
otherwise repeat is here: soft labels are the mean over both orders of a pair, weighted by how likely each is; the
trainer multiplies by the pairs' weights; columns that an objective has no place for are refused before the run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from pref_assets.settings import Settings
from pref_assets.training.data import PAIR_NAMED_TEXTS, PARTS, ScoreColumn
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.objectives.live import LiveSamples

if TYPE_CHECKING:
    import torch

ColumnName = Literal["soft label", "tie", "margin", "two prompts"]
"""What a pair may bring beside its weight and stage: a label below 1, a label of exactly one half, a margin, sides
that answer different prompts."""


@dataclass(frozen=True)
class Sequences:
    """n completions, each after its prompt, under the policy and the reference.

    Attributes:
        logp: sum of log-probabilities of completion tokens, in nats, (n,).
        ref: the same under the reference, (n,); 0 for objectives without a reference.
        n_tokens: completion tokens, (n,) float; 0 where a pair lacks this further sequence.
        tokens: log-probability of each completion token, (n, T), 0 past the end.
        ids: id of each completion token, (n, T), -1 past the end.
        ref_tokens: as ``tokens``, under the reference; null unless the objective asks for them.
        stats: further numbers of each token, (n, T), by the names in ``Objective.stats``.
        outputs: of the objective's own head, (n, k), on the mean of the states that predict the completion's tokens;
            null without a head.
    """

    logp: "torch.Tensor"
    ref: "torch.Tensor"
    n_tokens: "torch.Tensor"
    tokens: "torch.Tensor"
    ids: "torch.Tensor"
    ref_tokens: "torch.Tensor | None" = None
    stats: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    outputs: "torch.Tensor | None" = None

    @property
    def ratio(self) -> "torch.Tensor":
        """log policy - log reference, (n,)."""
        return self.logp - self.ref

    @property
    def mask(self) -> "torch.Tensor":
        """Which places hold a token, (n, T)."""
        return self.ids >= 0

    @property
    def mean_logp(self) -> "torch.Tensor":
        """Log-probability per token, (n,); 0 where there is no token."""
        return self.logp / self.n_tokens.clamp(min=1)

    def select(self, rows: "torch.Tensor") -> "Sequences":
        """Some of the sequences, by index or mask."""
        return _map(self, lambda tensor: tensor[rows])


@dataclass(frozen=True)
class Pairs:
    """n pairs as an objective sees them.

    Attributes:
        chosen, rejected: the two sides.
        p_chosen: how likely the label is right, (n,): what votes or the selector say; one half is a tie.
        margin: by how much the chosen side's reward should be the larger one, (n,), 0 where nothing says so.
        columns: numbers of each pair, (n,), that the objective asked for, and its statistics of the step's pairs.
        parts: further sequences, by name.
    """

    chosen: Sequences
    rejected: Sequences
    p_chosen: "torch.Tensor"
    margin: "torch.Tensor"
    columns: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    parts: Mapping[str, Sequences] = field(default_factory=dict)

    def swapped(self) -> "Pairs":
        """The same pairs under the opposite label; numbers in ``columns`` and ``parts`` stay as they are."""
        return replace(
            self, chosen=self.rejected, rejected=self.chosen, p_chosen=1 - self.p_chosen, margin=-self.margin
        )

    def detached(self) -> "Pairs":
        """Without gradient."""
        return _map(self, lambda tensor: tensor.detach())


@dataclass(frozen=True)
class PairLosses:
    """Of each pair, (n,): the loss; the implicit rewards without gradient; further values to report."""

    loss: "torch.Tensor"
    reward_chosen: "torch.Tensor"
    reward_rejected: "torch.Tensor"
    values: "Mapping[str, torch.Tensor]" = field(default_factory=dict)


class Objective(Settings):
    """From log-probabilities to a loss for each pair. Subclasses set ``type`` and implement ``pair_losses``."""

    reference_free: ClassVar[bool] = False
    """The loss does not look at a reference; none is computed for it."""
    chosen_only: ClassVar[bool] = False
    """``pair_losses`` does not look at the rejected side; where the label is certain, the policy does not read it."""
    part_names: ClassVar[tuple[str, ...]] = ()
    """Names of the further sequences that ``parts`` makes."""
    parts_without_reference: ClassVar[frozenset[str]] = frozenset()
    """Those of them whose reference log-probabilities are not needed."""

    soft_labels: bool = True
    """Whether `p_chosen` of a pair weighs the two labels; otherwise every label counts as certain."""

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """The losses if every label is right. A pure function; gradients flow through the policy's numbers."""
        raise NotImplementedError

    def losses(self, pairs: Pairs) -> PairLosses:
        """p l(chosen, rejected) + (1 - p) l(rejected, chosen) with p = ``p_chosen``; l alone without soft labels."""
        right = self.pair_losses(pairs)
        if not self.soft_labels or bool((pairs.p_chosen == 1).all()):
            return right
        wrong = self.pair_losses(pairs.swapped())
        # A pair with a certain label must not see the other order, which may be infinite.
        uncertain = pairs.p_chosen * right.loss + (1 - pairs.p_chosen) * wrong.loss
        return replace(right, loss=uncertain.where(pairs.p_chosen < 1, right.loss))

    def refused(self) -> dict[ColumnName, str]:
        """What this objective cannot take, and why; depends on the settings."""
        return {
            "margin": "this objective has no place for one",
            "two prompts": "its two sides answer one prompt; `dove` and `dcpo` compare across prompts",
        }

    @property
    def referred_parts(self) -> set[str]:
        """Names of the further sequences that need a reference."""
        return set(self.part_names) - self.parts_without_reference

    @property
    def reference_tokens(self) -> bool:
        """Whether reference log-probabilities of each token are needed (``tokens: true`` of the reference)."""
        return False

    @property
    def stats(self) -> tuple[str, ...]:
        """Further numbers of each token: ``log_p2`` is the log of the sum of squared probabilities."""
        return ()

    def score_columns(self) -> dict[str, ScoreColumn]:
        """Numbers of pairs that the objective reads from score tables, by the names in ``Pairs.columns``."""
        return {}

    def derived(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers of each pair that follow from its columns (numpy, (n,)) and are worth keeping, such as a beta."""
        return {}

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Further sequences of the pairs (``TRAINING_ROWS``), as ``PARTS``; a pair may lack some."""
        return pl.DataFrame(schema=PARTS)

    def texts(self, rows: pl.DataFrame, pairs: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
        """Texts of pairs that ``parts`` reads, made from training rows and tables, as ``PAIR_NAMED_TEXTS``."""
        return pl.DataFrame(schema=PAIR_NAMED_TEXTS)

    @property
    def live(self) -> LiveSamples | None:
        """Answers to be drawn at every step, in the parts ``sampled_0``, ``sampled_1``, ...; null for none."""
        return None

    def batch_columns(self) -> tuple[str, ...]:
        """Names of the columns that ``statistics`` makes; none by default."""
        return ()

    @property
    def statistics_of_lengths(self) -> bool:
        """Whether ``statistics`` looks at no log-probability of the policy, so that no forward pass is made for it."""
        return False

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Columns, (n,), that depend on all n pairs of a step, without gradient.

        Called once a step with all of its pairs when ``batch_columns`` names some. ``carried`` has the tensors of
        ``carried_start``, to be changed in place; they are saved and restored with the training state.
        """
        return {}

    def carried_start(self) -> "dict[str, torch.Tensor]":
        """Numbers that steps pass on to later steps, at the start."""
        return {}

    def head(self, hidden_size: int) -> "torch.nn.Module | None":
        """A module trained beside the policy and thrown away afterwards: (n, hidden) -> (n, k), in
        ``Sequences.outputs``. Null for nearly all."""
        return None


def check_columns(rows: pl.DataFrame, objective: Objective) -> None:
    """Refuses pairs that bring something the objective has no place for.

    Raises:
        TrainingDataError: with pair ids and the reason.
    """
    refused = objective.refused()
    has: dict[ColumnName, pl.Expr] = {
        "margin": pl.col("margin").is_not_null(),
        "tie": pl.col("p_chosen") == 0.5,
        "soft label": pl.col("p_chosen").is_between(0.5, 1, closed="none") & pl.lit(objective.soft_labels),
        "two prompts": pl.col("rejected_prompt").is_not_null(),
    }
    for name, expression in has.items():
        if name in refused:
            _refuse(rows.filter(expression)["pair_id"], f"they bring a {name}: {refused[name]}")


def _refuse(ids: Iterable[str], why: str) -> None:
    bad = list(ids)
    if bad:
        raise TrainingDataError(f"{len(bad)} pairs cannot train: {why}: {name_pairs(bad)}")


def _map(value: Any, change: Any) -> Any:
    """A copy of a dataclass of tensors (mappings and dataclasses inside included) with every tensor changed."""
    import torch

    def changed(each: Any) -> Any:
        if isinstance(each, torch.Tensor):
            return change(each)
        if isinstance(each, Mapping):
            return {name: changed(inner) for name, inner in each.items()}
        return _map(each, change) if isinstance(each, Sequences) else each

    return replace(value, **{name: changed(each) for name, each in value.__dict__.items()})


def sequences_of(logp: "torch.Tensor", ref: "torch.Tensor", n_tokens: "torch.Tensor | None" = None) -> Sequences:
    """Sequences of which only sums are known, as if of one token each (or ``n_tokens`` equal ones); for tests."""
    import torch

    counts = torch.ones_like(logp) if n_tokens is None else n_tokens.to(logp)
    width = max(1, int(counts.max()))
    places = torch.arange(width, device=logp.device)[None] < counts[:, None]
    tokens = torch.where(places, (logp / counts.clamp(min=1))[:, None], logp.new_zeros(()))
    ref_tokens = torch.where(places, (ref / counts.clamp(min=1))[:, None], ref.new_zeros(()))
    return Sequences(logp, ref, counts, tokens, torch.where(places, 0, -1), ref_tokens)
