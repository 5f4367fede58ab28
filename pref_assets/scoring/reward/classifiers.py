"""Reward models of the sequence-classification families: what they read, and the numbers they return."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pref_assets.pairs.messages import chat, function_names
from pref_assets.training.data import buckets
from pref_assets.training.errors import TrainingDataError

Dtype = Literal["float32", "bfloat16"]
Messages = Iterable[Mapping[str, str]]


@dataclass(frozen=True)
class Conversation:
    """Tokens of a conversation as the model's chat template renders it.

    Attributes:
        ids: at most ``max_length`` of them: the first, and the last ones.
        prompt_end: place of the last token before the assistant's last turn; negative when it was cut off.
        truncated: whether tokens were cut.
    """

    ids: tuple[int, ...]
    prompt_end: int
    truncated: bool


@dataclass(frozen=True)
class Classifier:
    """A loaded reward model.

    Attributes:
        model: a sequence classifier, or a `gated.GatedModel`.
        tokenizer: its tokenizer, with the chat template.
        names: its outputs by name.
        max_length: tokens that it reads.
        pad: the token that its configuration pads with; null where it names none.
        gated: whether the model says itself how its outputs make one reward.
    """

    model: Any
    tokenizer: Any
    names: list[str]
    max_length: int
    pad: int | None
    gated: bool

    def read(self, prompt: Messages, completion: Messages) -> Conversation:
        """The tokens of one answer after its prompt.

        Raises:
            TrainingDataError: the template refuses the roles, shows no tool, or a turn is no text.
        """
        return conversation(self.tokenizer, [*prompt, *completion], self.max_length)

    def outputs(self, batch: Sequence[Conversation], batch_tokens: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Rewards of conversations, the same under any batching and order.

        Batches hold rows of similar length, longest first, and at most ``batch_tokens`` tokens, padding included;
        padding is on the right.

        Returns:
            (n, len(names)) outputs, and (n,) the one reward of a gated model, of another the mean of its outputs.

        Raises:
            ValueError: a reward is NaN or infinite; says how many.
            OutOfMemoryError: a batch does not fit on the device.
        """
        import torch

        from pref_assets.training.loop import memory_advice

        found = np.zeros((len(batch), len(self.names)))
        reward = np.zeros(len(batch))
        padding = self._padding(batch)
        device = next(self.model.parameters()).device
        with torch.inference_mode(), memory_advice(batch_tokens):
            for rows in buckets([len(each.ids) for each in batch], batch_tokens):
                width = max(len(batch[row].ids) for row in rows)
                ids = torch.full((len(rows), width), padding)
                mask = torch.zeros(len(rows), width, dtype=torch.long)
                for place, row in enumerate(rows):
                    length = len(batch[row].ids)
                    ids[place, :length] = torch.tensor(batch[row].ids)
                    mask[place, :length] = 1
                inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
                if self.gated:
                    each, of = self.model(**inputs, prompt_ends=[batch[row].prompt_end for row in rows])
                    reward[rows] = of.double().cpu().numpy()
                else:
                    each = self.model(**inputs).logits.float()
                    reward[rows] = each.double().mean(-1).cpu().numpy()
                found[rows] = each.double().cpu().numpy()
        if broken := int((~np.isfinite(found).all(axis=1) | ~np.isfinite(reward)).sum()):
            raise ValueError(
                f"the reward model gives NaN or infinite rewards to {broken} of {len(batch)} conversations; "
                "check its weights, or use dtype: float32"
            )
        return found, reward

    def _padding(self, batch: Sequence[Conversation]) -> int:
        """The token that pads. Where the model names none, one that no sequence holds; the model is told, and so finds
        each last token as it would find that of a single unpadded row."""
        if self.pad is not None:
            return self.pad
        config = self.model.config.get_text_config()
        used = {token for each in batch for token in each.ids}
        config.pad_token_id = next(token for token in range(config.vocab_size) if token not in used)
        return int(config.pad_token_id)


def conversation(tokenizer: Any, turns: Sequence[Mapping[str, str]], max_length: int) -> Conversation:
    """Tokens of a whole conversation, rendered and tokenised in one go, with the special tokens of the template only.

    Above ``max_length`` tokens the first stays (models were trained to find their start token there) and the oldest
    after it go: a reward model looks at the end.

    Raises:
        TrainingDataError: no chat template, one that refuses the roles or shows no tool, or a turn that is no text.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise TrainingDataError("the reward model's tokenizer has no chat template, so nobody knows how it reads")
    messages, tools = chat(turns)
    if parts := [message["role"] for message in messages if isinstance(message.get("content"), list)]:
        raise TrainingDataError(f"a turn by {parts[0]!r} shows an image or another part; reward models here read text")
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        before = tokenizer.apply_chat_template(messages[:-1], tools=tools, tokenize=False)
    except TemplateError as error:
        roles = [message["role"] for message in messages]
        raise TrainingDataError(f"the reward model's chat template refuses the roles {roles}: {error}") from error
    if unseen := [name for name in function_names(messages, tools) if name not in text]:
        raise TrainingDataError(
            f"the reward model's chat template does not show the function {unseen[0]!r}, which is on offer or called"
        )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    asked = tokenizer(before, add_special_tokens=False)["input_ids"]
    end = len(asked) - 1 if ids[: len(asked)] == asked else -1
    cut = max(0, len(ids) - max_length)
    if not cut:
        return Conversation(tuple(ids), end, truncated=False)
    return Conversation((ids[0], *ids[cut + 1 :]), end - cut if end > cut else -1, truncated=True)


def load_classifier(reference: str, dtype: Dtype, max_length: int) -> Classifier:
    """A reward model on the best device, in eval mode, every weight of it from its files.

    Families: any architecture that `AutoModelForSequenceClassification` builds without code from elsewhere, with one
    output (Skywork-Reward, GRM in its published fine-tuned form, OffsetBias) or several (multi-attribute regression),
    and ArmoRM's gated mixture, which is rebuilt here (`gated`).

    Raises:
        ModelNotFoundError: the model is not there.
        ValueError: a weight is not in the files (a head of its own code, or a plain language model: it would be
            random), or the model reads fewer than ``max_length`` tokens.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from pref_assets.models.loading import load_tokenizer, local_path, pick_device
    from pref_assets.scoring.reward.gated import is_gated, load_gated

    folder = Path(local_path(reference))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    limit = config.get_text_config().max_position_embeddings
    if max_length > limit:
        raise ValueError(f"max_length {max_length}: {reference} reads at most {limit} tokens")
    kind = getattr(torch, dtype)
    if is_gated(config):
        model: Any = load_gated(folder, config, kind)
        names = [f"output_{i}" for i in range(config.num_objectives)]
    else:
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=kind, output_loading_info=True, trust_remote_code=False
        )
        refuse_random(reference, told["missing_keys"])
        names = [str(config.id2label[i]) for i in range(config.num_labels)]
    model.config.use_cache = False
    model = model.to(pick_device()).eval()
    pad = config.get_text_config().pad_token_id
    return Classifier(model, load_tokenizer(reference), names, max_length, pad, gated=is_gated(config))


def refuse_random(reference: str, missing: Iterable[str]) -> None:
    """Raises ``ValueError`` when weights of a model were not in its files: they would be random numbers."""
    absent = sorted(missing)
    if absent:
        raise ValueError(
            f"{reference} is no reward model that can be read here: its files hold no {', '.join(absent[:3])}"
            f"{f' and {len(absent) - 3} more' if len(absent) > 3 else ''}, which would be random. It may be a language "
            "model without a reward head, or one whose head needs code of its own, which is never run"
        )
