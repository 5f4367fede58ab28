"""Pairs as a policy sees them: checked once before the run, then in micro-batches of similar length."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.training.data import Encoded, buckets, encode
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.logprobs import (
    PerToken,
    TokenNumbers,
    completion_logps,
    row_length,
    shares_prompts,
    token_logps,
    token_logps_and_squares,
    token_numbers,
)
from pref_assets.training.loop import MicroBatch
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences

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


@dataclass(frozen=True)
class Batches:
    """Turns the rows of a step into micro-batches with losses, for one policy and one objective.

    ``head`` is the objective's own module, ``carried`` what its steps pass on, ``live`` makes further parts of the
    pairs at hand each time (``online_samples.LiveSampler``).
    """

    model: Any
    data: PairData
    objective: Objective
    batch_tokens: int
    head: Any = None
    carried: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    live: Callable[[Sequence[int]], dict[str, PartData]] | None = None

    def __call__(self, rows: Sequence[int], mine: Sequence[int] | None = None) -> Iterator[MicroBatch]:
        """Weighted losses of the pairs at ``mine`` (all of the step's ``rows`` by default), every sequence of a pair in
        one forward pass.

        Sequences of a pair share the computation of their prompt where the model allows and truncation left them the
        same one. Statistics of the step are taken over all ``rows``, first.
        """
        mine = rows if mine is None else mine
        if self.live is not None:
            drawn = replace(self.data, parts={**self.data.parts, **self.live(mine)})
            yield from replace(self, data=drawn, live=None)(rows, mine)
            return
        statistics, first = self._statistics(rows, mine)
        parts = self._split(mine)
        for part, groups in parts:
            pairs = first if first is not None and len(parts) == 1 else self._pairs(part, groups)
            yield self._losses(part, pairs, {name: values[part] for name, values in statistics.items()})

    def _statistics(self, rows: Sequence[int], mine: Sequence[int]) -> "tuple[dict[str, _ByRow], Pairs | None]":
        """Columns of the step's pairs by row; the pairs themselves, with gradient, where one pass holds them all."""
        import torch

        if not self.objective.batch_columns():
            return {}, None
        if self.objective.statistics_of_lengths:
            columns = self.objective.statistics(self._unread(rows), self.carried)
            return {name: _ByRow(rows, values) for name, values in columns.items()}, None
        parts = self._split(rows)
        alone = len(parts) == 1 and list(mine) == list(rows)
        with torch.set_grad_enabled(alone and torch.is_grad_enabled()):
            found = [self._pairs(part, groups) for part, groups in parts]
        order = [row for part, _ in parts for row in part]
        columns = self.objective.statistics(_together([each.detached() for each in found]), self.carried)
        return {name: _ByRow(order, values) for name, values in columns.items()}, found[0] if alone else None

    def _split(self, rows: Sequence[int]) -> list[tuple[list[int], list[list[int]]]]:
        """Parts of the rows, and which sequences of a part share a row of the model's input.

        Sequences are numbered part by part in the order of ``data.parts``: pair by pair within a name.
        """
        sharing = shares_prompts(self.model)
        shapes: dict[tuple[tuple[str, ...], ...], list[int]] = defaultdict(list)
        for row in rows:
            shapes[self._shape(row, sharing)].append(row)
        found = []
        for shape, members in shapes.items():
            lengths = [
                max(row_length([self._encoded(name, row) for name in names]) for names in shape) for row in members
            ]
            for picked in buckets(lengths, self.batch_tokens, rows=len(shape)):
                part = [members[i] for i in picked]
                present = [name for name in self.data.parts if any(name in names for names in shape)]
                place = {name: index * len(part) for index, name in enumerate(present)}
                groups = [[place[name] + i for name in names] for i in range(len(part)) for names in shape]
                found.append((part, groups))
        return found

    def _shape(self, row: int, sharing: bool) -> tuple[tuple[str, ...], ...]:
        """Names of a pair's sequences, those with the same prompt tokens together."""
        groups: dict[Any, list[str]] = defaultdict(list)
        for name, part in self.data.parts.items():
            encoded = part.encoded[row]
            if encoded is not None:
                groups[(encoded.ids[: encoded.n_prompt], encoded.seen) if sharing else name].append(name)
        return tuple(map(tuple, groups.values()))

    def _encoded(self, name: str, row: int) -> Encoded:
        found = self.data.parts[name].encoded[row]
        assert found is not None
        return found

    def _unread(self, rows: Sequence[int]) -> Pairs:
        """Pairs of which the policy has read nothing: token counts, labels and columns; log-probabilities are 0."""
        import torch

        index = torch.tensor(rows, device=self.data.weight.device)
        zeros = torch.zeros(len(rows), 1, device=index.device)
        sides = {}
        for name, part in self.data.parts.items():
            lengths = [0 if (e := part.encoded[row]) is None else e.n_completion for row in rows]
            counts = torch.tensor(lengths, dtype=torch.float32, device=index.device)
            ids = torch.full((len(rows), 1), -1, device=index.device)
            sides[name] = Sequences(zeros[:, 0], part.ref[index], counts, zeros, ids)
        return self._labelled(sides, index)

    def _pairs(self, rows: list[int], groups: list[list[int]]) -> Pairs:
        """One forward pass over pairs that have the same sequences."""
        import torch

        present = [name for name, part in self.data.parts.items() if part.encoded[rows[0]] is not None]
        batch = [self._encoded(name, row) for name in present for row in rows]
        per_token: PerToken = token_logps_and_squares if "log_p2" in self.objective.stats else token_logps
        found = token_numbers(self.model, batch, per_token, groups)
        index = torch.tensor(rows, device=self.data.weight.device)
        sides = {}
        for name, part in self.data.parts.items():
            place = present.index(name) * len(rows) if name in present else None
            sides[name] = self._sequences(part, rows, index, found, place)
        return self._labelled(sides, index)

    def _labelled(self, sides: Mapping[str, Sequences], index: "torch.Tensor") -> Pairs:
        return Pairs(
            sides[CHOSEN],
            sides[REJECTED],
            self.data.p_chosen[index],
            self.data.margin[index],
            {name: values[index] for name, values in self.data.columns.items()},
            {name: sides[name] for name in sides if name not in SIDES},
        )

    def _sequences(
        self, part: PartData, rows: list[int], index: "torch.Tensor", found: TokenNumbers, place: int | None
    ) -> Sequences:
        """A part of the forward pass, padded; without tokens where the pairs lack it."""
        import torch

        device, n = found.numbers.device, len(rows)
        lengths = [0 if (e := part.encoded[row]) is None else e.n_completion for row in rows]
        width = max(1, *lengths)
        ids = torch.full((n, width), -1)
        for i, row in enumerate(rows):
            if (encoded := part.encoded[row]) is not None:
                ids[i, : lengths[i]] = torch.tensor(encoded.completion_ids)
        numbers = torch.zeros(n, width, found.numbers.shape[1], device=device)
        outputs = None
        if place is not None:
            mine = (found.owners >= place) & (found.owners < place + n)
            owners = found.owners[mine] - place
            numbers = numbers.index_put((owners, found.places[mine]), found.numbers[mine])
            outputs = self._outputs(found.states[mine], owners, n)
        return Sequences(
            logp=numbers[..., 0].sum(1),
            ref=part.ref[index],
            n_tokens=torch.tensor(lengths, dtype=torch.float32, device=device),
            tokens=numbers[..., 0],
            ids=ids.to(device),
            ref_tokens=_padded(part.ref_tokens, rows, width, device),
            stats={name: numbers[..., 1 + i] for i, name in enumerate(self.objective.stats)},
            outputs=outputs,
        )

    def _outputs(self, states: "torch.Tensor", owners: "torch.Tensor", n: int) -> "torch.Tensor | None":
        """What the objective's head makes of each sequence's mean state."""
        import torch

        if self.head is None:
            return None
        sums = torch.zeros(n, states.shape[1], device=states.device).index_add(0, owners, states.float())
        return self.head(sums / torch.bincount(owners, minlength=n)[:, None])

    def _losses(self, rows: list[int], pairs: Pairs, statistics: "Mapping[str, torch.Tensor]") -> MicroBatch:
        import torch

        pairs = replace(pairs, columns={**pairs.columns, **statistics})
        losses = self.objective.losses(pairs)
        index = torch.tensor(rows, device=self.data.weight.device)
        tokens = sum(len(e.ids) for part in self.data.parts.values() for row in rows if (e := part.encoded[row]))
        return MicroBatch(
            rows,
            self.data.weight[index] * losses.loss,
            {**self._values(pairs, losses), **losses.values},
            tokens,
        )

    def _values(self, pairs: Pairs, losses: PairLosses) -> "Mapping[str, torch.Tensor]":
        """Metrics of each pair under TRL's names; a tied pair of rewards counts as half right. Those of the chosen side
        alone where the rejected one is not read."""
        chosen, rejected = losses.reward_chosen, losses.reward_rejected
        values = {"rewards/chosen": chosen, "logps/chosen": pairs.chosen.logp.detach()}
        if self.objective.chosen_only:
            return values
        right = (chosen > rejected).double() + 0.5 * (chosen == rejected).double()
        return values | {
            "rewards/rejected": rejected,
            "rewards/accuracies": right,
            "rewards/margins": chosen - rejected,
            "logps/rejected": pairs.rejected.logp.detach(),
        }


def pair_micro_batches(
    model: Any, data: PairData, objective: Objective, batch_tokens: int, rows: Sequence[int]
) -> Iterator[MicroBatch]:
    """Weighted losses of the pairs at ``rows``, as ``Batches`` gives them."""
    yield from Batches(model, data, objective, batch_tokens)(rows)


class _ByRow:
    """Values of a step's pairs, looked up by lists of row numbers."""

    def __init__(self, rows: Sequence[int], values: "torch.Tensor") -> None:
        self._place = {row: i for i, row in enumerate(rows)}
        self._values = values

    def __getitem__(self, rows: Sequence[int]) -> "torch.Tensor":
        return self._values[[self._place[row] for row in rows]]


def _together(parts: Sequence[Pairs]) -> Pairs:
    """Micro-batches as one; tokens are padded to the longest."""
    import torch
    from torch.nn.functional import pad

    def joined(tensors: Sequence[Any], filler: float) -> Any:
        if tensors[0] is None:
            return None
        if tensors[0].dim() == 1:
            return torch.cat(list(tensors))
        width = max(each.shape[1] for each in tensors)
        return torch.cat([pad(each, (0, width - each.shape[1]), value=filler) for each in tensors])

    def sequences(each: Sequence[Sequences]) -> Sequences:
        fields = ("logp", "ref", "n_tokens", "tokens", "ref_tokens", "outputs")
        return Sequences(
            ids=joined([s.ids for s in each], -1),
            stats={name: joined([s.stats[name] for s in each], 0.0) for name in each[0].stats},
            **{name: joined([getattr(s, name) for s in each], 0.0) for name in fields},
        )

    return Pairs(
        sequences([each.chosen for each in parts]),
        sequences([each.rejected for each in parts]),
        joined([each.p_chosen for each in parts], 0.0),
        joined([each.margin for each in parts], 0.0),
        {name: joined([each.columns[name] for each in parts], 0.0) for name in parts[0].columns},
        {name: sequences([each.parts[name] for each in parts]) for name in parts[0].parts},
    )


def _padded(
    values: "list[torch.Tensor | None] | None", rows: Sequence[int], width: int, device: Any
) -> "torch.Tensor | None":
    import torch

    if values is None:
        return None
    found = torch.zeros(len(rows), width, device=device)
    for i, row in enumerate(rows):
        if (value := values[row]) is not None:
            found[i, : len(value)] = value
    return found
