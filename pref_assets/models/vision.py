"""Models that see: a processor turns images into tensors and their places in a prompt into tokens, in any family."""

import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.messages import chat

if TYPE_CHECKING:
    import torch
    from PIL import Image

Conversation = Sequence[Mapping[str, str]]
CACHE_BYTES = 256 * 2**20
"""Tensors of images that are kept, so that an image is opened once an epoch at most where they fit."""
_IDS = ("input_ids", "attention_mask")
PROCESSOR_FILES = (
    "*processor_config.json",
    "chat_template.*",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""Files of a repository that say how text and images are read."""


class SightError(ValueError):
    """Images that cannot be shown to the model; the message says which and why."""


class Sight:
    """How a vision-language model reads: its processor, and where ``media://`` images are.

    It stands where a tokenizer stands for a model of text alone. A video is the images of its frames, so that no
    processor of videos is needed; images are prepared with Pillow, the same on every machine.
    """

    def __init__(self, processor: Any, media: MediaStore, folder: Path) -> None:
        """``folder`` is where the processor's files are."""
        self.processor = processor
        self._folder = folder
        self.tokenizer = processor.tokenizer
        self._media = media
        self._cache: OrderedDict[tuple[str, ...], dict[str, torch.Tensor]] = OrderedDict()
        self._cached = 0

    def render(self, messages: Conversation, *, ask: bool = False) -> str:
        """The conversation as text with a placeholder for each image; with ``ask`` up to where the assistant begins.

        Raises:
            SightError: a turn's text has the placeholder in it, which would count as an image.
        """
        turns, tools = chat(messages)
        plain = [{**turn, "content": self._parts(turn.get("content"))} for turn in turns]
        # The tokenizer's way of rendering: some processors' own way asks their processor of videos.
        return self.tokenizer.apply_chat_template(
            plain, tools, chat_template=self.processor.chat_template, tokenize=False, add_generation_prompt=ask
        )

    def prompt(self, text: str, uris: Sequence[str]) -> "tuple[list[int], Seen | None]":
        """Token ids of a rendered prompt, a placeholder taking as many as its image has, and the images.

        Raises:
            SightError: an image cannot be opened, or there are more or fewer of them than placeholders.
        """
        if not uris:
            return self.tokenizer(text, add_special_tokens=False)["input_ids"], None
        found = self._processed(text, uris)
        ids = found["input_ids"][0].tolist()
        apart = {name for name, each in found.items() if name not in _IDS and tuple(each.shape) == (1, len(ids))}
        self._keep(tuple(uris), {name: each for name, each in found.items() if name not in (*_IDS, *apart)})
        return ids, Seen(self, tuple(uris), text, {name: found[name][0].tolist() for name in sorted(apart)})

    def tensors(self, uris: tuple[str, ...], text: str) -> "dict[str, torch.Tensor]":
        """What the model takes of a prompt's images beside the tokens."""
        if uris in self._cache:
            self._cache.move_to_end(uris)
            return self._cache[uris]
        found = self._processed(text, uris)
        ids = found["input_ids"].shape
        kept = {name: each for name, each in found.items() if name not in _IDS and each.shape != ids}
        self._keep(uris, kept)
        return kept

    def open(self, uri: str) -> "Image.Image":
        """The image, in colour. Raises ``SightError``."""
        return open_image(uri, self._media)

    def save_pretrained(self, folder: Any) -> None:
        """Copies the processor's files as they came, its processor of videos among them."""
        for pattern in PROCESSOR_FILES:
            for path in self._folder.glob(pattern):
                shutil.copyfile(path, Path(folder) / path.name)

    def _parts(self, content: Any) -> list[dict[str, Any]]:
        """A content as parts, image parts without their places: what every template of these models takes."""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
        token = self.processor.image_token
        for part in parts:
            if part["type"] == "text" and token in part["text"]:
                raise SightError(f"a turn says {token!r}, which stands for an image in this model's prompts")
            if part["type"] not in ("text", "image"):
                raise SightError(f"a turn has a part of type {part['type']!r}; the model reads text and images")
        return [part if part["type"] == "text" else {"type": "image"} for part in parts]

    def _processed(self, text: str, uris: Sequence[str]) -> "dict[str, torch.Tensor]":
        places = text.count(self.processor.image_token)
        if places != len(uris):
            raise SightError(f"the rendered prompt has {places} places for {len(uris)} images")
        images = [self.open(uri) for uri in uris]
        return dict(
            self.processor(text=[text], images=[images], return_tensors="pt", text_kwargs={"add_special_tokens": False})
        )

    def _keep(self, uris: tuple[str, ...], tensors: "dict[str, torch.Tensor]") -> None:
        if uris in self._cache:
            return
        self._cache[uris] = tensors
        self._cached += _size(tensors)
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            self._cached -= _size(self._cache.popitem(last=False)[1])


def open_image(uri: str, media: MediaStore) -> "Image.Image":
    """The image behind a uri, in colour. Raises ``SightError`` when there is none that can be opened."""
    from PIL import Image

    if uri.startswith(("http://", "https://")):
        raise SightError(f"image {uri}: not on this machine; set the source's `image_folder` to store it")
    try:
        with Image.open(media.path(uri) if uri.startswith(MEDIA) else uri) as image:
            return image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SightError(f"image {uri} cannot be opened ({error})") from error


@dataclass(frozen=True)
class Seen:
    """The images of one prompt, opened when a batch needs them.

    Attributes:
        per_token: what the model takes for each token of the prompt beside its id (kinds of tokens), by name.
    """

    sight: Sight = field(repr=False, compare=False)
    uris: tuple[str, ...]
    text: str = field(repr=False)
    per_token: dict[str, list[int]] = field(repr=False, compare=False)

    def tensors(self) -> "dict[str, torch.Tensor]":
        return self.sight.tensors(self.uris, self.text)


def vision_inputs(
    rows: Sequence[Seen | None], width: int, model: Any, *, left: Sequence[int] | None = None
) -> "dict[str, torch.Tensor]":
    """What a model takes beside ids and mask for a batch of sequences, of which some have no images.

    Tensors of the rows follow each other along the first dimension, others padded with zeros to the largest, as
    processors do for a batch. Numbers of tokens begin with the row, or ``left[i]`` places later.

    Args:
        rows: the images of each sequence.
        width: tokens of the padded batch.
        model: gives device and dtype.
    """
    import torch

    if not any(rows):
        return {}
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    parts: dict[str, list[torch.Tensor]] = {}
    tokens: dict[str, torch.Tensor] = {}
    for row, seen in enumerate(rows):
        if seen is None:
            continue
        for name, tensor in seen.tensors().items():
            parts.setdefault(name, []).append(tensor)
        for name, values in seen.per_token.items():
            start = left[row] if left else 0
            kinds = tokens.setdefault(name, torch.zeros(len(rows), width, dtype=torch.long))
            kinds[row, start : start + len(values)] = torch.tensor(values)
    joined = {name: _joined(each) for name, each in parts.items()} | tokens
    return {name: (t.to(device, dtype) if t.is_floating_point() else t.to(device)) for name, t in joined.items()}


def _joined(tensors: "list[torch.Tensor]") -> "torch.Tensor":
    import torch

    shapes = [each.shape[1:] for each in tensors]
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    padded = []
    for each in tensors:
        # `pad` counts from the last dimension.
        missing = [n for size, most in zip(reversed(each.shape[1:]), reversed(largest), strict=True)
                   for n in (0, most - size)]  # fmt: skip
        padded.append(torch.nn.functional.pad(each, missing) if any(missing) else each)
    return torch.cat(padded)


def _size(tensors: "Mapping[str, torch.Tensor]") -> int:
    return sum(each.numel() * each.element_size() for each in tensors.values())


def load_sight(folder: str, media: MediaStore) -> Sight:
    """The processor of a vision-language model, without its processor of videos.

    Reads what repositories have had over the years: ``processor_config.json`` or ``preprocessor_config.json`` alone,
    the chat template beside them, in the tokenizer, or in a ``chat_template.json``.

    Raises:
        SightError: the folder has no processor that this version of transformers knows, or one that it cannot build;
            says why.
    """
    import transformers
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    name = PROCESSOR_MAPPING_NAMES.get(config.model_type)
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if kind is None:
        raise SightError(f"{folder}: transformers {transformers.__version__} has no processor for {config.model_type}")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        images = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        settings, _ = kind.get_processor_dict(folder)
        made = {"tokenizer": tokenizer, "image_processor": images}
        parts = [made.get(each) for each in kind.get_attributes()]
        processor = _without_videos(kind).from_args_and_dict(parts, settings)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise SightError(f"{folder}: {name} cannot be built: {error}") from error
    template = processor.chat_template or tokenizer.chat_template
    processor.chat_template = template["default"] if isinstance(template, dict) else template
    return Sight(processor, media, Path(folder))


def _without_videos(kind: Any) -> Any:
    """The class of processors, which may lack parts: one of videos cannot even be named without torchvision."""

    def check(self: Any, name: str, part: Any) -> Any:
        return None if part is None else kind.check_argument_for_proper_class(self, name, part)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def vision_tower(model: Any) -> Any:
    """The part of a vision-language model that reads images, or null for a model of text alone."""
    return model.get_encoder(modality="image") if sees(model.config) else None


def sees(config: Any) -> bool:
    """Whether a model's configuration has a part for images."""
    return getattr(config, "vision_config", None) is not None
