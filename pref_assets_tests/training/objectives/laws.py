"""What is checked of several objectives: loss and gradient together, on plain numbers or on the tiny model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import torch

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import PairData, pair_data
from pref_assets.training.policy import Lora, adapted
from pref_assets.training.reference import ReferenceLogps


def token_side(tokens: Sequence[Sequence[float]], ids: Sequence[Sequence[int]], ref: Sequence[Sequence[float]]) -> Any:
    """Completions of given log-probabilities and ids of tokens, float64."""
    width = max(map(len, ids))

    def padded(rows: Sequence[Sequence[float]], filler: float) -> torch.Tensor:
        return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=torch.float64)

    values, refs = padded(tokens, 0), padded(ref, 0)
    counts = torch.tensor([float(len(row)) for row in ids], dtype=torch.float64)
    return Sequences(values.sum(1), refs.sum(1), counts, values, padded(ids, -1).long(), refs)


def token_pairs(chosen: Sequences, rejected: Sequences, columns: dict[str, list[float]] | None = None) -> Pairs:
    """Pairs of such completions with certain labels and no margin."""
    n = len(chosen.logp)
    ones = torch.ones(n, dtype=torch.float64)
    named = {name: torch.tensor(each, dtype=torch.float64) for name, each in (columns or {}).items()}
    return Pairs(chosen, rejected, ones, torch.zeros_like(ones), named)


def loss_and_gradient(objective: Objective, pairs: Pairs) -> tuple[PairLosses, torch.Tensor, torch.Tensor]:
    """The losses, and the gradient of their sum by the log-probabilities of tokens of both sides, (n, T)."""
    sides = []
    for side in (pairs.chosen, pairs.rejected):
        tokens = side.tokens.detach().clone().requires_grad_()
        sides.append(replace(side, tokens=tokens, logp=(tokens * side.mask).sum(1)))
    result = objective.losses(replace(pairs, chosen=sides[0], rejected=sides[1]))
    # Zero of everything, so that a loss that does not look at a side has a gradient of 0 by it.
    (result.loss.sum() + 0 * sum(side.tokens.sum() for side in sides)).backward()
    return replace(result, loss=result.loss.detach()), sides[0].tokens.grad, sides[1].tokens.grad


def assert_same(one: Objective, other: Objective, pairs: Pairs, others: Pairs | None = None) -> None:
    """Both objectives have the same loss and gradient on the pairs (the other one on ``others``, where given)."""
    first, second = loss_and_gradient(one, pairs), loss_and_gradient(other, pairs if others is None else others)
    torch.testing.assert_close(first[0].loss, second[0].loss, rtol=1e-12, atol=1e-12)
    for found, expected in zip(first[1:], second[1:], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def tiny_data(
    objective: Objective, tiny: str, rows: pl.DataFrame, logps: pl.DataFrame, reference: ReferenceLogps
) -> tuple[Any, PairData]:
    """A policy that differs from the reference, and the rows as it reads them."""
    torch.manual_seed(1)
    policy = adapted(load_causal_lm(tiny, "cpu"), Lora(r=4))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    parts = objective.parts(rows, 0)
    return policy, pair_data(rows, logps, load_tokenizer(tiny), reference.max_length, "cpu", objective, parts)


def steps_of(
    objective: Objective, policy: Any, data: PairData, batch_tokens: int, steps: int = 2
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Losses of each step by pair, and the gradients of their sum, over the same rows in micro-batches."""
    torch.manual_seed(0)
    head = objective.head(policy.config.hidden_size)
    batches = Batches(policy, data, objective, batch_tokens, head, objective.carried_start())
    n = len(data.ids)
    policy.zero_grad()
    losses = []
    for _ in range(steps):
        found = torch.zeros(n)
        for micro in batches(range(n)):
            micro.losses.sum().backward()
            found[micro.rows] = micro.losses.detach()
        losses.append(found)
    return losses, [p.grad.clone() for p in policy.parameters() if p.grad is not None]


def assert_batching_changes_nothing(
    objective: Objective, policy: Any, data: PairData, budgets: Sequence[int] = (64, 100_000)
) -> list[torch.Tensor]:
    """Losses and gradients are the same whatever the token budget; returns the losses of each step."""
    (small, small_gradient), (large, large_gradient) = (steps_of(objective, policy, data, each) for each in budgets)
    for one, other in zip(small, large, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(small_gradient, large_gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    return large


def with_columns(**columns: Callable[[int], float]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A change of training rows that gives row i these numbers."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        named = [[{"name": name, "value": float(of(i))} for name, of in columns.items()] for i in range(len(rows))]
        return rows.with_columns(columns=pl.Series(named, dtype=rows.schema["columns"]))

    return change


def of_sentences(rows: pl.DataFrame) -> pl.DataFrame:
    """Training rows whose answers have several sentences and words of their own, so that every view can be made."""
    chosen = [f"Sure thing. I count to {i + 2} now. It goes {'on ' * i}well. That was all." for i in range(len(rows))]
    said = pl.Series([[{"role": "assistant", "content": text}] for text in chosen], dtype=rows.schema["chosen"])
    return rows.with_columns(chosen=said)


def of_two_prompts(rows: pl.DataFrame) -> pl.DataFrame:
    """Training rows of which every second one has another prompt for its rejected side."""
    asked = [[{"role": "user", "content": f"Say sorry {i} times."}] if i % 2 else None for i in range(len(rows))]
    return rows.with_columns(rejected_prompt=pl.Series(asked, dtype=rows.schema["rejected_prompt"]))


def with_text(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A change of training rows that gives every row a text of that name, a different one."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        texts = [[{"name": name, "text": "It counts" + " well" * i + "."}] for i in range(len(rows))]
        return rows.with_columns(texts=pl.Series(texts, dtype=rows.schema["texts"]))

    return change
