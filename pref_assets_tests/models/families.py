"""Small models of families that see: random weights, each family's own processor and places for images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER
from pref_assets.models.tiny_vision import tiny_llava

_HEAD = "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
_TAIL = "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def template(place: str) -> str:
    """A chat template that writes ``place`` for an image."""
    return f"{_HEAD}{{% if part.type == 'image' %}}{place}{{% else %}}{{{{ part.text }}}}{{% endif %}}{_TAIL}"


def tokenizer_with(tokens: list[str], **named: str) -> Any:
    """SmolLM2's, with special tokens of a family."""
    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.add_special_tokens({"additional_special_tokens": [*tokens, *named.values()], **named})
    return tokenizer


def text_settings(tokenizer: Any, **more: Any) -> dict[str, Any]:
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    return {
        **TEXT,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 2048,
        "initializer_range": 0.4,
        "tie_word_embeddings": True,
        **ids,
        **more,
    }


def saved(kind: type, config: Any, folder: Path, parts: list[Any], place: str, **settings: Any) -> Path:
    """The model and the files that say how it reads, laid out as older repositories on the hub are.

    Args:
        parts: image processor and tokenizer.
        place: what the chat template writes for an image.
        settings: of the processor.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
        # Gemma 3 begins with a projection of zeros, which would hide its images.
        for each in model.parameters():
            if each.dim() > 1 and not each.any():
                torch.nn.init.normal_(each, std=0.3)
    model.save_pretrained(folder)
    parts[1].chat_template = None
    for part in parts:
        part.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template(place)}))
    return folder


def llava_onevision(folder: Path) -> Path:
    """Every image in tiles of 16 pixels, and the tiles of one alone in the finest grid that fits."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    tokenizer = tokenizer_with(["<image>", "<video>"])
    grid = [[16, 16], [16, 32], [32, 16], [32, 32]]
    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "image_size": 16,
            "patch_size": 8,
            "vision_use_head": False,
        },
        text_config={"model_type": "qwen2", **text_settings(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        tie_word_embeddings=True,
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": 16, "width": 16}, image_grid_pinpoints=grid)
    settings = {"num_image_tokens": 4, "vision_feature_select_strategy": "full"}
    return saved(LlavaOnevisionForConditionalGeneration, config, folder, [images, tokenizer], "<image>", **settings)


def smolvlm(folder: Path) -> Path:
    """A large image as tiles of 16 pixels with the whole in front of its end; padded where a batch has fewer tiles."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil

    places = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = tokenizer_with(
        ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<video>", *places]
    )
    config = SmolVLMConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4},
        text_config={"model_type": "llama", **text_settings(tokenizer)},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = SmolVLMImageProcessorPil(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
    parts = [images, tokenizer]
    return saved(SmolVLMForConditionalGeneration, config, folder, parts, "<image>", image_seq_len=4)


_QWEN_PLACE = "<|vision_start|><|image_pad|><|vision_end|>"


def _qwen_images() -> Any:
    from transformers import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=1024)


def _qwen_tokenizer() -> tuple[Any, dict[str, int]]:
    tokens = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = tokenizer_with(tokens)
    ids = dict(zip(("vision_start", "vision_end", "image", "video"), tokens, strict=True))
    return tokenizer, {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in ids.items()}


_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def qwen2_5_vl(folder: Path) -> Path:
    """As many tokens as an image has squares of 8 pixels; positions in three dimensions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer, ids = _qwen_tokenizer()
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        vision_config={**vision, "patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]},
        text_config=text_settings(tokenizer, rope_parameters=_MROPE),
        tie_word_embeddings=True,
        **ids,
    )
    return saved(Qwen2_5_VLForConditionalGeneration, config, folder, [_qwen_images(), tokenizer], _QWEN_PLACE)


def gemma3(folder: Path) -> Path:
    """Tokens of an image look at each other in both directions; half of the layers look back 16 tokens only."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil

    tokenizer = load_tokenizer(TOKENIZER)
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = _named(tokenizer, named, folder)
    config = Gemma3Config(
        vision_config={**VISION, "image_size": 16, "patch_size": 4, "vision_use_head": False},
        text_config=text_settings(
            tokenizer, head_dim=16, layer_types=["sliding_attention", "full_attention"], sliding_window=16
        ),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        initializer_range=0.1,
    )
    images = Gemma3ImageProcessorPil(size={"height": 16, "width": 16})
    parts = [images, tokenizer]
    return saved(Gemma3ForConditionalGeneration, config, folder, parts, "<start_of_image>", image_seq_length=4)


def internvl(folder: Path) -> Path:
    """An image in up to four tiles of 16 pixels, 4 tokens each."""
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, InternVLForConditionalGeneration

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = _named(load_tokenizer(TOKENIZER), named, folder)
    config = InternVLConfig(
        vision_config={**VISION, "image_size": [16, 16], "patch_size": [4, 4], "layer_scale_init_value": 1.0},
        text_config={"model_type": "qwen2", **text_settings(tokenizer)},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    images = GotOcr2ImageProcessorPil(
        size={"height": 16, "width": 16}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    parts = [images, tokenizer]
    return saved(InternVLForConditionalGeneration, config, folder, parts, "<IMG_CONTEXT>", image_seq_length=4)


def _named(tokenizer: Any, tokens: dict[str, str], folder: Path) -> Any:
    """The tokenizer with special tokens that are its attributes, as a repository's tokenizer_config.json names them."""
    from transformers import AutoTokenizer

    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens.values())})
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, extra_special_tokens=tokens)


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "llava": tiny_llava,
    "llava_onevision": llava_onevision,
    "smolvlm": smolvlm,
    "qwen2_5_vl": qwen2_5_vl,
    "gemma3": gemma3,
    "internvl": internvl,
}
