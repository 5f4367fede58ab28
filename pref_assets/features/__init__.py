"""What is computed of texts and images, once: embeddings, and the store that keeps them."""

from typing import Annotated

from pydantic import Field

from pref_assets.features.base import Embedder
from pref_assets.features.embeddings import SentenceTransformerEmbedder
from pref_assets.features.images import ImageEmbedder
from pref_assets.features.store import MissingRowsError, Store

EmbedderConfig = Annotated[SentenceTransformerEmbedder | ImageEmbedder, Field(discriminator="type")]

__all__ = ["Embedder", "EmbedderConfig", "ImageEmbedder", "MissingRowsError", "SentenceTransformerEmbedder", "Store"]
