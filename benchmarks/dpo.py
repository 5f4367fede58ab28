"""DPO beside TRL: the same model, pairs and objective in one run; losses step by step, then tokens a second.

python benchmarks/dpo.py [--size cpu|gpu] [--steps 8] [--threads 1] [--json out.json]

Rows: TRL's trainer as it comes; TRL with precomputed reference log-probabilities; a tuned plain loop (reference
precomputed, batches of similar length within a token budget, the head on completion tokens only); this project. Weights
and texts are random, since speed alone is measured. Every row is a process of its own, so that its memory is its own.
Tokens are those of both sides, prompts included, without padding; the first step is left out of the times. What a
reference costs is in the time of TRL as it comes; the others compute it once, before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROWS = ("trl", "trl_precomputed", "plain", "ours")
TITLES = {
    "trl": "TRL",
    "trl_precomputed": "TRL, precomputed reference",
    "plain": "plain loop, tuned",
    "ours": "pref_assets",
}
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bf16 operations a second, from the data sheets."""
TEMPLATE = (
    "{% for m in messages %}{{ '<user> ' if m['role'] == 'user' else '<assistant> ' }}{{ m['content'] }} <end> "
    "{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


@dataclass(frozen=True)
class Size:
    """A model and the pairs it trains on."""

    hidden: int
    layers: int
    inner: int
    heads: int
    key_heads: int
    vocabulary: int
    pairs: int
    prompt: tuple[float, float]
    answer: tuple[float, float]
    max_length: int
    batch_tokens: int
    learning_rate: float


SIZES = {
    "cpu": Size(256, 4, 704, 4, 4, 8192, 8, (3.9, 0.7), (4.2, 0.7), 256, 2048, 1e-5),
    "small": Size(64, 2, 128, 4, 4, 512, 4, (2.5, 0.5), (2.5, 0.5), 64, 512, 1e-5),
    # Qwen2.5-0.5B's shape.
    "gpu": Size(896, 24, 4864, 14, 2, 151_936, 32, (5.3, 0.7), (5.5, 0.7), 1024, 32_768, 1e-6),
}


@dataclass
class Clock:
    """Time at the end of every step: of the processor on a CPU, of the wall on a GPU."""

    device: str
    ticks: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def tick(self, loss: float | None = None) -> None:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        self.ticks.append(time.perf_counter() if self.device == "cuda" else time.process_time())
        if loss is not None:
            self.losses.append(loss)


def make_tokenizer(size: Size, folder: Path) -> Any:
    """A token a word, with a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<user>", "<assistant>", *(f"w{i}" for i in range(size.vocabulary - 4))]
    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    plain.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_model(size: Size, device: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=size.max_length,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(device).eval()


def make_pairs(size: Size, steps: int) -> list[dict[str, Any]]:
    """``steps`` times ``size.pairs`` pairs of random words, lengths log-normal."""
    rng = np.random.default_rng(0)
    longest = size.max_length // 2 - 8

    def words(mean: float, spread: float) -> str:
        n = int(np.clip(rng.lognormal(mean, spread), 4, longest))
        return " ".join(f"w{i}" for i in rng.integers(size.vocabulary - 4, size=n))

    return [
        {
            "prompt": [{"role": "user", "content": words(*size.prompt)}],
            "chosen": [{"role": "assistant", "content": words(*size.answer)}],
            "rejected": [{"role": "assistant", "content": words(*size.answer)}],
        }
        for _ in range(steps * size.pairs)
    ]


def run_trl(size: Size, steps: int, device: str, clock: Clock, *, precomputed: bool) -> None:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Ticks(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            if not clock.ticks:
                clock.tick()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **kwargs: Any) -> None:
            if "loss" in logs:
                clock.losses.append(logs["loss"])

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(size, Path(folder))
        config = DPOConfig(
            output_dir=folder,
            beta=0.1,
            max_length=size.max_length,
            per_device_train_batch_size=size.pairs,
            learning_rate=size.learning_rate,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            max_steps=steps,
            logging_steps=1,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            activation_checkpointing=False,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            precompute_ref_log_probs=precomputed,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        model = make_model(size, device)
        trainer = DPOTrainer(
            model=model,
            ref_model=None if precomputed else make_model(size, device),
            args=config,
            train_dataset=Dataset.from_list(make_pairs(size, steps)),
            processing_class=tokenizer,
            callbacks=[Ticks()],
        )
        torch.manual_seed(0)
        trainer.train()


def encoded(size: Size, steps: int) -> tuple[list[Any], list[Any]]:
    """Token sequences of the chosen and the rejected sides."""
    from pref_assets.training.data import encode

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(size, Path(folder))
        pairs = make_pairs(size, steps)
        chosen, rejected = (
            [encode(tokenizer, pair["prompt"], pair[side], size.max_length) for pair in pairs]
            for side in ("chosen", "rejected")
        )
    return chosen, rejected


def reference_of(model: Any, sides: list[Any], size: Size) -> Any:
    """Reference log-probabilities, (n,)."""
    import torch

    from pref_assets.training.logprobs import completion_logps

    logps, _ = completion_logps(model, sides, size.batch_tokens)
    return torch.tensor(logps, dtype=torch.float32, device=model.device)


def run_plain(size: Size, steps: int, device: str, clock: Clock) -> None:
    """What one would write by hand after reading a profile: no sharing of prompts, no kernel, no bookkeeping."""
    import torch
    from torch.nn.functional import cross_entropy, logsigmoid

    from pref_assets.training.data import buckets

    model = make_model(size, device)
    chosen, rejected = encoded(size, steps)
    refs = [reference_of(model, side, size) for side in (chosen, rejected)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.learning_rate, weight_decay=0.0, fused=True)

    def logps(batch: list[Any]) -> torch.Tensor:
        width = max(len(e.ids) for e in batch)
        ids, mask = torch.zeros(2, len(batch), width, dtype=torch.long)
        for row, e in enumerate(batch):
            ids[row, : len(e.ids)] = torch.tensor(e.ids)
            mask[row, e.n_prompt : len(e.ids)] = 1
        ids, mask = ids.to(device), mask.to(device).bool()
        # Padding on the right needs no attention mask under causal attention: nothing that counts sees it.
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        picked = mask[:, 1:]
        losses = cross_entropy(model.lm_head(states[picked]).float(), ids[:, 1:][picked], reduction="none")
        owners = torch.arange(len(batch), device=device).repeat_interleave(picked.sum(1))
        return torch.zeros(len(batch), device=device).index_add(0, owners, -losses)

    clock.tick()
    for step in range(steps):
        rows = list(range(step * size.pairs, (step + 1) * size.pairs))
        total = 0.0
        for part in buckets([max(len(chosen[r].ids), len(rejected[r].ids)) for r in rows], size.batch_tokens, rows=2):
            picked = [rows[i] for i in part]
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
                found = logps([chosen[r] for r in picked] + [rejected[r] for r in picked])
            good, poor = found.chunk(2)
            h = (good - refs[0][picked]) - (poor - refs[1][picked])
            loss = -logsigmoid(0.1 * h).sum() / size.pairs
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.tick(total)


def run_ours(size: Size, steps: int, device: str, clock: Clock) -> None:
    """The loop and the kernel of this project, as ``train_policy`` calls them."""
    import torch

    from pref_assets.training.loop import Loop
    from pref_assets.training.objectives import DPO
    from pref_assets.training.pair_batches import Batches
    from pref_assets.training.pair_data import PairData, PartData
    from pref_assets.training.policy import PolicyCheckpoint
    from pref_assets.training.state import WorkFolder

    model = make_model(size, device)
    chosen, rejected = encoded(size, steps)
    parts = {
        name: PartData(side, reference_of(model, side, size))
        for name, side in (("chosen", chosen), ("rejected", rejected))
    }
    n = len(chosen)
    ones, zeros = torch.ones(n, device=device), torch.zeros(n, device=device)
    data = PairData([f"p{i}" for i in range(n)], parts, ones, ones, zeros)
    batches = Batches(model, data, DPO(beta=0.1), size.batch_tokens)

    def micro_batches(*rows: Any) -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
            yield from batches(*rows)

    class Ticks:
        def log(self, message: str) -> None: ...

        def progress(self, done: int, total: int, unit: str) -> None: ...

        def metrics(self, step: int, values: Mapping[str, float]) -> None:
            clock.tick(values["loss"])

    settings = PolicyCheckpoint(
        subset="s",
        base="b",
        batch_pairs=size.pairs,
        batch_tokens=size.batch_tokens,
        learning_rate=size.learning_rate,
        schedule="constant",
        warmup=0.0,
        save_every=steps + 1,
    )
    plan = [list(range(step * size.pairs, (step + 1) * size.pairs)) for step in range(steps)]
    parameters = dict(model.named_parameters())
    with tempfile.TemporaryDirectory() as folder:
        clock.tick()
        Loop(parameters, micro_batches, data.ids, settings).fit(plan, WorkFolder(Path(folder)), Ticks())


def measure(row: str, name: str, steps: int, threads: int) -> dict[str, Any]:
    """Runs a row here."""
    import resource

    import torch

    torch.set_num_threads(threads)
    size, device = SIZES[name], "cuda" if name == "gpu" else "cpu"
    clock = Clock(device)
    runs: dict[str, Callable[[], None]] = {
        "trl": lambda: run_trl(size, steps, device, clock, precomputed=False),
        "trl_precomputed": lambda: run_trl(size, steps, device, clock, precomputed=True),
        "plain": lambda: run_plain(size, steps, device, clock),
        "ours": lambda: run_ours(size, steps, device, clock),
    }
    runs[row]()
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "losses": clock.losses,
        "seconds": np.diff(clock.ticks).tolist(),
        "peak_mib": peak / (2**20 if device == "cuda" else 2**10),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def tokens_of(size: Size, steps: int) -> list[int]:
    """Tokens of each step."""
    lengths = [len(c.ids) + len(r.ids) for c, r in zip(*encoded(size, steps), strict=True)]
    return [sum(lengths[i * size.pairs : (i + 1) * size.pairs]) for i in range(steps)]


def report(name: str, steps: int, found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table, Markdown."""
    size = SIZES[name]
    tokens = tokens_of(size, steps)
    timed = sum(tokens[1:])
    weights = sum(p.numel() for p in make_model(size, "cpu").parameters())
    device = found["ours"]["device"]
    peak = next((value for key, value in PEAKS.items() if key in device), None)
    unit = "tokens/s" if name == "gpu" else "tokens/CPU-s"
    lines = [
        f"{weights / 1e6:.1f}M weights, {size.pairs} pairs a step, {steps - 1} timed steps of some "
        f"{timed / (steps - 1):,.0f} tokens, {device}",
        "",
        f"| | s/step | {unit} | ours is faster by | peak MiB | model FLOP use | largest loss difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    ours = sum(found["ours"]["seconds"][1:])
    for row, each in found.items():
        seconds = sum(each["seconds"][1:])
        gap = max(abs(a - b) for a, b in zip(each["losses"], found["ours"]["losses"], strict=True))
        # Forward and backward of the policy: six operations a weight and token. A live reference is not counted.
        use = "–" if peak is None else f"{6 * weights * timed / seconds / peak:.1%}"
        lines.append(
            f"| {TITLES[row]} | {seconds / (steps - 1):.3f} | {timed / seconds:,.0f} | {seconds / ours:.2f} x | "
            f"{each['peak_mib']:,.0f} | {use} | {gap:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        print(json.dumps(measure(asked.row, asked.size, asked.steps, asked.threads)))
        return
    found = {}
    for row in asked.rows:
        command = [sys.executable, __file__, "--row", row, "--size", asked.size, "--steps", str(asked.steps)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [*command, "--threads", str(asked.threads)], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        found[row] = json.loads(done.stdout.splitlines()[-1])
        print(f"{TITLES[row]}: {sum(found[row]['seconds'][1:]):.1f} s", file=sys.stderr, flush=True)
    print(report(asked.size, asked.steps, found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
