"""MM-RLHF's reward model: it says what is good and bad about an answer, and then how good the answer is."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import Field, field_validator

from pref_assets.models.reference import ModelReference, identity
from pref_assets.settings import CritiquesName, PolicyName
from pref_assets.training.checkpoint import CheckpointInfo, check_base, read_manifest
from pref_assets.training.config import Training
from pref_assets.training.critique_backbone import INSTRUCTION, PLACES, CritiqueModel, reward_head, with_weights_of
from pref_assets.training.data import Encoded, TextSource, buckets, texts_named
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.job import Job, Reporter
from pref_assets.training.objectives.critique_reward import critique_loss, score_terms
from pref_assets.training.policy import Lora, adapted, save_policy
from pref_assets.training.run import Trainable, train

if TYPE_CHECKING:
    import torch

    from pref_assets.training.loop import MicroBatch

KIND: Literal["critique_reward_model"] = "critique_reward_model"
HEAD = "reward_head.safetensors"
START = "start"
"""Folder, inside a checkpoint with adapters, of the policy's weights that they were trained on."""
SIDES = ("chosen", "rejected")
TEXTS = {side: f"critique_{side}" for side in SIDES}
"""Names of the critiques among the texts of training rows."""


class CritiqueRewardCheckpoint(Training):
    """A reward model that criticises before it scores (MM-RLHF, Zhang et al., arXiv 2502.10391, section 4.1).

    A language model, which may see, reads a judge's instruction with question and answer and learns to write the
    critique that it is given; a head reads the reward at the last token of prompt and critique. Of each pair the loss
    is ``score_weight`` (-log s(reward chosen - reward rejected - margin of the selector), or for a tie the squared
    difference times ``tie_weight``) + ``center_coefficient`` (sum of the rewards)² + ``critique_weight`` (cross-entropy
    of both critiques, each a mean over its tokens). The means over a step are those of the released code: over pairs
    that are no ties, over ties, and over all. A tie is a pair whose ``p_chosen`` is 0.5; any other label counts as
    certain. Ties get into a pipeline with `pairs.votes.ties: keep`.

    Without ``critiques`` the reward is read at the last token of the prompt, where the critique would begin. The
    paper's model is LLaVA-OneVision 7B, all weights but the vision tower, one epoch at a learning rate of 1e-6 with
    cosine decay, warm-up 0.1 and 24 pairs a step and process.
    """

    type: Literal["critique_reward_model"] = "critique_reward_model"
    model: ModelReference
    """The language model or vision-language model to start from."""
    start: PolicyName | None = None
    """Begin with the weights of this policy, which must be of the same model; what to score with is new all the
    same."""
    critiques: CritiquesName | None
    """What it learns to write about each answer; null for a reward model that does not criticise."""
    critique_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of the critiques' loss."""
    score_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of the rewards' loss, without its centring."""
    center_coefficient: float = Field(default=0.01, ge=0, le=10)
    """Weight of (reward chosen + reward rejected)², which keeps rewards around zero (arXiv 2312.09244)."""
    tie_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of (reward chosen - reward rejected)² of a tie."""
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in the head while training; the paper's is the model's attention dropout, mostly 0."""
    lora: Lora | None = Lora()
    """Low-rank adapters; null for all weights of the language model. The head always learns whole."""
    freeze_vision: bool = True
    """Keep the vision tower as it is; with `lora` it is in any case."""
    max_length: int = Field(default=2048, ge=32, le=1_000_000)
    """Tokens read of prompt, answer and critique. A longer text loses the start of its prompt first, then the end of
    its critique; a prompt with images is never cut."""
    instruction: str = INSTRUCTION
    """What the judge is asked: a text with `{question}` and `{answer}`. Images stand before it."""
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate of AdamW. All weights take a hundredth of what adapters do."""

    @field_validator("instruction")
    @classmethod
    def _has_places(cls, value: str) -> str:
        if missing := [each for each in PLACES if each not in value]:
            raise ValueError(f"the instruction has no place for {', '.join(missing)}")
        return value


def critique_texts(critiques: pl.DataFrame) -> TextSource:
    """The critiques (``CRITIQUES``) of both sides as texts of training rows, `critique_chosen` and
    `critique_rejected`."""
    said = critiques.filter(pl.col("critique").str.strip_chars() != "").select("completion_id", text="critique")

    def texts(rows: pl.DataFrame, pairs: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
        return pl.concat(
            rows.select("pair_id", completion_id=f"{side}_id")
            .join(said, on="completion_id")
            .select("pair_id", pl.lit(name).alias("name"), "text")
            for side, name in TEXTS.items()
        )

    return texts


def train_critique_reward(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: fits a reward model that criticises, and publishes it.

    Args:
        job: ``config`` is a ``CritiqueRewardCheckpoint``, ``inputs`` has ``rows`` (``TRAINING_ROWS``, with the texts of
            ``critique_texts``), ``params`` is a ``CheckpointInfo``; ``training.jobs.critique_reward_job`` makes one.
        report: gets step metrics: ``loss``, and what it is made of, ``bt_loss``, ``tie_loss``, ``center_loss`` and
            ``critique_loss`` (both sides added), with ``accuracy`` and ``margin`` of the pairs that are no ties.

    Returns:
        As ``train_policy``, with ``tied_pairs`` and ``truncated_sequences``.

    Raises:
        TrainingDataError: pairs without a critique, or that cannot be read; a start that is no policy of this model.
        WorkFolderLockedError, NonFiniteLossError, OutOfMemoryError: as ``run.train``.
    """
    config = CritiqueRewardCheckpoint.model_validate(job.config)
    info = CheckpointInfo.model_validate(job.params)
    start = None if info.start is None else info.start.folder(job.home, info.pipeline)
    return train(job, report, KIND, config, None, lambda rows: _trainable(rows, config, start))


def _trainable(rows: pl.DataFrame, config: CritiqueRewardCheckpoint, start: Path | None) -> Trainable:
    import torch

    critiques = _critiques(rows, config)
    model = starting_model(config, start)
    model.head.train()
    read = {side: _read(model, rows, side, critiques.get(side)) for side in SIDES}
    device = next(model.head.parameters()).device
    tied, weight = (rows["p_chosen"] == 0.5).to_list(), rows["weight"].to_list()
    margin = rows["margin"].fill_null(0.0).to_list()

    def column(values: Sequence[Any], picked: Sequence[int]) -> "torch.Tensor":
        return torch.tensor([values[row] for row in picked], device=device)

    def micro_batches(step: Sequence[int], mine: Sequence[int]) -> "Iterator[MicroBatch]":
        from pref_assets.training.loop import MicroBatch

        tied_share = sum(tied[row] for row in step) / len(step)
        lengths = [max(len(read[side][row].ids) for side in SIDES) for row in mine]
        for part in buckets(lengths, config.batch_tokens, rows=2):
            picked = [mine[i] for i in part]
            batch = [read[side][row] for side in SIDES for row in picked]
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device.type == "cuda"):
                judged = model.forward(batch, critiques=bool(critiques))
            chosen, rejected = judged.rewards.chunk(2)
            ties = column(tied, picked)
            terms = score_terms(
                chosen,
                rejected,
                ties,
                tied_share=tied_share,
                margin=column(margin, picked),
                tie_weight=config.tie_weight,
                center_coefficient=config.center_coefficient,
            )
            losses = config.score_weight * (terms.bradley_terry + terms.tie) + terms.center
            values = {f"{name}_loss": each.detach() for name, each in zip(_TERMS, terms, strict=True)}
            if critiques:
                of_chosen, of_rejected = critique_loss(judged.logps, judged.owners, len(batch)).chunk(2)
                said = of_chosen + of_rejected
                losses = losses + config.critique_weight * said
                values["critique_loss"] = said.detach()
            values |= _ranked((chosen - rejected).detach(), ties, tied_share)
            values["score_chosen"] = chosen.detach()
            yield MicroBatch(picked, column(weight, picked) * losses, values, sum(len(each.ids) for each in batch))

    def write(folder: Path) -> None:
        from safetensors.torch import save_file

        save_policy(model.model, folder, config.model)
        save_file({name: each.cpu().contiguous() for name, each in model.head.state_dict().items()}, folder / HEAD)
        model.reader.save_pretrained(folder)
        if start is not None and config.lora is not None:
            _keep(start, folder / START)

    parameters = {name: p for name, p in model.model.named_parameters() if p.requires_grad}
    parameters |= {f"reward_head.{name}": p for name, p in model.head.named_parameters()}
    weights = sum(p.numel() for p in model.model.parameters())
    cut = sum(each.truncated for side in SIDES for each in read[side])
    return Trainable(
        parameters,
        micro_batches,
        write,
        {"tied_pairs": float(sum(tied)), "truncated_sequences": float(cut)},
        flops_per_token=(6.0 if config.lora is None else 4.0) * weights,
    )


_TERMS = ("bt", "tie", "center")


def _ranked(margin: "torch.Tensor", tied: "torch.Tensor", tied_share: float) -> "dict[str, torch.Tensor]":
    """Accuracy and margin, zero for ties, so that their means over the step are means over the other pairs; nothing
    where all are ties."""
    if tied_share == 1:
        return {}
    counts = (~tied).double() / (1 - tied_share)
    right = (margin > 0).double() + 0.5 * (margin == 0).double()
    return {"accuracy": counts * right, "margin": counts * margin}


def _critiques(rows: pl.DataFrame, config: CritiqueRewardCheckpoint) -> dict[str, list[str]]:
    """The critiques by side, in the order of the rows; none where the model does not criticise.

    Raises:
        TrainingDataError: a pair lacks one.
    """
    if config.critiques is None:
        return {}
    said = {side: texts_named(rows, name) for side, name in TEXTS.items()}
    ids = rows["pair_id"].to_list()
    lacking = [each for each in ids if any(each not in said[side] for side in SIDES)]
    if lacking:
        raise TrainingDataError(
            f"{len(lacking)} of {len(ids)} pairs have a side without a critique in {config.critiques!r}: "
            f"{name_pairs(lacking)}; select pairs that have both, write them with another `critiques` entry, or train "
            "with `critiques: null`"
        )
    return {side: [said[side][each] for each in ids] for side in SIDES}


def _read(model: CritiqueModel, rows: pl.DataFrame, side: str, critiques: Sequence[str] | None) -> list[Encoded]:
    asked = pl.coalesce("rejected_prompt", "prompt") if side == "rejected" else pl.col("prompt")
    found = []
    for row, (id_, prompt, answer) in enumerate(rows.select("pair_id", asked, side).iter_rows()):
        try:
            found.append(model.read(prompt, answer, critiques[row] if critiques else None))
        except TrainingDataError as error:
            raise TrainingDataError(f"pair {id_}, {side} side: {error}") from error
    return found


def starting_model(config: CritiqueRewardCheckpoint, start: Path | None = None) -> CritiqueModel:
    """The model as training starts: the base's or a policy's weights, with fresh adapters or all of them to learn, and
    a fresh head.

    Raises:
        TrainingDataError: ``start`` is no policy, or one of another model.
        ValueError: a target module of ``lora`` does not occur in the model.
    """
    import torch

    from pref_assets.models.loading import load_reader, pick_device
    from pref_assets.models.vision import vision_tower

    if start is not None:
        _check_start(config, start)
    device = pick_device()
    # Full weights need float32 for the optimiser.
    model = with_weights_of(config.model, start, device, "float32" if config.lora is None else None)
    torch.manual_seed(config.seed)
    if config.lora is not None:
        model = adapted(model, config.lora)
    else:
        model.requires_grad_(True)
        if config.freeze_vision and (tower := vision_tower(model)) is not None:
            tower.requires_grad_(False)
    return _assembled(model, config, load_reader(config.model), device)


def _assembled(model: Any, config: CritiqueRewardCheckpoint, reader: Any, device: str) -> CritiqueModel:
    head = reward_head(model.config.get_text_config().hidden_size, config.head_dropout, config.seed)
    return CritiqueModel(model, head.to(device), reader, config.instruction, config.max_length)


def _check_start(config: CritiqueRewardCheckpoint, start: Path) -> None:
    manifest = read_manifest(start)
    if manifest.kind != "policy":
        raise TrainingDataError(f"start: checkpoint {manifest.name!r} is a {manifest.kind}, no policy")
    if manifest.base_identity != identity(config.model):
        raise TrainingDataError(
            f"start: checkpoint {manifest.name!r} was trained on the model {manifest.base}, which is not "
            f"{config.model}; use one model"
        )


def _keep(start: Path, folder: Path) -> None:
    """Copies a policy's weights, so that the checkpoint does not need it."""
    folder.mkdir()
    for pattern in ("*.safetensors", "*.index.json", "*config.json"):
        for path in start.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def load_critique_model(folder: str | Path) -> CritiqueModel:
    """A published reward model that criticises, on the best device, in float32, in eval mode.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: it is none of this kind, or its base model is not the one it was trained on.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    from pref_assets.models.loading import load_reader, pick_device

    folder, manifest = Path(folder), read_manifest(folder)
    if manifest.kind != KIND:
        raise ValueError(f"{folder} holds a {manifest.kind}, not a reward model that criticises")
    check_base(manifest)
    config = CritiqueRewardCheckpoint.model_validate(manifest.config)
    device = pick_device()
    if config.lora is None:
        model = with_weights_of(manifest.base, folder, device, "float32")
    else:
        kept = folder / START
        model = with_weights_of(manifest.base, kept if kept.exists() else None, device, "float32")
        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    found = _assembled(model.eval(), config, load_reader(manifest.base), device)
    found.head.load_state_dict(load_file(folder / HEAD))
    found.head.eval()
    return found
