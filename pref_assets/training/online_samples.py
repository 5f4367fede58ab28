"""Answers drawn while training, each step anew, with their log-probabilities under the reference.

The reference is the policy's own model with its adapters off, so no second model is in memory.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pref_assets.models.generation import Sampling, generate_ids
from pref_assets.models.loading import tokenizer_of
from pref_assets.models.vision import Sight
from pref_assets.training.data import Encoded
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.objectives.live import LiveSamples
from pref_assets.training.pair_data import PairData, PartData

if TYPE_CHECKING:
    import torch

STEPS = "live_steps"
"""Name of the carried number that counts steps, so that a resumed run draws what the first one would have."""


@dataclass(frozen=True)
class LiveSampler:
    """Draws answers for the pairs of a step.

    Attributes:
        model: a policy with peft adapters.
        reader: its tokenizer, or the `Sight` of one that sees.
        data: the pairs, whose chosen side's prompt is answered as it was encoded.
        settings: how many answers, and whose.
        batch_tokens: tokens that go through the model at once for the reference.
        seed: of the draws.
        carried: has ``STEPS``, (1,) float64, which every call raises by one.
    """

    model: Any
    reader: Any
    data: PairData
    settings: LiveSamples
    batch_tokens: int
    seed: int
    carried: "Mapping[str, torch.Tensor]"

    def __call__(self, rows: Sequence[int]) -> dict[str, PartData]:
        """Parts ``sampled_0``, ``sampled_1``, … of the pairs at ``rows``; other pairs lack them.

        An answer depends on the seed, the step, the pair and the model, never on the other pairs of the step.
        """
        import torch

        step = round(float(self.carried[STEPS]))
        self.carried[STEPS].add_(1)
        chosen = self.data.parts["chosen"].encoded
        asked = [(row, i) for i in range(self.settings.n) for row in rows]
        of_pair = [each for row, _ in asked if (each := chosen[row]) is not None]
        prompts, images = [list(each.ids[: each.n_prompt]) for each in of_pair], [each.seen for each in of_pair]
        draws = [self._draws(step, self.data.ids[row], i) for row, i in asked]
        sampling = Sampling(
            max_new_tokens=self.settings.max_new_tokens, temperature=1.0, batch_size=self.settings.batch_size
        )
        with _plain(self.model, adapters=self.settings.by == "policy"):
            given = images if isinstance(self.reader, Sight) else None
            answers = generate_ids(self.model, tokenizer_of(self.reader), prompts, draws, sampling, seen=given)
        encoded = [
            Encoded((*prompt, *answer), len(prompt), truncated=False, seen=seen)
            for prompt, answer, seen in zip(prompts, answers, images, strict=True)
        ]
        with _plain(self.model, adapters=False):
            logps, _ = completion_logps(self.model, encoded, self.batch_tokens)
        device, n = self.data.weight.device, len(self.data.ids)
        found = {}
        for i in range(self.settings.n):
            of: list[Encoded | None] = [None] * n
            ref = torch.zeros(n, device=device)
            for (row, number), each, logp in zip(asked, encoded, logps, strict=True):
                if number == i:
                    of[row], ref[row] = each, float(logp)
            found[f"sampled_{i}"] = PartData(of, ref)
        return found

    def _draws(self, step: int, pair: str, i: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), one a token."""
        name = f"{self.seed}\0{step}\0{pair}\0{i}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).random(self.settings.max_new_tokens)


@contextmanager
def _plain(model: Any, *, adapters: bool) -> Iterator[None]:
    """The model without dropout and gradient checkpointing, with its adapters or without; as it was afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        if adapters:
            yield
        else:
            with model.disable_adapter():
                yield
    finally:
        for module in training:
            module.training = True
