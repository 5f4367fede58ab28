"""The joint of reward heads: pairs of a pool go in, something that predicts margins comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.settings import EmbeddingsName, Settings

if TYPE_CHECKING:
    from pref_assets.heads.crossfit import CrossFitted

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray]
"""What a fitted head is, by name: everything that ``restore`` needs, in types that safetensors can hold."""


@dataclass(frozen=True)
class Predictions:
    """What a head says of n pairs, in their order. No value is NaN or infinite.

    Attributes:
        margin: (n,) how much better the chosen side is, on the scale of log-odds where the head has one.
        score_chosen, score_rejected: (n,) reward of each side; ``None`` where the head has no scalar reward.
        uncertainty: (n,) standard deviation of the margin as one head sees it; ``None`` where it does not say.
        details: further values, (n,) each, that selectors may rank by.
    """

    margin: Floats
    score_chosen: Floats | None = None
    score_rejected: Floats | None = None
    uncertainty: Floats | None = None
    details: Mapping[str, Floats] = field(default_factory=dict)


class Fitted(Protocol):
    """A head after fitting."""

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """What the head says of these pairs, of any split, in their order; a pair's values depend on it alone.

        Raises:
            ValueError: a completion has no finite vector, or vectors are of another width than the head's.
        """
        ...

    def arrays(self) -> Arrays:
        """What ``Head.restore`` makes the same head of."""
        ...


class CrossFit(Settings):
    """Heads that never saw the prompts they score, and several of them, so that their spread tells how sure they are.

    ``folds`` x ``members`` heads. [choice] Members differ by seed and, when there are several, by the prompts they see:
    a share drawn without replacement. Over halves, the spread estimates the standard error of a head on all of them,
    as over bootstraps (Politis & Romano, 1994, with the factor share / (1 - share) = 1).
    """

    folds: int = Field(default=5, ge=2, le=50)
    """Parts that the prompts are cut into."""
    members: int = Field(default=3, ge=1, le=100)
    """Heads a fold; one sees all prompts outside its fold, and has no spread but what it says itself."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the prompts outside the fold that each of several members sees."""


class Head(Settings):
    """A reward head on embeddings that are there already: fitted in seconds on a CPU.

    Subclasses set ``type`` and implement ``fit`` and ``restore``. Equal pairs give equal heads, in any row order.
    """

    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    cross_fit: CrossFit = CrossFit()
    """How many heads are fitted, each on which prompts."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of folds, members and initial weights."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """One head from these pairs, rows of ``PAIRS`` ordered by id; nothing else of the pool may teach it.

        ``pool.pairs`` are these pairs, but ``pool.completions`` and the rest are of all: ratings of completions that
        are in no pair of ``pairs`` are held out.

        Raises:
            ValueError: what is needed is not there; says what and of how many pairs.
        """
        raise NotImplementedError

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        raise NotImplementedError

    def fit_all(self, pool: Pool) -> "CrossFitted":
        """Heads cross-fitted on the ``train`` pairs, with their calibration.

        Raises:
            ValueError: train pairs of fewer than two prompts, or as ``fit``.
        """
        from pref_assets.heads.crossfit import cross_fit

        return cross_fit(self, pool)


def side_vectors(pool: Pool, embeddings: str, pairs: pl.DataFrame, width: int | None = None) -> tuple[Floats, Floats]:
    """Vectors of the chosen and of the rejected completions, each (n, d) float64.

    Raises:
        ValueError: a completion has no finite vector, or they are not of ``width``.
    """
    vectors = pool.embeddings[embeddings]
    if width is not None and vectors.matrix.shape[1] != width:
        raise ValueError(
            f"the head reads vectors of width {width}, embeddings {embeddings!r} are {vectors.matrix.shape[1]} wide"
        )
    both = vectors.rows(pairs["chosen_id"].to_list() + pairs["rejected_id"].to_list()).astype(np.float64)
    return both[: len(pairs)], both[len(pairs) :]


def prompt_of(pairs: pl.DataFrame) -> pl.Series:
    """The prompt of each pair; a pair across prompts stands for itself."""
    return pairs.select(pl.coalesce("prompt_id", "pair_id")).to_series()


def labels_of(pairs: pl.DataFrame) -> Floats:
    """p_chosen of each pair, (n,)."""
    labels: Floats = pairs["p_chosen"].to_numpy().astype(np.float64)
    return labels
