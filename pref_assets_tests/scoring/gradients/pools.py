"""A pool with a linear truth for the tests of gradient scorers."""

import polars as pl

from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.pool import Pool
from pref_assets.scoring import BradleyTerry
from pref_assets_tests.scoring.toy import linear_pairs


def linear_pool(
    n: int, d: int, flips: float = 0.2, seed: int = 0, trusted: int = 200, held_out: int = 0, members: int = 2
) -> tuple[Pool, pl.DataFrame]:
    """``n`` train, ``trusted`` validation and ``held_out`` test pairs with embeddings ``e`` and reward model ``rm``;
    frame (pair_id, flipped). Labels of the validation pairs are right."""
    pairs, vectors, truth = linear_pairs(n, d, flips, seed, held_out=trusted + held_out)
    trusted_ids = pairs["pair_id"].sort()[n : n + trusted]
    pairs = pairs.with_columns(
        split=pl.when(pl.col("pair_id").is_in(trusted_ids.implode())).then(pl.lit("validation")).otherwise("split")
    )
    turned = pl.col("pair_id").is_in(truth.filter("flipped")["pair_id"].implode()) & (pl.col("split") == "validation")
    pairs = pairs.with_columns(
        chosen_id=pl.when(turned).then("rejected_id").otherwise("chosen_id"),
        rejected_id=pl.when(turned).then("chosen_id").otherwise("rejected_id"),
    )
    heads = BradleyTerry(embeddings="e", members=members, folds=4).fit(pairs, vectors)
    return Pool(pairs, COMPLETIONS.empty(), embeddings={"e": vectors}, reward_models={"rm": heads}), truth
