"""Tiny random CLIP, SigLIP and LLaVA of the real classes, and images that they tell apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pref_assets.features import ImageEmbedder, Store
from pref_assets.features.embeddings import KIND, embed, embedding_rows, load_vectors
from pref_assets.home import Home
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.schema import COMPLETIONS, PROMPTS
from pref_assets.training.job import Job
from pref_assets.training.worker import Silent

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZE = {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
    )

    root = tmp_path_factory.mktemp("models")
    parts: dict[str, Any] = {
        "text_config": {**TOWER, "vocab_size": 50, "projection_dim": 8},
        "vision_config": {**TOWER, "image_size": 16, "patch_size": 8, "projection_dim": 8},
    }
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(**parts, projection_dim=8)).save_pretrained(root / "clip")
    CLIPImageProcessorPil(size=SIZE, crop_size=SIZE).save_pretrained(root / "clip")
    SiglipModel(SiglipConfig(**parts)).save_pretrained(root / "siglip")
    SiglipImageProcessorPil(size=SIZE).save_pretrained(root / "siglip")
    tiny_llava(root / "llava")
    return {each: str(root / each) for each in ("clip", "siglip", "llava")}


def pictures(n: int = 5) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (20 + i, 17, 3), dtype=np.uint8)) for i in range(n)]


@pytest.mark.parametrize(
    ("name", "pooling", "width"),
    [
        ("clip", "own", 8),
        ("clip", "mean", 32),
        ("clip", "cls", 32),
        ("siglip", "own", 32),
        ("siglip", "mean", 32),
        ("llava", "own", 32),
        ("llava", "mean", 32),
        ("llava", "cls", 32),
    ],
)
def test_vectors_do_not_depend_on_batch_or_order(folders: dict[str, str], name: str, pooling: Any, width: int) -> None:
    embedder = ImageEmbedder(model=folders[name], pooling=pooling, batch_images=2)
    tower, images = embedder.tower(device="cpu"), pictures()
    vectors = embedder.embed(images, tower)
    assert vectors.shape == (5, width)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    alone = ImageEmbedder(model=folders[name], pooling=pooling, batch_images=1)
    np.testing.assert_allclose(alone.embed(images[::-1], tower)[::-1], vectors, atol=1e-5)


def test_they_are_what_the_library_gives(folders: dict[str, str]) -> None:
    import torch
    from transformers import AutoImageProcessor, CLIPModel, LlavaForConditionalGeneration

    images = pictures(3)
    for name, family in (("clip", CLIPModel), ("llava", LlavaForConditionalGeneration)):
        model = family.from_pretrained(folders[name]).eval()
        pixels = AutoImageProcessor.from_pretrained(folders[name], backend="pil")(images=images, return_tensors="pt")
        with torch.inference_mode():
            if name == "clip":
                found = model.vision_model(**pixels)
                expected = {
                    "own": model.visual_projection(found.pooler_output),
                    "mean": found.last_hidden_state.mean(1),
                    "cls": found.last_hidden_state[:, 0],
                }
            else:
                found = model.model.vision_tower(**pixels, output_hidden_states=True)
                shown = model.model.multi_modal_projector(found.hidden_states[-2][:, 1:])
                expected = {"own": shown.mean(1), "mean": found.last_hidden_state.mean(1)}
        for pooling, vectors in expected.items():
            embedder = ImageEmbedder(model=folders[name], pooling=pooling, normalize=False)
            np.testing.assert_allclose(
                embedder.embed(images, embedder.tower(device="cpu")), vectors.numpy(), atol=1e-5, err_msg=pooling
            )


def test_what_a_model_cannot_give_is_an_error(folders: dict[str, str], tmp_path: Path) -> None:
    from pref_assets.models.tiny import tiny_llama

    embedder = ImageEmbedder(model=folders["siglip"], pooling="cls")
    with pytest.raises(ValueError, match="no class token that is known; use `pooling: mean`"):
        embedder.embed(pictures(1), embedder.tower(device="cpu"))
    tiny_llama(tmp_path / "llama")
    (tmp_path / "llama" / "preprocessor_config.json").write_bytes(
        (Path(folders["clip"]) / "preprocessor_config.json").read_bytes()
    )
    with pytest.raises(ValueError, match="a llama model reads no images"):
        ImageEmbedder(model=str(tmp_path / "llama")).tower(device="cpu")


def test_one_model_and_the_key_of_what_changes_vectors(folders: dict[str, str]) -> None:
    for wrong in ({}, {"model": "org/clip", "checkpoint": "dpo"}):
        with pytest.raises(ValueError, match="say either `model` or `checkpoint`"):
            ImageEmbedder(**wrong)
    base = ImageEmbedder(model=folders["clip"])
    assert ImageEmbedder(model=folders["clip"], batch_images=1, save_every=1).key() == base.key()
    others: Sequence[dict[str, Any]] = ({"pooling": "mean"}, {"normalize": False}, {"model": folders["llava"]})
    assert len({ImageEmbedder(**{"model": folders["clip"], **each}).key() for each in others} | {base.key()}) == 4


def prompts_of(images: Sequence[Sequence[str] | None]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prompt i shows ``images[i]`` and has answers i.0 and i.1."""
    turn = [{"role": "user", "content": "What is it?"}]
    prompts = PROMPTS.frame({"prompt_id": str(i), "messages": turn, "images": each} for i, each in enumerate(images))
    completions = COMPLETIONS.frame(
        {"completion_id": f"{i}.{j}", "prompt_id": str(i)} for i in range(len(images)) for j in (1, 0)
    )
    return completions, prompts


def test_an_image_is_embedded_once_for_all_answers_that_see_it(folders: dict[str, str], tmp_path: Path) -> None:
    home = Home(tmp_path)
    uris = [MediaStore(home.media).put(_png(each)) for each in pictures(3)]
    # A video is its first frame; the first and the last prompt show the same.
    completions, prompts = prompts_of([[uris[0], uris[1]], [uris[2]], [uris[0]]])
    embedder = ImageEmbedder(model=folders["clip"], save_every=1)
    items = embedder.items(completions, prompts)
    first = {0: uris[0], 1: uris[2], 2: uris[0]}
    assert items.rows() == [(f"{i}.{j}", uri, uri) for i, uri in first.items() for j in (0, 1)]
    path = tmp_path / "texts.parquet"
    items.select("text", id="vector_id").unique().write_parquet(path)
    job = Job(task="embed", home=str(tmp_path), config=embedder.model_dump(mode="json"), inputs={"texts": str(path)})
    with home.current():
        assert embed(job, Silent())["embedded"] == 2
        assert embed(job, Silent())["reused"] == 2
    store = Store(home.store)
    table = embedding_rows(store, embedder.key(), items)
    assert table["id"].to_list() == ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
    assert table["n_tokens"].null_count() == 6
    vectors = load_vectors(store, table.reverse())
    direct = embedder.embed([pictures(3)[0], pictures(3)[2]], embedder.tower(device="cpu"))
    for id_, place in (("0.1", 0), ("2.0", 0), ("1.0", 1)):
        np.testing.assert_allclose(vectors.rows([id_])[0], direct[place], atol=1e-5)
    with pytest.raises(ValueError, match="those of images have none"):
        vectors.tokens(["0.0"])
    assert len(store.read(KIND, embedder.key())) == 2


def test_answers_without_a_stored_image_are_an_error() -> None:
    embedder = ImageEmbedder(model="org/clip")
    completions, prompts = prompts_of([["media://x"], None, []])
    with pytest.raises(
        ValueError, match=r"4 of 6 compared completions answer a prompt without images, e\.g\. \['1\.0'"
    ):
        embedder.items(completions, prompts)
    with pytest.raises(ValueError, match=r"1 images are known by name only, e\.g\. \['dog\.png'\]; set the source's"):
        embedder.items(*prompts_of([["dog.png"]]))


def _png(image: Image.Image) -> bytes:
    import io

    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
