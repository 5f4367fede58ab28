"""The model of a reward model that criticises first: a language model, which may see, that writes what is good and bad
about an answer, and a head that reads the reward at the end of what was written."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.models.generation import Sampling, draw_answers
from pref_assets.models.vision import Sight, vision_inputs
from pref_assets.pairs.messages import decode, shown_images
from pref_assets.pairs.messages import encode as encode_turn
from pref_assets.pairs.texts import prompt_text
from pref_assets.training.data import Encoded, buckets, encode
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import head_on, token_logps

if TYPE_CHECKING:
    import torch

Messages = Iterable[Mapping[str, str]]
PLACES = ("{question}", "{answer}")
INSTRUCTION = (
    "Here is a question and an answer to it. Judge the answer.\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"
    "Say what is good and what is bad about this answer: is it true to what is shown and asked, does it help, is it "
    "harmless?"
)
_ANY_LENGTH = 2**31


def judge_turn(
    instruction: str, prompt: Messages, completion: Messages, images: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """What the judge is asked, one turn of a user: the images first, then the instruction with question and answer.

    Args:
        instruction: text with ``{question}`` and ``{answer}``.
        prompt: the turns that were answered; several become a transcript. Images in their parts (`messages.shown`).
        completion: the answer.
        images: other images in the place of the prompt's own.
    """
    asked = list(prompt)
    uris = shown_images(asked) if images is None else images
    said = {"{question}": prompt_text(_without_images(turn) for turn in asked), "{answer}": prompt_text(completion)}
    text = re.sub("|".join(map(re.escape, PLACES)), lambda found: said[found.group()], instruction)
    if not uris:
        return [{"role": "user", "content": text}]
    parts = [*({"type": "image", "image": uri} for uri in uris), {"type": "text", "text": text}]
    role, content = encode_turn({"role": "user", "content": parts})
    return [{"role": role, "content": content}]


def _without_images(turn: Mapping[str, str]) -> dict[str, str]:
    message = decode(turn["role"], turn["content"]) if turn["role"].endswith("+json") else {}
    if not isinstance(message.get("content"), list):
        return dict(turn)
    kept = [part for part in message["content"] if not (isinstance(part, dict) and part.get("type") == "image")]
    role, content = encode_turn({**message, "content": kept})
    return {"role": role, "content": content}


@dataclass(frozen=True)
class Judged:
    """What the model makes of a batch of n sequences.

    Attributes:
        rewards: (n,) float32, differentiable.
        logps: log-probability of each critique token, (N,) float32, differentiable.
        owners: which sequence a token is of, (N,).
    """

    rewards: "torch.Tensor"
    logps: "torch.Tensor"
    owners: "torch.Tensor"


@dataclass(frozen=True)
class CritiqueModel:
    """A causal language model with its own head, which writes critiques, and a reward head.

    Attributes:
        model: the language model, with its vision tower where it has one.
        head: dropout, linear, tanh, dropout, linear to one number; float32.
        reader: its tokenizer or `Sight`.
        instruction: of `judge_turn`.
        max_length: tokens of prompt and critique.
    """

    model: Any
    head: "torch.nn.Module"
    reader: Any
    instruction: str
    max_length: int

    def read(
        self, prompt: Messages, completion: Messages, critique: str | None, images: Sequence[str] | None = None
    ) -> Encoded:
        """The sequence whose last token holds the reward: the judge's prompt and the critique after it, or the prompt
        alone, up to where the critique would begin. ``truncated`` says whether any of it was cut.

        Raises:
            TrainingDataError: as `data.encode`.
        """
        asked = judge_turn(self.instruction, prompt, completion, images)
        said = [{"role": "assistant", "content": critique or ""}]
        whole = encode(self.reader, asked, said, _ANY_LENGTH)
        if critique is not None:
            if len(whole.ids) <= self.max_length:
                return whole
            cut = encode(self.reader, asked, said, self.max_length)
            return Encoded(cut.ids, cut.n_prompt, True, cut.seen)
        ids = whole.ids[: whole.n_prompt]
        if whole.seen and len(ids) > self.max_length:
            raise TrainingDataError(
                f"a prompt takes {len(ids)} tokens with its {len(whole.seen.uris)} images, and max_length is "
                f"{self.max_length}; images are not cut: raise max_length"
            )
        kept = ids[-self.max_length :]
        return Encoded(kept, len(kept), len(kept) < len(ids), whole.seen)

    def forward(self, batch: Sequence[Encoded], *, critiques: bool) -> Judged:
        """Rewards at the last tokens of the sequences; with ``critiques`` the log-probabilities of what is after each
        prompt, too. Padding changes nothing."""
        import torch

        device = next(self.head.parameters()).device
        width = max(len(each.ids) for each in batch)
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        ends, owners = list[int](), list[int]()
        sources, targets = list[int](), list[int]()
        for row, each in enumerate(batch):
            n = len(each.ids)
            ids[row, :n], mask[row, :n] = each.ids, 1
            ends.append(row * width + n - 1)
            if critiques:
                sources += range(row * width + each.n_prompt - 1, row * width + n - 1)
                targets += each.completion_ids
                owners += [row] * each.n_completion
        places = torch.tensor([*ends, *sources], device=device)
        states: list[torch.Tensor] = []
        with head_on(self.model, places, states):
            logits = self.model(
                input_ids=torch.from_numpy(ids).to(device),
                use_cache=False,
                **vision_inputs([each.seen for each in batch], width, self.model),
                **({} if mask.all() else {"attention_mask": torch.from_numpy(mask).to(device)}),
            ).logits[0]
        said = torch.tensor(targets, dtype=torch.long, device=device)
        logps = token_logps(logits[len(batch) :].float(), said)[:, 0]
        with torch.autocast(device.type, enabled=False):
            rewards = self.head(states[0][: len(batch)].float())[:, 0]
        return Judged(rewards, logps, torch.tensor(owners, dtype=torch.long, device=device))

    def score(self, sequences: Sequence[Encoded], batch_tokens: int = 2048) -> NDArray[np.float64]:
        """Rewards, shape (len(sequences),), the same whatever the batch."""
        import torch

        rewards = np.zeros(len(sequences), np.float64)
        with torch.inference_mode():
            for batch in buckets([len(each.ids) for each in sequences], batch_tokens):
                judged = self.forward([sequences[i] for i in batch], critiques=False)
                rewards[batch] = judged.rewards.double().cpu().numpy()
        return rewards

    def criticise(self, asked: Sequence[list[dict[str, str]]], sampling: Sampling) -> list[tuple[str, bool]]:
        """A critique of the model's own for each `judge_turn`, and whether it came to an end. A mark that stands for an
        image is left out of it."""
        mark = self.reader.processor.image_token if isinstance(self.reader, Sight) else None
        found = draw_answers(self.model, self.reader, asked, sampling)
        return [(each.text.replace(mark, "") if mark else each.text, each.finished) for each in found]


def reward_head(width: int, dropout: float, seed: int) -> "torch.nn.Module":
    """A fresh head on states of ``width``: dropout, linear, tanh, dropout, linear to one number."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Dropout(dropout),
            torch.nn.Linear(width, width),
            torch.nn.Tanh(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(width, 1),
        )


def with_weights_of(base: str, start: Path | None, device: str, dtype: str | None = None) -> Any:
    """The base model, or what a policy checkpoint, or the copy of its weights, made of it: all weights, or the base
    with the adapter added up in float32."""
    from pref_assets.models.loading import load_causal_lm

    if start is None:
        return load_causal_lm(base, device, dtype)
    if not (start / "adapter_config.json").exists():
        return load_causal_lm(str(start), device, dtype)
    from peft import PeftModel

    return PeftModel.from_pretrained(load_causal_lm(base, device, "float32"), start).merge_and_unload().eval()
