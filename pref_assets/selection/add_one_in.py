"""A subset that grows by one choice at a time: which of a few candidates adds most to what is there?"""

from collections import Counter, deque
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.one_in_judges import Chooser, OneInJudge


class AddOneIn(Budgeted):
    """Grows the subset by choices instead of scores: Add-One-In (arXiv:2503.02359, EMNLP 2025). Each round a judge is
    shown a few candidates and what is already in, and one candidate is added; as many rounds as the budget has pairs.

    The paper's prompt and its number of options are not known here: both are configuration. Candidates come from one
    shuffle drawn from the seed, in turn, and those turned down queue again at its end; the paper draws ones unlike the
    set, which is left to the judge here. So one option is the order of `random`, and all candidates with the
    `facility_location` judge are the greedy algorithm. Under a budget in tokens, what no longer fits leaves the queue.

    Needs what its judge needs; `asked` needs a server and one request a round, one after the other, kept for ever.
    Cost: O(budget · n_options) candidates judged.
    """

    type: Literal["add_one_in"] = "add_one_in"
    judge: OneInJudge
    """Who chooses: `facility_location`, `quality_novelty`, or a language model that is `asked`."""
    n_options: int = Field(default=5, ge=1)
    """Candidates shown in a round."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: the budget is larger than the pool, or a pair lacks the vector or score that the judge needs.
            ServerError: the server that is asked gives no answer; the choices so far are in the store.
        """
        ids = pool.candidates()["pair_id"].to_list()
        count = self.most(pool)
        order = np.argsort(seeded_hash(ids, self.seed, "random").to_numpy(), kind="stable").tolist()
        costs = self.costs(pool, ids)
        room = count if self.budget.tokens is None else self.budget.tokens
        chooser = self.judge.chooser(pool, ids, self.seed)
        try:
            growth = _Growth(order, costs, room)
            while growth.next_round(chooser, self.n_options):
                pass
        finally:
            chooser.close()
        return decide(pool, self._order(pool, ids, growth))

    def _order(self, pool: Pool, ids: list[str], growth: "_Growth") -> pl.DataFrame:
        rows = [*growth.kept, *growth.queue, *growth.too_long]
        order = [ids[row] for row in rows]
        told = [f"turned_down: shown {growth.shown[row]} times" if growth.shown[row] else "not_shown" for row in rows]
        long = len(growth.kept) + len(growth.queue)
        told[long:] = ["too_long: more tokens than were left" for _ in growth.too_long]
        told[: len(growth.kept)] = growth.why
        return pl.DataFrame(
            {"pair_id": order, "selected": self.take(pool, order), "reason": told},
            schema={"pair_id": pl.String, "selected": pl.Boolean, "reason": pl.String},
        )


class _Growth:
    """The set so far, and the candidates in the order in which they are shown; all by their rows."""

    def __init__(self, order: list[int], costs: NDArray[np.int64], room: int) -> None:
        self.queue = deque(order)
        self.costs = costs
        self.room = room
        self.kept: list[int] = []
        self.why: list[str] = []
        self.too_long: list[int] = []
        self.shown: Counter[int] = Counter()

    def next_round(self, chooser: Chooser, n_options: int) -> bool:
        """Adds one candidate; false when none is left that fits."""
        options: list[int] = []
        while self.queue and len(options) < n_options and self.room:
            row = self.queue.popleft()
            (options if self.costs[row] <= self.room else self.too_long).append(row)
        if not options:
            return False
        choice = chooser.choose(self.kept, options)
        self.shown.update(options)
        taken = options.pop(choice.place)
        self.queue.extend(options)
        self.kept.append(taken)
        self.room -= int(self.costs[taken])
        self.why.append(f"chosen: round {len(self.kept)} among {len(options) + 1}, {choice.why}")
        return True
