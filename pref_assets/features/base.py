"""The joint of embedding: completions go in, what is embedded of each comes out, and the store keeps its vector."""

import polars as pl

from pref_assets.features.store import Store
from pref_assets.settings import Settings
from pref_assets.training.job import Reporter


class Embedder(Settings):
    """Makes vectors of completions. Subclasses set ``type`` and implement the methods below."""

    save_every: int
    """Items between two appends to the store."""

    def named(self) -> str:
        """What makes the vectors, for the asset's description."""
        raise NotImplementedError

    def key(self, checkpoint: str | None = None) -> str:
        """Store key: everything a vector depends on. Speed settings are left out.

        Args:
            checkpoint: folder of the policy that the entry names, where it names one.

        Raises:
            ModelNotFoundError: the model is not there.
        """
        raise NotImplementedError

    def items(self, completions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
        """What is embedded of each completion: frame (id, vector_id, text), ordered by ``id``, the completion;
        completions that share a ``vector_id`` share the vector of ``text``, which is a text or the uri of an image.

        Raises:
            ValueError: a completion has nothing to embed; says how many and names some.
        """
        raise NotImplementedError

    def write_missing(
        self, store: Store, key: str, todo: pl.DataFrame, report: Reporter, checkpoint: str | None = None
    ) -> None:
        """Embeds frame (id, text), ``id`` the vector's, and appends rows (id, vector, n_tokens, truncated) to the
        store, ``save_every`` at a time. Runs in the child; ``checkpoint`` as for ``key``."""
        raise NotImplementedError
