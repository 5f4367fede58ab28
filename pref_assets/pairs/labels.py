"""What a selector's decision makes of a pair's label: which side trains as the chosen one, and how surely."""

import polars as pl


def with_decisions(pairs: pl.LazyFrame, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """The pairs that have a decision, as they train.

    A decision's ``p_chosen`` replaces the votes'. Below one half the sides swap, so that the chosen side is the one to
    prefer, and the label is mirrored with them; a tie keeps its sides.

    Args:
        pairs: pair_id, chosen_id, rejected_id, p_chosen, and whatever else.
        decisions: pair_id, p_chosen, and whatever else, of ``DECISIONS``.

    Returns:
        The columns of both, with ``swapped``: whether the sides are not those of the pairs table.
    """
    decided = decisions.rename({"p_chosen": "decided"})
    swap = (pl.col("decided") < 0.5).fill_null(False)
    label = pl.coalesce("decided", "p_chosen")
    return (
        pairs.join(decided, on="pair_id")
        .with_columns(
            chosen_id=pl.when(swap).then("rejected_id").otherwise("chosen_id"),
            rejected_id=pl.when(swap).then("chosen_id").otherwise("rejected_id"),
            p_chosen=pl.when(swap).then(1 - label).otherwise(label),
            swapped=swap,
        )
        .drop("decided")
    )
