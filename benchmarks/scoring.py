"""Log-probabilities of the answers of pairs, batched in six ways: CPU seconds, ratio, and whether the numbers agree.

python benchmarks/scoring.py [--pairs 96] [--rounds 2]

Every way runs the same model on the same tokens and takes logits at answer positions only, so what differs is padding,
the size of batches, and whether the two answers of a prompt share its computation.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pref_assets.training.data import Encoded, buckets
from pref_assets.training.logprobs import completion_logps, sequence_logps

MAX_LENGTH, BATCH, BATCH_TOKENS, VOCABULARY = 512, 16, 2048, 8192


def pairs_of_tokens(pairs: int, seed: int) -> list[Encoded]:
    """Two answers each to prompts of random tokens; some 170 tokens in the mean, with a long tail up to the limit."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(pairs):
        n_prompt = int(np.clip(rng.lognormal(4.0, 0.9), 8, MAX_LENGTH - 64))
        prompt = rng.integers(VOCABULARY, size=n_prompt)
        for _ in range(2):
            n = int(np.clip(rng.lognormal(4.2, 0.7), 4, MAX_LENGTH - n_prompt))
            found.append(Encoded((*prompt, *rng.integers(VOCABULARY, size=n)), n_prompt, truncated=False))
    return found


def padded(model: Any, batch: Sequence[Encoded], width: int) -> np.ndarray:
    """The plain way: one row a sequence, padded on the right to ``width``."""
    ids, mask = torch.zeros(2, len(batch), width, dtype=torch.long)
    answer = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, e in enumerate(batch):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        mask[row, : len(e.ids)] = 1
        answer[row, e.n_prompt : len(e.ids)] = True
    with torch.inference_mode():
        states = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
        logits = model.lm_head(states[answer[:, 1:]])
        logps = -torch.nn.functional.cross_entropy(logits, ids[answer], reduction="none")
    owners = torch.arange(len(batch)).repeat_interleave(answer.sum(1))
    return torch.zeros(len(batch)).index_add(0, owners, logps).double().numpy()


def in_batches(items: Sequence[Encoded], batches: Sequence[Sequence[int]], run: Callable[..., Any]) -> np.ndarray:
    found = np.zeros(len(items))
    for batch in batches:
        found[list(batch)] = run([items[i] for i in batch])
    return found


def ways(model: Any, items: Sequence[Encoded]) -> dict[str, Callable[[], np.ndarray]]:
    lengths = [len(e.ids) for e in items]
    rows = range(len(items))
    sliced = [rows[start : start + BATCH] for start in range(0, len(items), BATCH)]
    by_length = sorted(rows, key=lambda i: -lengths[i])
    ordered = [by_length[start : start + BATCH] for start in range(0, len(items), BATCH)]

    def longest(batch: Sequence[Encoded]) -> np.ndarray:
        return padded(model, batch, max(len(e.ids) for e in batch))

    def alone(batch: Sequence[Encoded]) -> np.ndarray:
        with torch.inference_mode():
            return sequence_logps(model, batch).double().numpy()

    return {
        f"padded to {MAX_LENGTH}, batches of {BATCH}": lambda: in_batches(
            items, sliced, lambda batch: padded(model, batch, MAX_LENGTH)
        ),
        f"padded to the longest, batches of {BATCH}": lambda: in_batches(items, sliced, longest),
        f"the same, sorted by length, batches of {BATCH}": lambda: in_batches(items, ordered, longest),
        "one by one": lambda: in_batches(items, [[i] for i in rows], longest),
        f"sorted, {BATCH_TOKENS} tokens a batch": lambda: in_batches(items, buckets(lengths, BATCH_TOKENS), alone),
        "the same, prompts shared (what scorers use)": lambda: completion_logps(model, items, BATCH_TOKENS)[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).eval()
    items = pairs_of_tokens(options.pairs, seed=0)
    lengths = np.array([len(e.ids) for e in items])
    seconds: dict[str, float] = {}
    found: dict[str, np.ndarray] = {}
    for _ in range(options.rounds):
        for name, work in ways(model, items).items():
            start = time.process_time()
            found[name] = work()
            seconds[name] = min(seconds.get(name, np.inf), time.process_time() - start)

    first = next(iter(found))
    worst = max(float(np.max(np.abs(values - found[first]) / np.abs(found[first]))) for values in found.values())
    assert worst < 1e-5, f"the ways disagree by {worst:.1e}"
    print(f"{options.pairs} pairs, {lengths.mean():.0f} tokens in the mean, {lengths.max()} at most; one thread, fp32")
    print(f"{'what':48} {'CPU s':>7} {'pairs/s':>8} {'faster':>7}")
    for name, spent in seconds.items():
        print(f"{name:48} {spent:7.2f} {options.pairs / spent:8.1f} {seconds[first] / spent:6.1f}x")
    print(f"largest relative difference of a log-probability: {worst:.1e}")


if __name__ == "__main__":
    main()
