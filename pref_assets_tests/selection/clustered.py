"""Small pools of clustered pairs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from pref_assets.pairs.schema import CLUSTERS, COMPLETIONS, PAIR_SCORES, PAIRS, PROMPTS
from pref_assets.pool import Pool, Vectors


def clustered_pool(
    sizes: Sequence[int],
    *,
    held_out: int = 2,
    unit: str = "pair",
    sources: Sequence[str] | None = None,
    tokens: int = 5,
) -> Pool:
    """Train pairs p0000, … of which the first ``sizes[0]`` are in cluster 0 and so on, then ``held_out`` test pairs.
    ``scores`` has `strength` (a normal number each); rows arrive in the order of the ids."""
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist()
    n = len(clusters) + held_out
    names = [f"p{i:04}" for i in range(n)]
    pairs = PAIRS.frame(
        {
            "pair_id": name,
            "prompt_id": f"q{name}",
            "chosen_id": f"c{name}",
            "rejected_id": f"r{name}",
            "p_chosen": 1.0,
            "split": "train" if i < len(clusters) else "test",
            "provenance": [
                {"source": sources[i % len(sources)] if sources else "s", "uri": "f", "row": i + 1, "batch": "b"}
            ],
        }
        for i, name in enumerate(names)
    )
    prefix = "" if unit == "pair" else "c"
    table = CLUSTERS.frame(
        {"id": f"{prefix}{name}", "cluster": (clusters + [0] * held_out)[i], "distance": 0.5}
        for i, name in enumerate(names)
    )
    rng = np.random.default_rng(0)
    scores = PAIR_SCORES.frame({"pair_id": name, "score": float(rng.normal())} for name in names)
    ids = [f"{side}{name}" for side in "cr" for name in names]
    vectors = Vectors(ids, rng.normal(size=(2 * n, 6)).astype(np.float32), np.full(2 * n, tokens))
    return Pool(
        pairs,
        COMPLETIONS.empty(),
        {"strength": scores},
        {"minilm": vectors},
        {"topics": table},
    )


def with_texts(pool: Pool, prompts: Sequence[str], chosen: Sequence[str]) -> Pool:
    """The pool with these texts of its pairs, in the order of their ids."""
    ids = pool.pairs["pair_id"].sort().to_list()
    said = PROMPTS.frame(
        {"prompt_id": f"q{id_}", "messages": [{"role": "user", "content": text}]}
        for id_, text in zip(ids, prompts, strict=True)
    )
    answers = COMPLETIONS.frame(
        {"completion_id": f"{side}{id_}", "prompt_id": f"q{id_}", "messages": [{"role": "assistant", "content": text}]}
        for id_, text in zip(ids, chosen, strict=True)
        for side in "cr"
    )
    return replace(pool, prompts=said, completions=answers)


def shares(pool: Pool, decisions: pl.DataFrame, name: str = "topics") -> list[int]:
    """Selected pairs of each cluster of pairs, by the cluster's number."""
    table = pool.clusters[name].join(pool.candidates(), left_on="id", right_on="pair_id", how="semi")
    found = table.join(decisions.filter("selected"), left_on="id", right_on="pair_id", how="semi")
    counts = dict(found.group_by("cluster").len().iter_rows())
    return [counts.get(each, 0) for each in sorted(table["cluster"].unique())]
