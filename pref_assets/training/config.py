"""Settings that every trained checkpoint shares."""

from typing import Literal

from pydantic import Field

from pref_assets.settings import Settings, SubsetName
from pref_assets.training.early_stop import EarlyStop


class Training(Settings):
    """How a checkpoint is fitted: data order, optimiser, schedule, batching."""

    subset: SubsetName
    """The pairs to train on."""
    epochs: int = Field(default=1, ge=1, le=100)
    """Passes over the pairs (over each stage, when the subset has stages)."""
    batch_pairs: int = Field(default=8, ge=1, le=4096)
    """Pairs in an optimiser step."""
    batch_tokens: int = Field(default=2048, ge=64, le=1_000_000)
    """Tokens, padding included, that go through the model at once; a step accumulates over as many as it needs.
    About 2,000 are fastest on a CPU; a GPU likes more. An out-of-memory error says to lower it."""
    learning_rate: float = Field(gt=0, le=1)
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to zero after warm-up, or that it does not."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Of AdamW."""
    adam_epsilon: float = Field(default=1e-8, gt=0, le=0.1)
    """Of AdamW: what is added to the root of the mean square by which a gradient is divided."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Order of the pairs, initial weights of what is new, dropout."""
    save_every: int = Field(default=10, ge=1)
    """Steps between two saves of the resumable state; a killed run loses at most this many."""
    early_stop: EarlyStop | None = None
    """When to stop before all epochs are done, by the loss on held-out prompts; never, unless given."""
    max_loss: float | None = Field(default=None, gt=0)
    """A step whose mean loss is above this ends the run as diverged, before its update is made."""
