"""The model of a reward model: a backbone, its pooling and a linear head, and which of its weights learn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pref_assets.pairs.texts import content_text
from pref_assets.training.data import buckets
from pref_assets.training.policy import Lora

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "last"]


def reward_text(prompt: Iterable[Mapping[str, str]], completion: Iterable[Mapping[str, str]]) -> str:
    """What a reward model reads: the turns of prompt and answer, joined by blank lines."""
    return content_text([*prompt, *completion])


@dataclass(frozen=True)
class RewardModel:
    """A backbone (encoder or decoder) with its head, and how it reads texts.

    Attributes:
        head: one output, the score, and those of further losses after it.
        pooling: ``mean`` of all tokens' states, or the ``last`` token's, which a decoder needs.
        adapted: whether the backbone's only trainable weights are adapters.
    """

    encoder: Any
    head: "torch.nn.Linear"
    tokenizer: Any
    max_length: int
    pooling: Pooling = "mean"
    adapted: bool = False

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens, cut on the left to ``max_length``. Where the last token is read, it is the end
        token, so that it is the same for every text."""
        if not texts:
            return []
        self.tokenizer.truncation_side = "left"
        end = self.tokenizer.eos_token_id if self.pooling == "last" else None
        room = self.max_length - (end is not None)
        found = self.tokenizer(list(texts), truncation=True, max_length=room)["input_ids"]
        return [ids if end is None else [*ids, end] for ids in found]

    def forward(self, batch: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Scores of token sequences, shape (len(batch),) float32, differentiable; padding changes nothing."""
        return self.outputs(batch)[:, 0]

    def outputs(self, batch: Sequence[Sequence[int]]) -> "torch.Tensor":
        """All outputs of the head, shape (len(batch), outputs) float32; the first is the score."""
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
        if self.pooling == "mean":
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        else:
            pooled = states[torch.arange(len(states), device=device), mask.sum(1) - 1]
        with torch.autocast(device.type, enabled=False):
            return self.head(pooled)

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
        """What learns, by name; everything else is frozen. Of an adapted backbone the adapters and the head.

        Raises:
            ValueError: the encoder has fewer blocks.
        """
        import torch

        if self.adapted:
            return self._learning()
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
        return self._learning()

    def _learning(self) -> dict[str, "torch.nn.Parameter"]:
        found = {f"encoder.{name}": p for name, p in self.encoder.named_parameters() if p.requires_grad}
        return found | {f"head.{name}": p for name, p in self.head.named_parameters()}


def base_model(
    reference: str,
    max_length: int,
    seed: int = 0,
    pooling: Pooling = "mean",
    outputs: int = 1,
    lora: Lora | None = None,
) -> RewardModel:
    """The backbone with an untrained head, in eval mode (no dropout) and float32, on the best device.

    Raises:
        ValueError: the backbone cannot read ``max_length`` tokens, has no layer that ``lora`` names, or its tokenizer
            has no end token for pooling ``last``.
    """
    import torch
    from transformers import AutoModel

    from pref_assets.models.loading import load_tokenizer, local_path, pick_device

    encoder = AutoModel.from_pretrained(local_path(reference), dtype=torch.float32)
    limit = getattr(encoder.config, "max_position_embeddings", max_length)
    if max_length > limit:
        raise ValueError(f"max_length {max_length}: {reference} reads at most {limit} tokens")
    tokenizer = load_tokenizer(reference)
    if pooling == "last" and tokenizer.eos_token_id is None:
        raise ValueError(f"pooling `last` reads the end token, and the tokenizer of {reference} has none")
    torch.manual_seed(seed)
    head = torch.nn.Linear(encoder.config.hidden_size, outputs)
    if lora is not None:
        encoder = _adapted(encoder, lora)
    device = pick_device()
    return RewardModel(
        encoder.to(device).eval(), head.to(device), tokenizer, max_length, pooling, adapted=lora is not None
    )


def _adapted(encoder: Any, lora: Lora) -> Any:
    """The backbone with fresh adapters (B zero) as its only trainable weights."""
    from peft import LoraConfig, get_peft_model

    names = {name.rpartition(".")[2] for name, _ in encoder.named_modules()}
    if unknown := sorted(set(lora.target_modules) - names):
        raise ValueError(f"lora.target_modules: the model has no layer named {', '.join(unknown)}")
    layers = encoder.config.num_hidden_layers
    last = min(lora.last_layers or layers, layers)
    config = LoraConfig(
        task_type="FEATURE_EXTRACTION",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        layers_to_transform=list(range(layers - last, layers)) if last < layers else None,
    )
    return get_peft_model(encoder, config)
