"""Pairs as a policy sees them: checked once before the run, then in micro-batches of similar length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.training.data import Encoded, buckets, encode
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.logprobs import completion_logps, row_length, sequence_logps, shares_prompts
from pref_assets.training.loop import MicroBatch
from pref_assets.training.objectives import DPO, PairTensors

if TYPE_CHECKING:
    import torch

REFERENCE_TOLERANCE = 0.05
"""Nats a token by which an untrained policy may differ from the reference: bfloat16 noise, not another model."""


@dataclass(frozen=True)
class PairData:
    """n pairs, in the order of the training rows; tensors have shape (n,)."""

    ids: list[str]
    chosen: list[Encoded]
    rejected: list[Encoded]
    ref_chosen: "torch.Tensor"
    ref_rejected: "torch.Tensor"
    p_chosen: "torch.Tensor"
    weight: "torch.Tensor"
    margin: "torch.Tensor"

    def same_prompt(self, row: int) -> bool:
        """Whether both sides of a pair follow the same prompt tokens."""
        chosen, rejected = self.chosen[row], self.rejected[row]
        return chosen.ids[: chosen.n_prompt] == rejected.ids[: rejected.n_prompt]

    @property
    def truncated(self) -> int:
        """Completions that lost tokens."""
        return sum(e.truncated for e in (*self.chosen, *self.rejected))


def check_margins(rows: pl.DataFrame, objective: DPO) -> None:
    """Raises ``TrainingDataError`` when pairs bring a margin and the objective has no place for one."""
    ids = rows.filter(pl.col("margin").is_not_null())["pair_id"].to_list()
    if objective.loss_type == "ipo":
        _refuse(ids, "the subset gives them a margin, but `ipo` has one of its own; use `sigmoid` or `robust`")


def pair_data(rows: pl.DataFrame, reference: pl.DataFrame, tokenizer: Any, max_length: int, device: Any) -> PairData:
    """Encodes the rows and looks up their reference log-probabilities.

    Raises:
        TrainingDataError: no completion token is left, both completions have the same tokens, the reference lacks a
            completion or counted other tokens; with pair ids.
    """
    import torch

    ids = rows["pair_id"].to_list()
    known = {name: (logp, n) for name, logp, n in reference.select("completion_id", "logp", "n_tokens").iter_rows()}
    chosen, rejected = (
        [encode(tokenizer, prompt, side, max_length) for prompt, side in rows.select("prompt", name).iter_rows()]
        for name in ("chosen", "rejected")
    )
    both = list(zip(ids, chosen, rejected, rows["chosen_id"], rows["rejected_id"], strict=True))
    _refuse([i for i, c, r, _, _ in both if not (c.n_completion and r.n_completion)], "no completion token is left")
    _refuse([i for i, c, r, _, _ in both if c.ids == r.ids], f"both completions are the same {max_length} tokens")
    _refuse([i for i, _, _, c, r in both if c not in known or r not in known], "no reference log-probability")
    _refuse(
        [i for i, c, r, a, b in both if (known[a][1], known[b][1]) != (c.n_completion, r.n_completion)],
        "the reference counted other tokens; it was computed with another model or max_length",
    )

    def column(values: Any) -> "torch.Tensor":
        return torch.tensor(list(values), dtype=torch.float32, device=device)

    return PairData(
        ids,
        chosen,
        rejected,
        column(known[c][0] for c in rows["chosen_id"]),
        column(known[r][0] for r in rows["rejected_id"]),
        column(rows["p_chosen"]),
        column(rows["weight"]),
        column(rows["margin"].fill_null(0.0)),
    )


def _refuse(ids: list[str], why: str) -> None:
    if ids:
        raise TrainingDataError(f"{len(ids)} pairs cannot train: {why}: {name_pairs(ids)}")


def check_start(model: Any, data: PairData) -> None:
    """Compares the untrained policy with the reference on the shortest pair: they must be the same model.

    Raises:
        TrainingDataError: they differ by more than ``REFERENCE_TOLERANCE`` a token.
    """
    lengths = [len(c.ids) + len(r.ids) for c, r in zip(data.chosen, data.rejected, strict=True)]
    row = min(range(len(lengths)), key=lambda i: (lengths[i], i))
    logps, counts = completion_logps(model, [data.chosen[row], data.rejected[row]], batch_tokens=1)
    gaps = abs(logps - [float(data.ref_chosen[row]), float(data.ref_rejected[row])]) / counts
    if gaps.max() > REFERENCE_TOLERANCE:
        raise TrainingDataError(
            f"pair {data.ids[row]}: the untrained policy and the reference differ by {gaps.max():.3f} nats a token; "
            "the reference log-probabilities were computed with another model"
        )


def pair_micro_batches(
    model: Any, data: PairData, objective: DPO, batch_tokens: int, rows: Sequence[int]
) -> Iterator[MicroBatch]:
    """Weighted losses of the pairs at ``rows``, both sides of a pair in one forward pass.

    The sides share the computation of their prompt where the model allows and truncation left them the same one.
    """
    sharing = shares_prompts(model)
    together = [row for row in rows if sharing and data.same_prompt(row)]
    apart = [row for row in rows if row not in set(together)]
    lengths = [row_length([data.chosen[row], data.rejected[row]]) for row in together]
    for part in buckets(lengths, batch_tokens):
        n = len(part)
        yield _micro_batch(model, data, objective, [together[i] for i in part], [[i, n + i] for i in range(n)])
    lengths = [max(len(data.chosen[row].ids), len(data.rejected[row].ids)) for row in apart]
    for part in buckets(lengths, batch_tokens, rows=2):
        yield _micro_batch(model, data, objective, [apart[i] for i in part], None)


def _micro_batch(
    model: Any, data: PairData, objective: DPO, rows: list[int], groups: list[list[int]] | None
) -> MicroBatch:
    import torch

    chosen, rejected = [data.chosen[row] for row in rows], [data.rejected[row] for row in rows]
    logps = sequence_logps(model, [*chosen, *rejected], groups)
    device = logps.device
    index = torch.tensor(rows, device=data.weight.device)
    pairs = PairTensors(
        chosen=logps[: len(rows)],
        rejected=logps[len(rows) :],
        ref_chosen=data.ref_chosen[index],
        ref_rejected=data.ref_rejected[index],
        n_chosen=torch.tensor([e.n_completion for e in chosen], device=device),
        n_rejected=torch.tensor([e.n_completion for e in rejected], device=device),
        p_chosen=data.p_chosen[index],
        margin=data.margin[index],
    )
    losses = objective.losses(pairs)
    return MicroBatch(
        rows,
        data.weight[index] * losses.loss,
        _values(pairs, losses.reward_chosen, losses.reward_rejected),
        sum(len(e.ids) for e in (*chosen, *rejected)),
    )


def _values(pairs: PairTensors, chosen: "torch.Tensor", rejected: "torch.Tensor") -> Mapping[str, "torch.Tensor"]:
    """Metrics of each pair under TRL's names; a tied pair of rewards counts as half right."""
    right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
    return {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": right,
        "rewards/margins": chosen - rejected,
        "logps/chosen": pairs.chosen.detach(),
        "logps/rejected": pairs.rejected.detach(),
    }
