"""What is computed of texts, once: embeddings, and the store that keeps them."""

from pref_assets.features.embeddings import SentenceTransformerEmbedder
from pref_assets.features.store import MissingRowsError, Store

EmbedderConfig = SentenceTransformerEmbedder

__all__ = ["EmbedderConfig", "MissingRowsError", "SentenceTransformerEmbedder", "Store"]
