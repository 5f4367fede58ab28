"""Pairs in micro-batches of similar length, with their losses."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pref_assets.training.data import Encoded, buckets
from pref_assets.training.logprobs import (
    PerToken,
    TokenNumbers,
    row_length,
    shares_prompts,
    token_logps,
    token_logps_and_squares,
    token_numbers,
)
from pref_assets.training.loop import MicroBatch
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences
from pref_assets.training.pair_data import CHOSEN, REJECTED, SIDES, PairData, PartData

if TYPE_CHECKING:
    import torch


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
