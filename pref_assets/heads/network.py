"""Small networks on embeddings: fitted on the CPU with Adam and early stopping, the same for equal inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.heads.base import Floats
from pref_assets.pool import seeded_hash, seeded_uniform
from pref_assets.settings import Settings

if TYPE_CHECKING:
    import torch

Forward = Callable[["torch.Tensor"], "torch.Tensor"]
"""Rows of standardised features (n, d) to outputs (n, outputs)."""


class Mlp(Settings):
    """Layers of rectified units, fitted with Adam on batches until prompts that are held out are no longer helped.

    Rate and patience are those of Sun et al. (arXiv:2411.04991); their layers are (1024, 512) and their batches 10,240,
    for at most 30 passes.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (128,)
    """Units of each hidden layer; without one the outputs are linear."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Of Adam."""
    weight_decay: float = Field(default=1e-3, ge=0, le=1)
    """Decoupled, as in AdamW."""
    batch: int = Field(default=64, ge=1)
    """Examples in a step."""
    epochs: int = Field(default=50, ge=1, le=10_000)
    """Most passes over the examples."""
    patience: int = Field(default=3, ge=1)
    """Passes without a better loss on the held-out prompts after which fitting stops."""
    held_out: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the prompts that decide when to stop; with 0 all passes are made and the last weights kept."""


@dataclass(frozen=True)
class Network:
    """A fitted network: standardisation and layers, ``matrices[i]`` (in, out), ``biases[i]`` (out,)."""

    mean: Floats
    spread: Floats
    matrices: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def __call__(self, features: Floats) -> Floats:
        """Outputs (n, outputs) float64 of features (n, d). Raises ``ValueError`` for another width."""
        if features.shape[1] != len(self.mean):
            raise ValueError(f"the head reads vectors of width {len(self.mean)}, not {features.shape[1]}")
        states = (features - self.mean) / self.spread
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            states = states @ matrix + bias
            if layer + 1 < len(self.matrices):
                states = np.maximum(states, 0)
        return states

    def shifted(self, by: Floats) -> "Network":
        """The same with ``by`` (outputs,) added to the outputs."""
        return Network(self.mean, self.spread, self.matrices, (*self.biases[:-1], self.biases[-1] + by))

    def arrays(self) -> dict[str, NDArray]:
        layers = {f"matrix_{i}": each for i, each in enumerate(self.matrices)}
        return {
            "mean": self.mean,
            "spread": self.spread,
            **layers,
            **{f"bias_{i}": b for i, b in enumerate(self.biases)},
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray]) -> "Network":
        """What ``arrays`` gave."""
        layers = range(sum(name.startswith("matrix_") for name in arrays))
        matrices, biases = (tuple(arrays[f"{kind}_{i}"] for i in layers) for kind in ("matrix", "bias"))
        return cls(arrays["mean"], arrays["spread"], matrices, biases)


def fit_network(
    features: Floats,
    outputs: int,
    losses: "Callable[[Forward, torch.Tensor], torch.Tensor]",
    groups: pl.Series,
    settings: Mlp,
    seed: int,
    start: Network | None = None,
) -> Network:
    """The network whose mean loss over the examples of held-out groups was smallest.

    Args:
        features: (m, d), standardised here by their mean and standard deviation (or by those of ``start``).
        outputs: width of the last layer.
        losses: differentiable losses (n,) of examples ``rows`` (n,); the first argument maps feature numbers (any
            int64 tensor of shape (k,)) to outputs (k, outputs) in float32.
        groups: (n,) the group, as a rule the prompt, of each example; groups are held out whole.
        start: weights to begin with.

    Raises:
        FloatingPointError: a loss is NaN or infinite.
    """
    import torch

    mean, spread = (features.mean(axis=0), features.std(axis=0)) if start is None else (start.mean, start.spread)
    spread = np.where(spread > 0, spread, 1.0)
    inputs = torch.from_numpy(((features - mean) / spread).astype(np.float32))
    parameters = _initial(features.shape[1], outputs, settings, seed) if start is None else _of(start)

    def forward(rows: "torch.Tensor") -> "torch.Tensor":
        states = inputs[rows]
        for layer in range(0, len(parameters), 2):
            states = states @ parameters[layer] + parameters[layer + 1]
            states = states.relu() if layer + 2 < len(parameters) else states
        return states

    held = torch.from_numpy(seeded_uniform(groups, seed, "held out") < settings.held_out)
    teaching, watching = torch.nonzero(~held)[:, 0], torch.nonzero(held)[:, 0]
    if len(teaching) == 0:
        teaching, watching = watching, teaching
    best, kept, worse = float("inf"), [p.detach().clone() for p in parameters], 0
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    draws = torch.Generator().manual_seed(int(seeded_hash(["order"], seed, "network")[0] >> 1))
    for _ in range(settings.epochs):
        for batch in teaching[torch.randperm(len(teaching), generator=draws)].split(settings.batch):
            optimizer.zero_grad(set_to_none=True)
            value = losses(forward, batch).mean()
            if not bool(torch.isfinite(value)):
                raise FloatingPointError(f"the loss of a network head is {float(value)}; lower its learning_rate")
            value.backward()
            optimizer.step()
        if len(watching) == 0:
            continue
        with torch.no_grad():
            value_now = float(losses(forward, watching).double().mean())
        worse = 0 if value_now < best else worse + 1
        if value_now < best:
            best, kept = value_now, [p.detach().clone() for p in parameters]
        if worse >= settings.patience:
            break
    final = kept if len(watching) else [p.detach() for p in parameters]
    arrays = [each.numpy().astype(np.float64) for each in final]
    return Network(mean, spread, tuple(arrays[0::2]), tuple(arrays[1::2]))


def _initial(width: int, outputs: int, settings: Mlp, seed: int) -> "list[torch.Tensor]":
    """Matrices and biases in turn; He's initial weights for hidden layers, a tenth of that for the last."""
    import torch

    draws = torch.Generator().manual_seed(int(seeded_hash(["weights"], seed, "network")[0] >> 1))
    parameters, sizes = [], [width, *settings.hidden, outputs]
    for layer, (before, after) in enumerate(pairwise(sizes)):
        scale = (2 / before) ** 0.5 * (0.1 if layer == len(sizes) - 2 else 1.0)
        parameters.append((torch.randn(before, after, generator=draws) * scale).requires_grad_(True))
        parameters.append(torch.zeros(after, requires_grad=True))
    return parameters


def _of(network: Network) -> "list[torch.Tensor]":
    import torch

    layers = [each for pair in zip(network.matrices, network.biases, strict=True) for each in pair]
    return [torch.from_numpy(each.astype(np.float32)).requires_grad_(True) for each in layers]
