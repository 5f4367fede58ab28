"""Pairs as a policy sees them, encoded and checked once before the run."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.training.data import Encoded, encode
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.objectives.kernel import Objective

if TYPE_CHECKING:
    import torch

REFERENCE_TOLERANCE = 0.05
"""Nats a token by which an untrained policy may differ from the reference: bfloat16 noise, not another model."""
CHOSEN, REJECTED = "chosen", "rejected"
SIDES = (CHOSEN, REJECTED)


@dataclass(frozen=True)
class PartData:
    """One sequence of each of n pairs: a side, or a further part, which a pair may lack (null).

    ``ref`` (n,) and ``ref_tokens`` (one tensor a pair) are the reference's; 0 and null where none is needed.
    """

    encoded: list[Encoded | None]
    ref: "torch.Tensor"
    ref_tokens: "list[torch.Tensor | None] | None" = None


@dataclass(frozen=True)
class PairData:
    """n pairs, in the order of the training rows; tensors have shape (n,)."""

    ids: list[str]
    parts: dict[str, PartData]
    p_chosen: "torch.Tensor"
    weight: "torch.Tensor"
    margin: "torch.Tensor"
    columns: "dict[str, torch.Tensor]" = field(default_factory=dict)

    def side(self, name: str) -> list[Encoded]:
        """Token sequences of a side, of the pairs that have it: all, where the objective looks at both sides."""
        return [each for each in self.parts[name].encoded if each is not None]

    @property
    def chosen(self) -> list[Encoded]:
        return self.side(CHOSEN)

    @property
    def rejected(self) -> list[Encoded]:
        return self.side(REJECTED)

    @property
    def truncated(self) -> int:
        """Completions that lost tokens."""
        return sum(e.truncated for e in (*self.chosen, *self.rejected))


def pair_data(
    rows: pl.DataFrame,
    reference: pl.DataFrame,
    reader: Any,
    max_length: int,
    device: Any,
    objective: Objective | None = None,
    parts: pl.DataFrame | None = None,
) -> PairData:
    """Encodes the rows and looks up their reference log-probabilities.

    Args:
        rows: ``TRAINING_ROWS``.
        reference: ``REFERENCE_LOGPS`` of the sides and of the parts that need them; may be empty for an objective
            without a reference.
        objective: says what it needs; by default the two sides with a reference.
        parts: ``PARTS`` of the rows.

    Raises:
        TrainingDataError: no completion token is left, both completions have the same tokens, the reference lacks a
            completion or counted other tokens; with pair ids.
    """
    import torch

    objective = objective or Objective()
    known = _Reference(reference, device)
    ids = rows["pair_id"].to_list()
    prompts = {CHOSEN: pl.col("prompt"), REJECTED: pl.coalesce("rejected_prompt", "prompt")}
    found = {}
    for side in SIDES:
        texts = rows.select(prompts[side], side).iter_rows()
        # What no loss looks at is not read: half of the time of supervised fine-tuning.
        wanted = [side == CHOSEN or not objective.chosen_only or p < 1 for p in rows["p_chosen"]]
        encoded: list[Encoded | None] = [
            encode(reader, prompt, turns, max_length) if want else None
            for want, (prompt, turns) in zip(wanted, texts, strict=True)
        ]
        sequences = [None if objective.reference_free else each for each in rows[f"{side}_id"]]
        found[side] = (encoded, sequences)
    for name in objective.part_names:
        found[name] = _part(ids, parts, name, reader, max_length, name not in objective.parts_without_reference)
    for encoded, _ in found.values():
        _refuse(
            [i for i, e in zip(ids, encoded, strict=True) if e and not e.n_completion], "no completion token is left"
        )
    both = list(zip(ids, found[CHOSEN][0], found[REJECTED][0], strict=True))
    same = [i for i, c, r in both if c and r and (c.ids, c.seen) == (r.ids, r.seen)]
    _refuse(same, f"both completions are the same {max_length} tokens")

    def column(values: Any) -> "torch.Tensor":
        return torch.tensor(list(values), dtype=torch.float32, device=device)

    named: dict[str, list[float]] = defaultdict(list)
    for each in rows["columns"].to_list():
        for entry in each or []:
            named[entry["name"]].append(entry["value"])
    return PairData(
        ids,
        {name: known.part(ids, *each, tokens=objective.reference_tokens) for name, each in found.items()},
        column(rows["p_chosen"]),
        column(rows["weight"]),
        column(rows["margin"].fill_null(0.0)),
        {name: column(values) for name, values in named.items()},
    )


def _part(
    ids: Sequence[str], parts: pl.DataFrame | None, name: str, reader: Any, max_length: int, referred: bool
) -> tuple[list[Encoded | None], list[str | None]]:
    """Token sequences of a further part and the ids of their reference log-probabilities, null where there is none."""
    of = {} if parts is None else {row["pair_id"]: row for row in parts.filter(part=name).iter_rows(named=True)}
    encoded = [encode(reader, of[i]["prompt"], of[i]["completion"], max_length) if i in of else None for i in ids]
    return encoded, [of[i]["sequence_id"] if i in of and referred else None for i in ids]


class _Reference:
    """Reference log-probabilities by completion."""

    def __init__(self, rows: pl.DataFrame, device: Any) -> None:
        columns = ("completion_id", "logp", "n_tokens", "token_logps")
        self._known = {row[0]: row[1:] for row in rows.select(columns).iter_rows()}
        self._device = device

    def part(
        self, ids: Sequence[str], encoded: list[Encoded | None], sequences: Sequence[str | None], *, tokens: bool
    ) -> PartData:
        """Raises ``TrainingDataError`` when one is missing or was computed of other tokens."""
        import torch

        asked = [(i, e, s) for i, e, s in zip(ids, encoded, sequences, strict=True) if s is not None and e is not None]
        _refuse([i for i, _, s in asked if s not in self._known], "no reference log-probability")
        _refuse(
            [i for i, e, s in asked if self._known[s][1] != e.n_completion],
            "the reference counted other tokens; it was computed with another model or max_length",
        )
        ref = [0.0 if s is None or e is None else self._known[s][0] for e, s in zip(encoded, sequences, strict=True)]
        ref_tokens = None
        if tokens:
            lacking = [i for i, _, s in asked if self._known[s][2] is None]
            _refuse(lacking, "no reference log-probability of each token; set `tokens: true` in its reference_logps")
            of = [None if s is None else self._known[s][2] for s in sequences]
            ref_tokens = [None if v is None else torch.tensor(v, device=self._device) for v in of]
        return PartData(encoded, torch.tensor(ref, dtype=torch.float32, device=self._device), ref_tokens)


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
    gaps = abs(logps - [float(data.parts[side].ref[row]) for side in SIDES]) / counts
    if gaps.max() > REFERENCE_TOLERANCE:
        raise TrainingDataError(
            f"pair {data.ids[row]}: the untrained policy and the reference differ by {gaps.max():.3f} nats a token; "
            "the reference log-probabilities were computed with another model"
        )
