"""Policies: LoRA adapters on a base model, fitted to pairs with reference log-probabilities given."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field, model_validator

from pref_assets.models.reference import identity
from pref_assets.settings import PolicyName, ReferenceName, SamplesName, Settings
from pref_assets.training.checkpoint import CheckpointInfo, check_base, read_manifest
from pref_assets.training.config import Training
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.objectives import DPO, ObjectiveConfig
from pref_assets.training.objectives.kernel import check_columns
from pref_assets.training.online.updates import UpdateConfig
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.run import Trainable, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    lora: Lora | None = Lora()
    """Which weights learn; null for all of them (float32, ten bytes a weight and more)."""
    start: PolicyName | None = None
    """The policy checkpoint to go on from; left out, training starts at the reference."""
    freeze_vision: bool = True
    """Of a model that sees, keep the vision tower as it is; with `lora` it is in any case."""
    stage: int | None = Field(default=None, ge=1)
    """Train only the subset's pairs of this stage; left out, all stages one after the other."""
    samples: SamplesName | None = None
    """Answers of a policy, to train on in place of the subset's pairs; `online` sets it."""
    update: UpdateConfig | None = None
    """What is learned from the `samples`; `online` sets it, and the objective that belongs to it."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more arithmetic."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate of AdamW. Adapters take some hundred times that of full fine-tuning."""

    @model_validator(mode="after")
    def _live_answers_have_a_reference(self) -> "PolicyCheckpoint":
        if self.objective.live is not None and self.lora is None:
            raise ValueError(
                f"objective {self.objective.type}: the reference of answers drawn while training is the policy with "
                "its adapters off, so it needs `lora`"
            )
        return self


def train_policy(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: fits a policy and publishes it. The reference model itself is never loaded beside it.

    Args:
        job: ``config`` is a ``PolicyCheckpoint``, ``inputs`` has ``rows`` (``TRAINING_ROWS``), ``reference``
            (``REFERENCE_LOGPS``) and ``parts`` (``PARTS``), ``params`` is a ``CheckpointInfo``;
            ``training.jobs.policy_job`` makes one.
        report: gets step metrics named as TRL names them.

    Returns:
        ``{"folder", "version", "reused", "pairs", "metrics", "steps", "resumed_from", "tokens", "seconds", …}``.

    Raises:
        TrainingDataError: pairs that cannot train, with their ids and the reason.
        WorkFolderLockedError, NonFiniteLossError, OutOfMemoryError: as ``run.train``.
    """
    config = PolicyCheckpoint.model_validate(job.config)
    info = CheckpointInfo.model_validate(job.params)
    reference = ReferenceLogps.model_validate(info.reference)
    start = None if info.start is None else info.start.folder(job.home, info.pipeline)

    def build(rows: pl.DataFrame) -> Trainable:
        reference_rows, parts = (pl.read_parquet(job.inputs[name]) for name in ("reference", "parts"))
        return _trainable(rows, reference_rows, parts, config, reference, start)

    return train(job, report, "policy", config, reference_key(reference, info), build)


def reference_key(reference: ReferenceLogps, info: CheckpointInfo) -> str:
    """Store key of the reference log-probabilities behind a checkpoint."""
    return reference.key(info.reference_checkpoint.version if info.reference_checkpoint else None)


def _trainable(
    rows: pl.DataFrame,
    reference_rows: pl.DataFrame,
    parts: pl.DataFrame,
    config: PolicyCheckpoint,
    reference: ReferenceLogps,
    start: Path | None,
) -> Trainable:
    import torch

    from pref_assets.models.loading import load_reader, pick_device
    from pref_assets.training.online_samples import STEPS, LiveSampler
    from pref_assets.training.pair_batches import Batches
    from pref_assets.training.pair_data import check_start, pair_data

    objective = config.objective
    check_columns(rows, objective)
    if objective.live is not None and reference.checkpoint is not None:
        raise TrainingDataError(
            f"objective {objective.type}: the reference of answers drawn while training is the base model, but this "
            f"run's reference is checkpoint {reference.checkpoint!r}; use a reference without one"
        )
    device = pick_device()
    reader = load_reader(reference.model)
    data = pair_data(rows, reference_rows, reader, reference.max_length, device, objective, parts)
    torch.manual_seed(config.seed)
    model = starting_policy(config, reference.model, device, start)
    if not objective.reference_free and config.start is None:
        check_start(model, data)
    head = objective.head(model.config.get_text_config().hidden_size)
    head = None if head is None else head.to(device)
    carried = {name: tensor.to(device) for name, tensor in objective.carried_start().items()}
    live = None
    if objective.live is not None:
        carried[STEPS] = torch.zeros(1, dtype=torch.float64, device=device)
        live = LiveSampler(model, reader, data, objective.live, config.batch_tokens, config.seed, carried)
    batches = Batches(model, data, objective, config.batch_tokens, head, carried, live)

    def micro_batches(step: Sequence[int], mine: Sequence[int]) -> "Iterator[MicroBatch]":
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.startswith("cuda")):
            yield from batches(step, mine)

    def write(folder: Path) -> None:
        save_policy(model, folder, reference.model)
        reader.save_pretrained(folder)

    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if head is not None:
        parameters |= {f"objective_head.{name}": p for name, p in head.named_parameters()}
    weights = sum(p.numel() for p in model.parameters())
    return Trainable(
        parameters,
        micro_batches,
        write,
        {"truncated_completions": data.truncated},
        carried=carried,
        # Forward, and backward through the states; the gradients of weights only where all of them learn.
        flops_per_token=(6.0 if config.lora is None else 4.0) * weights,
        derived=objective.derived({name: values.double().cpu().numpy() for name, values in data.columns.items()}),
    )


def starting_policy(config: PolicyCheckpoint, base: str, device: str, start: Path | None) -> Any:
    """The model as training starts: the base with fresh adapters, all weights of the base, or an earlier checkpoint's.

    Raises:
        ValueError: a target module does not occur in the model, or the earlier checkpoint trained other weights, or
            those of another base model.
    """
    from pref_assets.models.loading import load_causal_lm
    from pref_assets.models.vision import vision_tower

    if start is not None:
        _check_same_weights(config, base, start)
    if config.lora is None:
        # Full weights need float32 for the optimiser; autocast computes in bfloat16 where that is fast.
        model = load_causal_lm(base if start is None else str(start), device, "float32")
        model.requires_grad_(True)
        if config.freeze_vision and (tower := vision_tower(model)) is not None:
            tower.requires_grad_(False)
    else:
        model = adapted(load_causal_lm(base, device), config.lora, start)
    if config.gradient_checkpointing:
        _checkpoint_gradients(model)
    return model


def _check_same_weights(config: PolicyCheckpoint, base: str, start: Path) -> None:
    manifest = read_manifest(start)
    if manifest.base_identity != identity(base):
        raise ValueError(
            f"the checkpoint that training starts from, {manifest.name!r}, was trained on the model {manifest.base}, "
            f"which is not {base}; use one model"
        )
    before = PolicyCheckpoint.model_validate(manifest.config).lora
    had, wants = (None if each is None else each.model_dump(exclude={"dropout"}) for each in (before, config.lora))
    if had != wants:
        raise ValueError(
            f"the checkpoint that training starts from has lora {had}, this entry asks for {wants}; a stage goes on "
            "training the same weights"
        )


def adapted(model: Any, lora: Lora, start: Path | None = None) -> Any:
    """The model with adapters (float32) as its only trainable weights: fresh ones (B zero), or those of a checkpoint.

    The base's own dropout stays off, so that the policy starts exactly at the reference.

    Raises:
        ValueError: a target module does not occur in the model.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    from pref_assets.models.vision import sees

    layers = model.config.get_text_config().num_hidden_layers
    last = min(lora.last_layers or layers, layers)
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if unknown := sorted(set(lora.target_modules) - names):
        raise ValueError(f"lora.target_modules: the model has no layer named {', '.join(unknown)}")
    seeing = sees(model.config)
    if start is not None:
        model = PeftModel.from_pretrained(model, start, is_trainable=True).eval()
    else:
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=_in_language(model, lora, last) if seeing else list(lora.target_modules),
            layers_to_transform=list(range(layers - last, layers)) if last < layers and not seeing else None,
        )
        model = get_peft_model(model, config).eval()
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
    return model


def _in_language(model: Any, lora: Lora, last: int) -> list[str]:
    """Full names of the layers to adapt: those of the language model alone, whose names the vision tower may share."""
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    blocks = len(decoder.layers)
    kept = tuple(f"{prefix}.layers.{i}." for i in range(blocks - last, blocks))
    names = (name for name, _ in model.named_modules() if name.startswith(kept))
    return sorted(name for name in names if name.rpartition(".")[2] in lora.target_modules)


def _checkpoint_gradients(model: Any) -> None:
    """Turns gradient checkpointing on, which works in train mode only, and every dropout but the adapters' off."""
    import torch

    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def save_policy(model: Any, folder: Path, base: str) -> None:
    """Writes adapter or weights as safetensors, with the base under the name that it has on every machine."""
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        settings = {**json.loads(adapter.read_text()), "base_model_name_or_path": base}
        adapter.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_policy(folder: str | Path, device: str | None = None) -> "tuple[PreTrainedModel, Any]":
    """A published policy, ready to generate or score: base and adapter, or all weights, in eval mode, with its
    tokenizer, or the `Sight` of one that sees.

    On a CPU the adapter is merged into the float32 weights, which is faster. On a GPU it stays beside the bfloat16
    weights, which would round the update away.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is no policy, or its base model is not the one it was trained on.
    """
    from peft import PeftModel

    from pref_assets.models.loading import load_causal_lm, load_reader, pick_device

    manifest = read_manifest(folder)
    if manifest.kind != "policy":
        raise ValueError(f"{folder} holds a {manifest.kind}, not a policy")
    check_base(manifest)
    device = device or pick_device()
    if PolicyCheckpoint.model_validate(manifest.config).lora is None:
        model = load_causal_lm(str(folder), device)
    else:
        model = PeftModel.from_pretrained(load_causal_lm(manifest.base, device), folder)
        if device == "cpu":
            model = model.merge_and_unload()
    return model.eval(), load_reader(manifest.base)
