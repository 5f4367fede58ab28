"""Embeddings of images: an answer is where the first image of its prompt is."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.features.base import Embedder
from pref_assets.features.embeddings import KIND, vector_rows
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.settings import PolicyName, digest
from pref_assets.training.job import Reporter

if TYPE_CHECKING:
    import torch
    from PIL import Image

Floats = NDArray[np.float32]
Tensors = dict[str, "torch.Tensor"]


class ImageEmbedder(Embedder):
    """Embeds the first image of a completion's prompt with CLIP (Radford et al., arXiv:2103.00020), SigLIP, another
    vision model, or the vision tower of a vision-language model, in fp32.

    MM-RLHF (arXiv:2502.10391, section 3.1) clusters prompts by CLIP vectors of their images, a video by its first
    frame; which CLIP, and whether vectors are scaled, it does not say. An image goes through the model once, however
    many prompts show it; answers to one prompt share a vector. A tower without CLIP's training tells plain shapes and
    colours apart; what it groups are not the topics that CLIP finds.
    """

    type: Literal["image"] = "image"
    model: ModelReference | None = None
    """A model with a vision tower: its folder, package or hub id."""
    checkpoint: PolicyName | None = None
    """In its place: the tower of a policy of this pipeline, which moved only under `freeze_vision: false`."""
    pooling: Literal["own", "mean", "cls"] = "own"
    """What becomes the vector. `own`: the model's own vector of an image, which for CLIP and SigLIP is that compared
    with texts, for a vision-language model the mean of the tokens its language model is shown. `mean`: of the tower's
    last hidden states. `cls`: the class token's, which CLIP and DINOv2 have and SigLIP has not."""
    normalize: bool = True
    """Scale vectors to unit length."""
    batch_images: int = Field(default=16, ge=1, le=4096)
    """Images that go through the model together. Does not change the vectors."""
    save_every: int = Field(default=256, ge=1)
    """Images between two appends to the store: what a kill can cost."""

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("say either `model` or `checkpoint`")
        return self

    def named(self) -> str:
        return self.model or f"policy {self.checkpoint}"

    def key(self, checkpoint: str | None = None) -> str:
        from pref_assets.training.checkpoint import read_manifest

        if self.model is not None:
            seen_by = identity(self.model)
        elif checkpoint is not None:
            seen_by = read_manifest(checkpoint).version
        else:
            raise ValueError(f"the vectors of policy {self.checkpoint!r} have a key once its folder is known")
        return digest(["image", seen_by, self.pooling, self.normalize])

    def items(self, completions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
        """Every completion with the first image of its prompt.

        Raises:
            ValueError: a completion's prompt has no image, or one that is not stored by content.
        """
        first = prompts.select("prompt_id", text=pl.col("images").list.first())
        found = completions.select("prompt_id", id="completion_id").join(first, on="prompt_id", how="left").sort("id")
        without = found.filter(pl.col("text").is_null())["id"]
        if len(without):
            raise ValueError(
                f"{len(without)} of {len(found)} compared completions answer a prompt without images, e.g. "
                f"{without.head(3).to_list()}; every pair must have a vector, so embed texts, or keep prompts without "
                "images in a pipeline of their own"
            )
        loose = found.filter(~pl.col("text").str.starts_with(MEDIA))["text"].unique().sort()
        if len(loose):
            raise ValueError(
                f"{len(loose)} images are known by name only, e.g. {loose.head(3).to_list()}; set the source's "
                "`image_folder`, so that they are stored by content"
            )
        return found.select("id", "text", vector_id="text")

    def write_missing(
        self, store: Store, key: str, todo: pl.DataFrame, report: Reporter, checkpoint: str | None = None
    ) -> None:
        from pref_assets.models.vision import open_image

        tower = self.tower(checkpoint)
        media = MediaStore(Home.default().media)
        for done in range(0, len(todo), self.save_every):
            uris = todo["id"].slice(done, self.save_every)
            vectors = self.embed((open_image(uri, media) for uri in uris), tower)
            unknown, whole = pl.Series([None] * len(uris), dtype=pl.Int64), pl.Series([False] * len(uris))
            store.append(KIND, key, vector_rows(uris, vectors, unknown, whole))
            report.progress(done + len(uris), len(todo), "images")

    def tower(self, checkpoint: str | None = None, device: str | None = None) -> "Tower":
        """The model that makes vectors, on ``device`` or the best there is; ``checkpoint`` is the policy's folder.

        Raises:
            ModelNotFoundError: the model is not there.
            ValueError: it reads no images.
        """
        if checkpoint is not None:
            from pref_assets.training.policy import load_policy

            model, reader = load_policy(checkpoint, device)
            return Tower(model, reader.processor.image_processor)
        from transformers import AutoImageProcessor, AutoModel

        from pref_assets.models.loading import local_path, pick_device

        folder = local_path(str(self.model))
        model = AutoModel.from_pretrained(folder).to(device or pick_device())
        return Tower(model, AutoImageProcessor.from_pretrained(folder, backend="pil"))

    def embed(self, images: "Iterator[Image.Image] | Sequence[Image.Image]", tower: "Tower") -> Floats:
        """Vectors (n, d) in the order of ``images``; a vector does not depend on its batch (to 1e-5).

        Raises:
            ValueError: the model has nothing that `pooling` asks for.
        """
        import torch

        found = []
        with torch.inference_mode():
            for batch in _batches(map(tower.prepared, images), self.batch_images):
                vectors = self._pooled(tower, batch).float()
                found.append(torch.nn.functional.normalize(vectors, dim=1) if self.normalize else vectors)
        return torch.cat(found).cpu().numpy()

    def _pooled(self, tower: "Tower", batch: list[Tensors]) -> "torch.Tensor":
        """One vector an image, (n, d)."""
        import torch

        seen = tower.reads(**{name: torch.cat([each[name] for each in batch]) for name in batch[0]})
        n = len(batch)
        if self.pooling == "own":
            own = seen.pooler_output
            if own is None:
                raise ValueError("the model has no vector of its own for an image; use `pooling: mean` or `cls`")
            if isinstance(own, torch.Tensor) and own.dim() == 2 and len(own) == n:
                return own
            tokens = own if isinstance(own, (list, tuple)) else own.reshape(n, -1, own.shape[-1])
            return torch.stack([each.reshape(-1, each.shape[-1]).mean(0) for each in tokens])
        # Towers that cut an image into tiles, or tell images apart by lengths, come one image at a time.
        hidden = seen.last_hidden_state.reshape(n, -1, seen.last_hidden_state.shape[-1])
        if self.pooling == "mean":
            return hidden.mean(1)
        tower.check_class_token(seen.last_hidden_state.shape[-2])
        return hidden[:, 0]


class Tower:
    """A model as a reader of images, with its image processor.

    Attributes:
        reads: from a batch of prepared images to the vision tower's output, ``pooler_output`` being the model's own.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        import torch

        from pref_assets.models.vision import sees

        self.reads: Callable[..., Any]
        if sees(model.config):
            self.reads, self._vision = model.get_image_features, model.config.vision_config
        elif model.main_input_name == "pixel_values":
            self.reads, self._vision = model, model.config
        else:
            raise ValueError(f"a {model.config.model_type} model reads no images; name one with a vision tower")
        self._model = model.to(torch.float32).eval()
        self._processor = processor

    def prepared(self, image: "Image.Image") -> Tensors:
        """One image as the tensors that the tower takes."""
        import torch

        found = self._processor(images=[image], return_tensors="pt")
        tensors = {name: each for name, each in found.items() if isinstance(each, torch.Tensor)}
        device = next(self._model.parameters()).device
        return {name: each.to(device) for name, each in tensors.items()}

    def check_class_token(self, tokens: int) -> None:
        """Raises ``ValueError`` when a tower's ``tokens`` are all patches."""
        size, patch = (getattr(self._vision, name, None) for name in ("image_size", "patch_size"))
        if not (isinstance(size, int) and isinstance(patch, int)) or tokens <= (size // patch) ** 2:
            raise ValueError(f"the tower's {tokens} tokens hold no class token that is known; use `pooling: mean`")


def _batches(prepared: Iterator[Tensors], most: int) -> Iterator[list[Tensors]]:
    """Images of equal shape that follow each other, at most ``most`` of them; one that is several tiles, or a list of
    patches, is alone."""
    batch: list[Tensors] = []
    for each in prepared:
        shape = {name: tensor.shape for name, tensor in each.items()}
        plain = all(tensor.dim() == 4 and len(tensor) == 1 for tensor in each.values())
        if batch and (len(batch) == most or not plain or shape != {n: t.shape for n, t in batch[0].items()}):
            yield batch
            batch = []
        batch.append(each)
        if not plain:
            yield batch
            batch = []
    if batch:
        yield batch
