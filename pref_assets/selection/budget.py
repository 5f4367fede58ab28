"""One language of budgets: a number of pairs, a share of the candidates, or a number of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from pref_assets.pool import Pool
from pref_assets.selection.base import Selector
from pref_assets.settings import CountedName

_TOKENS = " tokens"
_FACTORS = {"k": 1_000, "M": 1_000_000}


@dataclass(frozen=True)
class Budget:
    """How much to keep: one of a number of pairs, a fraction of the candidates, a number of tokens."""

    count: int | None = None
    fraction: float | None = None
    tokens: int | None = None

    @classmethod
    def parse(cls, value: Any) -> "Budget":
        """Reads ``96``, ``"25%"``, ``0.25``, ``"200k tokens"``. Raises ``ValueError`` on anything else."""
        if isinstance(value, Budget):
            return value
        if isinstance(value, str) and value.strip().endswith(_TOKENS):
            return cls(tokens=_tokens(value.strip().removesuffix(_TOKENS).strip()))
        if isinstance(value, str) and value.strip().endswith("%"):
            number = float(value.strip()[:-1]) / 100
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return cls(count=value)
        elif isinstance(value, float):
            number = value
        else:
            raise ValueError(
                "a budget is a number of pairs (96), a share of the candidates ('25%') or a number of tokens "
                f"('200k tokens'), not {value!r}"
            )
        if not 0 < number <= 1:
            raise ValueError(f"a budget share lies in (0 %, 100 %], not {value!r}")
        return cls(fraction=number)

    def resolve(self, candidates: int) -> int:
        """Number of pairs to keep, of a count or a fraction.

        Raises:
            ValueError: a count is larger than the pool, or the budget is in tokens, which say nothing of pairs.
        """
        if self.tokens is not None:
            raise ValueError(f"a budget of {self.tokens:,} tokens is no number of pairs")
        if self.count is not None:
            if self.count > candidates:
                raise ValueError(f"budget of {self.count} pairs, but only {candidates} candidates")
            return self.count
        assert self.fraction is not None
        return max(1, round(self.fraction * candidates)) if candidates else 0

    def most(self, costs: NDArray[np.int64]) -> int:
        """The most pairs that this budget can hold; ``costs`` (n,) are the tokens of each candidate, in any order.

        Raises:
            ValueError: a count is larger than the pool; tokens are more than all candidates have, or fewer than any.
        """
        if self.tokens is None:
            return self.resolve(len(costs))
        if not len(costs):
            return 0
        if self.tokens > costs.sum():
            raise ValueError(f"budget of {self.tokens:,} tokens, but the candidates have only {int(costs.sum()):,}")
        if self.tokens < costs.min():
            raise ValueError(
                f"budget of {self.tokens:,} tokens, but the shortest candidate has {int(costs.min()):,}; raise it"
            )
        return int(np.searchsorted(np.cumsum(np.sort(costs)), self.tokens, side="right"))

    def take(self, costs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which candidates are kept when they come in this order, (n,): the first ones of a count or fraction; of
        tokens every one that still fits, so that none left out would have had room. Raises as ``most`` does."""
        most = self.most(costs)
        if self.tokens is None:
            return np.arange(len(costs)) < most
        kept = np.zeros(len(costs), dtype=bool)
        room = self.tokens
        for place, cost in enumerate(costs.tolist()):
            if cost <= room:
                kept[place] = True
                room -= cost
        return kept

    def text(self) -> int | str:
        if self.tokens is not None:
            return f"{self.tokens}{_TOKENS}"
        return self.count if self.count is not None else f"{100 * (self.fraction or 0):g}%"


def _tokens(text: str) -> int:
    factor = _FACTORS.get(text[-1:], 1)
    number = text if factor == 1 else text[:-1]
    try:
        tokens = round(float(number.replace("_", "")) * factor)
    except ValueError:
        raise ValueError(
            f"a budget in tokens is a number like '200000 tokens' or '200k tokens', not {text!r}"
        ) from None
    if tokens < 1:
        raise ValueError(f"a budget holds at least one token, not {text!r}")
    return tokens


BudgetField = Annotated[
    Budget,
    BeforeValidator(Budget.parse),
    PlainSerializer(lambda budget: budget.text(), return_type=int | str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": "(%| tokens)$"},
                {"type": "number"},
            ]
        }
    ),
]


class Budgeted(Selector):
    """A selector that keeps as much as a budget says, exactly."""

    budget: BudgetField
    """How much to keep: `96` pairs, `25%` of the train pairs, or `200k tokens`."""
    counted_by: CountedName | None = Field(default=None)
    """Embeddings whose token counts (prompt and answer, both answers of a pair) a budget in tokens uses."""

    @model_validator(mode="after")
    def _tokens_are_counted(self) -> Self:
        if self.budget.tokens is not None and self.counted_by is None:
            raise ValueError("a budget in tokens needs `counted_by`: the embeddings whose token counts it uses")
        return self

    def costs(self, pool: Pool, pair_ids: Sequence[str]) -> NDArray[np.int64]:
        """Cost of these pairs, in this order, (n,): their tokens under a budget in tokens, else 1 each.

        Raises:
            ValueError: a completion has no token count.
        """
        if self.budget.tokens is None or self.counted_by is None:
            return np.ones(len(pair_ids), dtype=np.int64)
        vectors = pool.embeddings[self.counted_by]
        sides = dict(zip(pool.pairs["pair_id"], pool.pairs.select("chosen_id", "rejected_id").rows(), strict=True))
        chosen, rejected = ([sides[each][side] for each in pair_ids] for side in (0, 1))
        return vectors.tokens(chosen) + vectors.tokens(rejected)

    def most(self, pool: Pool) -> int:
        """The most pairs that may be kept of the pool's candidates; exactly as many unless the budget is in tokens."""
        return self.budget.most(self.costs(pool, pool.candidates()["pair_id"].to_list()))

    def take(self, pool: Pool, order: Sequence[str]) -> NDArray[np.bool_]:
        """Which pairs are kept, (n,), when the candidates come in this order, best first.

        ``order`` holds every candidate once, or at least as many as ``most`` says. Raises as ``Budget.most`` does.
        """
        if self.budget.tokens is None:
            return np.arange(len(order)) < self.most(pool)
        return self.budget.take(self.costs(pool, order))
