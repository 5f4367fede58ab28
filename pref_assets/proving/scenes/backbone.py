"""The plan of a vision-language model small enough to be trained from nothing: configuration, processor, tokenizer,
which has a token for each word of the world."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pref_assets.models.tiny_vision import TEMPLATE
from pref_assets.pairs.messages import IMAGE
from pref_assets.proving.scenes.scene import SIDE
from pref_assets.proving.scenes.world import World

END, START = "<|im_end|>", "<|im_start|>"
WORDS = r" ?[\w-]+| ?[^\s\w]|\s"
"""A word with the space before it, a mark, or a white space; a word with a hyphen is one."""
PATCH = SIDE // 2
"""Side of a patch in pixels: an image token for each place of a scene."""
_LEARNED = 500


def write_plan(folder: Path, texts: Sequence[str] | None = None) -> Path:
    """Writes what ``untrained://`` draws a model from: everything but weights.

    A LLaVA of 295,000 weights: a vision tower of one block, width 96, a token for each quarter of a picture; a language
    model of three blocks, width 64. Weights of the language model are drawn wide (0.1), and pixels are scaled to a mean
    of zero (0.4, 0.4), without which some features of a picture are not learned within some hundred steps; both were
    found by trying.

    Args:
        folder: made where it is missing.
        texts: to learn the vocabulary from; the world's own by default.
    """
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaProcessor

    tokenizer = train_tokenizer(list(world_texts()) if texts is None else texts)
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=1,
        num_attention_heads=4,
        projection_dim=96,
        image_size=SIDE,
        patch_size=PATCH,
    )
    language = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision.to_dict(),
        text_config=language.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        tie_word_embeddings=True,
        vision_feature_layer=-1,
    )
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(
        size=size, crop_size=size, do_resize=True, resample=0, image_mean=[0.4] * 3, image_std=[0.4] * 3
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def world_texts(seed: int = 0) -> Iterator[str]:
    """Questions, answers and reasons of a world."""
    for item in World(seed=seed, prompts=_LEARNED).items():
        row = item.row()
        yield from (row["question"], *row["models_output"], *row["score_reasons"], *row["truth_reasons"])
        yield "user\nassistant\n"


def train_tokenizer(texts: Sequence[str]) -> Any:
    """A byte-level BPE of the texts, so that any other text has tokens too."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=2,
        special_tokens=[END, START, IMAGE],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[START, IMAGE],
        model_max_length=512,
    )
