"""Policies: LoRA adapters on a base model, fitted to pairs with reference log-probabilities given."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.settings import ReferenceName, Settings
from pref_assets.training.checkpoint import CheckpointInfo, check_base, read_manifest
from pref_assets.training.config import Training
from pref_assets.training.job import Job, Reporter
from pref_assets.training.objectives import DPO, ObjectiveConfig
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.run import Trainable, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pref_assets.training.loop import MicroBatch


class Lora(Settings):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): W + (alpha / r) B A with W frozen."""

    r: int = Field(default=8, ge=1, le=1024)
    """Rank."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the update is alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in front of A."""
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that get an adapter."""
    last_layers: int | None = Field(default=None, ge=1)
    """Adapt only so many of the last blocks, or all. The backward pass stops at the first adapted block."""


class PolicyCheckpoint(Training):
    """A policy aligned on a subset of pairs."""

    type: Literal["policy"] = "policy"
    base: ReferenceName
    """The `reference_logps` entry: the model to start from, and the log-probabilities to stay close to."""
    objective: ObjectiveConfig = DPO()
    """The loss."""
    lora: Lora = Lora()
    """Which weights learn."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate of AdamW. Adapters take some hundred times that of full fine-tuning."""


def train_policy(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: fits a policy and publishes it. The reference model itself is never loaded beside it.

    Args:
        job: ``config`` is a ``PolicyCheckpoint``, ``inputs`` has ``rows`` (``TRAINING_ROWS``) and ``reference``
            (``REFERENCE_LOGPS``), ``params`` is a ``CheckpointInfo``; ``training.jobs.checkpoint_job`` makes one.
        report: gets step metrics named as TRL names them.

    Returns:
        ``{"folder", "version", "reused", "pairs", "metrics", "steps", "resumed_from", "tokens", "seconds", …}``.

    Raises:
        TrainingDataError: pairs that cannot train, with their ids and the reason.
        WorkFolderLockedError, NonFiniteLossError, OutOfMemoryError: as ``run.train``.
    """
    config = PolicyCheckpoint.model_validate(job.config)
    reference = ReferenceLogps.model_validate(CheckpointInfo.model_validate(job.params).reference)

    def build(rows: pl.DataFrame) -> Trainable:
        return _trainable(rows, pl.read_parquet(job.inputs["reference"]), config, reference)

    return train(job, report, "policy", config, reference.key(), build)


def _trainable(
    rows: pl.DataFrame, reference_rows: pl.DataFrame, config: PolicyCheckpoint, reference: ReferenceLogps
) -> Trainable:
    import torch

    from pref_assets.models.loading import load_causal_lm, load_tokenizer, pick_device
    from pref_assets.training.pair_batches import check_margins, check_start, pair_data, pair_micro_batches

    check_margins(rows, config.objective)
    device = pick_device()
    tokenizer = load_tokenizer(reference.model)
    data = pair_data(rows, reference_rows, tokenizer, reference.max_length, device)
    torch.manual_seed(config.seed)
    model = adapted(load_causal_lm(reference.model, device), config.lora)
    check_start(model, data)

    def micro_batches(batch: Sequence[int]) -> "Iterator[MicroBatch]":
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.startswith("cuda")):
            yield from pair_micro_batches(model, data, config.objective, config.batch_tokens, batch)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        adapter = folder / "adapter_config.json"
        # The reference names the base on every machine; the path of its converted copy does not.
        settings = {**json.loads(adapter.read_text()), "base_model_name_or_path": reference.model}
        adapter.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        tokenizer.save_pretrained(folder)

    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Trainable(parameters, micro_batches, write, {"truncated_completions": data.truncated})


def adapted(model: Any, lora: Lora) -> Any:
    """The model with fresh adapters (float32, B zero) as its only trainable weights.

    The base's own dropout stays off, so that the policy starts exactly at the reference.

    Raises:
        ValueError: a target module does not occur in the model.
    """
    from peft import LoraConfig, get_peft_model

    layers = model.config.num_hidden_layers
    last = min(lora.last_layers or layers, layers)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if unknown := sorted(set(lora.target_modules) - names):
        raise ValueError(f"lora.target_modules: the model has no layer named {', '.join(unknown)}")
    model = get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            layers_to_transform=list(range(layers - last, layers)) if last < layers else None,
        ),
    ).eval()
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
    return model


def load_policy(folder: str | Path, device: str | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A published policy, ready to generate or score: base and adapter, in eval mode, with its tokenizer.

    On a CPU the adapter is merged into the float32 weights, which is faster. On a GPU it stays beside the bfloat16
    weights, which would round the update away.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is no policy, or its base model is not the one it was trained on.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    from pref_assets.models.loading import load_causal_lm, pick_device

    manifest = read_manifest(folder)
    if manifest.kind != "policy":
        raise ValueError(f"{folder} holds a {manifest.kind}, not a policy")
    check_base(manifest)
    device = device or pick_device()
    model = PeftModel.from_pretrained(load_causal_lm(manifest.base, device), folder)
    if device == "cpu":
        model = model.merge_and_unload()
    return model.eval(), AutoTokenizer.from_pretrained(folder)
