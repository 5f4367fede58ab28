"""The votes behind pairs as who judged which pair how."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.heads.base import Floats

Voter = Literal["annotator", "source"]


@dataclass(frozen=True)
class Ballots:
    """Votes: ``pair`` (b,) is the row of the pair, ``user`` (b,) the place in the sorted ``users``, ``label`` (b,)
    1 for the chosen side, 0 for the other, 0.5 for a tie."""

    users: list[str]
    pair: NDArray[np.int64]
    user: NDArray[np.int64]
    label: Floats


def ballots(pairs: pl.DataFrame, dimension: str | None = None, voter: Voter = "annotator") -> Ballots:
    """The votes of pairs, in the order of pairs and then of users.

    Args:
        dimension: votes of this dimension only; of all if left out.
        voter: who is taken for a user: the annotator; or, where annotators are not known, the first source of the pair,
            with the pair's ``p_chosen`` for its one vote.

    Raises:
        ValueError: there is no such vote; says which dimensions there are.
    """
    rows = pairs.select("p_chosen", "votes", "provenance").with_row_index("pair")
    if voter == "source":
        found = rows.select(
            "pair",
            user=pl.col("provenance").list.first().struct.field("source").fill_null("unknown"),
            label=pl.col("p_chosen").cast(pl.Float64),
        )
    else:
        votes = rows.select("pair", "votes").explode("votes", empty_as_null=False).drop_nulls("votes").unnest("votes")
        asked = votes if dimension is None else votes.filter(pl.col("dimension") == dimension)
        if asked.is_empty():
            known = votes["dimension"].unique().sort().to_list()
            what = "" if dimension is None else f" on dimension {dimension!r}"
            raise ValueError(f"none of the {len(pairs)} pairs has a vote{what}; dimensions with votes: {known}")
        label = pl.col("choice").replace_strict({"chosen": 1.0, "rejected": 0.0, "tie": 0.5}, return_dtype=pl.Float64)
        found = asked.select("pair", "dimension", user=pl.col("annotator").fill_null("unknown"), label=label)
        found = found.sort("pair", "user", "dimension", "label")
    users = found["user"].unique().sort().to_list()
    place = found["user"].replace_strict(users, list(range(len(users))), return_dtype=pl.Int64)
    return Ballots(
        users, found["pair"].to_numpy().astype(np.int64), place.to_numpy().copy(), found["label"].to_numpy().copy()
    )
