"""A reward network whose representations of pairs are kept apart by a contrastive loss."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.heads.base import Arrays, Fitted, Head, labels_of, prompt_of, side_vectors
from pref_assets.heads.minimise import soft_logistic
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.heads.scalar import NetworkReward, restored
from pref_assets.pool import Pool, seeded_hash

if TYPE_CHECKING:
    import torch


class ContrastiveBt(Head):
    """Bradley-Terry with a contrastive loss on what sets the sides of a pair apart (Wang et al., arXiv:2401.06080,
    section 3.2): L = L_rm + beta L_cl.

    The loss looks at h = z(chosen) - z(rejected) twice, each time with other entries dropped. `simcse` (Gao et al.,
    arXiv:2104.08821): the two looks at a pair are alike, those at the other pairs of the batch are not. `swav` (Caron
    et al., arXiv:2006.09882): a look foretells to which of ``clusters`` directions the other belongs, pairs spread over
    them evenly by Sinkhorn's iterations. [choice] z is the output of a network on the embedding and the reward is its
    sum / sqrt(width); the paper fine-tunes a language model, whose last state is z. With ``beta`` 0 this is `bt` with a
    network whose last two layers are linear. Soft labels weigh L_rm.

    Needs embeddings. O(epochs n (d hidden + batch width)): some seconds for 10k pairs.
    """

    type: Literal["contrastive_bt"] = "contrastive_bt"
    contrast: Literal["simcse", "swav"] = "simcse"
    """Which contrastive loss."""
    beta: float = Field(default=0.1, ge=0, le=100)
    """Weight of the contrastive loss."""
    width: int = Field(default=64, ge=2, le=4096)
    """Width of z."""
    temperature: float = Field(default=0.05, gt=0)
    """Divides cosines; 0.05 in SimCSE, 0.1 in SwAV."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the entries of h that a look drops."""
    clusters: int = Field(default=16, ge=2, le=4096)
    """Directions of `swav`; random and fixed [choice]."""
    sinkhorn: float = Field(default=0.05, gt=0)
    """How soft the assignment of `swav` is."""
    network: Mlp = Mlp()
    """Layers before z, and how they are fitted; the others of a contrast are those of the same batch."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """Raises ``ValueError`` when there is no pair, or a completion has no finite vector."""
        import torch

        if pairs.is_empty():
            raise ValueError("contrastive_bt: no pair to learn from")
        features, n = np.concatenate(side_vectors(pool, self.embeddings, pairs)), len(pairs)
        label = torch.from_numpy(labels_of(pairs)).float()
        draws = torch.Generator().manual_seed(int(seeded_hash(["looks"], self.seed, "contrast")[0] >> 1))
        directions = torch.nn.functional.normalize(torch.randn(self.clusters, self.width, generator=draws), dim=1)

        def losses(forward: Forward, rows: "torch.Tensor") -> "torch.Tensor":
            chosen, rejected = forward(torch.cat([rows, rows + n])).chunk(2)
            apart = chosen - rejected
            found = soft_logistic(apart.sum(1) / self.width**0.5, label[rows])
            if self.beta == 0 or not torch.is_grad_enabled():
                # Held-out pairs say when to stop by the loss that the reward is for.
                return found
            one, other = (_look(apart, self.dropout, draws) for _ in range(2))
            if self.contrast == "simcse":
                return found + self.beta * info_nce(one, other, self.temperature)
            return found + self.beta * swapped_prediction(one, other, directions, self.temperature, self.sinkhorn)

        fitted = fit_network(features, self.width, losses, prompt_of(pairs), self.network, self.seed)
        network = _summed(fitted)
        return NetworkReward(self.embeddings, network.shifted(-network(features).mean(axis=0)))

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        return restored(self.embeddings, arrays)


def info_nce(one: "torch.Tensor", other: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """-log of the share of exp(cos / T) that a row's own other look has among all rows' looks, (n,), of (n, m) each."""
    import torch

    first, second = (torch.nn.functional.normalize(each, dim=1) for each in (one, other))
    cosines = first @ second.T / temperature
    return torch.nn.functional.cross_entropy(cosines, torch.arange(len(cosines)), reduction="none")


def swapped_prediction(
    one: "torch.Tensor", other: "torch.Tensor", directions: "torch.Tensor", temperature: float, softness: float
) -> "torch.Tensor":
    """Mean cross-entropy, (n,), with which each look foretells the other's cluster (SwAV, eq. 1 and 2)."""
    import torch

    scores = [torch.nn.functional.normalize(each, dim=1) @ directions.T for each in (one, other)]
    targets = [sinkhorn(each.detach(), softness) for each in scores]
    logs = [torch.log_softmax(each / temperature, dim=1) for each in scores]
    return -0.5 * ((targets[0] * logs[1]).sum(1) + (targets[1] * logs[0]).sum(1))


def sinkhorn(scores: "torch.Tensor", softness: float, rounds: int = 3) -> "torch.Tensor":
    """Assignments (n, K) from scores: rows sum to 1, columns to about n / K."""
    import torch

    logs = scores / softness
    for _ in range(rounds):
        logs = logs - torch.logsumexp(logs, dim=0, keepdim=True)
        logs = logs - torch.logsumexp(logs, dim=1, keepdim=True)
    return logs.exp()


def _look(apart: "torch.Tensor", dropout: float, draws: "torch.Generator") -> "torch.Tensor":
    import torch

    return apart * (torch.rand(apart.shape, generator=draws) >= dropout) / (1 - dropout)


def _summed(network: Network) -> Network:
    """The network with one output, the sum of the outputs / sqrt(how many)."""
    scale = 1 / np.sqrt(network.matrices[-1].shape[1])
    matrix, bias = (each.sum(axis=-1, keepdims=True) * scale for each in (network.matrices[-1], network.biases[-1]))
    return Network(network.mean, network.spread, (*network.matrices[:-1], matrix), (*network.biases[:-1], bias))
