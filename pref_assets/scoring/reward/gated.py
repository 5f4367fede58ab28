"""ArmoRM's mixture of attributes: a regression layer reads the end, a gate reads the prompt, and weighs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.training.errors import TrainingDataError

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "LlamaForRewardModelWithGating"
_HEAD = ("regression_layer.weight", "reward_transform_matrix", "gating.logit_scale")


def is_gated(config: Any) -> bool:
    """Whether a model's configuration is that of the ArmoRM family."""
    return ARCHITECTURE in (config.architectures or ())


class GatedModel:
    """A decoder with a mixture of reward attributes (Wang et al., "Interpretable Preferences via Multi-Objective
    Reward Modeling and Mixture-of-Experts", arXiv 2406.12845), built from the published weights.

    r = W h_end, one reward an attribute; g = s softmax(MLP(h_prompt) / T), a weight an attribute; the reward is
    g . (r M), with M the published transformation that takes the influence of length out. h_end is the last token's
    state, h_prompt that of the last token before the answer.
    """

    def __init__(self, decoder: Any, head: "dict[str, torch.Tensor]", temperature: float) -> None:
        self.decoder = decoder
        self.config = decoder.config
        self._head = head
        self._temperature = temperature

    def __call__(
        self, input_ids: "torch.Tensor", attention_mask: "torch.Tensor", prompt_ends: list[int]
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Rewards of attributes (rows, attributes) and the reward (rows,), float32, of rows padded on the right.

        Raises:
            TrainingDataError: the end of a prompt is not among a row's tokens.
        """
        import torch

        if cut := sum(end < 0 for end in prompt_ends):
            raise TrainingDataError(
                f"{cut} conversations do not show where their prompt ends, which the gate has to read: the answer "
                "fills max_length, or the chat template renders the prompt another way with an answer after it"
            )
        states = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        rows = torch.arange(len(states), device=states.device)
        last = attention_mask.sum(1) - 1
        rewards = states[rows, last].float() @ self._head["regression_layer.weight"].T
        asked = states[rows, torch.tensor(prompt_ends, device=states.device)].float()
        weights = self.gate(asked)
        return rewards, (weights * (rewards @ self._head["reward_transform_matrix"])).sum(-1)

    def gate(self, states: "torch.Tensor") -> "torch.Tensor":
        """Weight of each attribute, (rows, attributes), from states (rows, width)."""
        import torch

        layers = sorted({int(name.split(".")[2]) for name in self._head if name.startswith("gating.layers.")})
        for place, layer in enumerate(layers):
            states = torch.nn.functional.linear(
                states, self._head[f"gating.layers.{layer}.weight"], self._head.get(f"gating.layers.{layer}.bias")
            )
            if place + 1 < len(layers):
                states = states.relu()
        return (states / self._temperature).softmax(-1) * self._head["gating.logit_scale"]

    def parameters(self) -> Any:
        return self.decoder.parameters()

    def to(self, device: str) -> "GatedModel":
        head = {name: tensor.to(device) for name, tensor in self._head.items()}
        return GatedModel(self.decoder.to(device), head, self._temperature)

    def eval(self) -> "GatedModel":
        self.decoder.eval()
        return self


def load_gated(folder: Path, config: Any, dtype: "torch.dtype") -> GatedModel:
    """The model in ``folder``; its small head always computes in float32.

    Raises:
        ValueError: weights of the decoder or of the head are missing.
    """
    from safetensors import safe_open
    from transformers import AutoModel

    from pref_assets.scoring.reward.classifiers import refuse_random

    decoder, told = AutoModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, trust_remote_code=False)
    refuse_random(str(folder), told["missing_keys"])
    head: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            head |= {
                name: tensors.get_tensor(name).float()
                for name in tensors.keys()  # noqa: SIM118 (no mapping)
                if name in _HEAD or name.startswith("gating.layers.")
            }
    refuse_random(str(folder), {*_HEAD, "gating.layers.0.weight"} - set(head))
    return GatedModel(decoder, head, float(config.gating_temperature))
