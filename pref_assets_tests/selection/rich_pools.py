"""A pool with everything that generic selectors look at: texts, sources, strengths, tokens, vectors of both sides."""

import json
from dataclasses import replace

import numpy as np

from pref_assets.pairs.schema import CLUSTERS, COMPLETIONS, PAIR_SCORES, PAIRS, PROMPTS
from pref_assets.pool import Pool, Vectors


def rich_pool(n: int = 60, held_out: int = 4, seed: int = 0, width: int = 8) -> Pool:
    """Pairs p000, p001, … of three sources with random lengths, strengths, scores (``strength``, with the named value
    ``twice``), vectors, token counts and clusters; then ``held_out`` pairs of ``test``."""
    rng = np.random.default_rng(seed)
    total = n + held_out
    places = range(total)
    sources = rng.choice(["a", "b", "c"], total, p=[0.6, 0.3, 0.1]).tolist()
    sides = [f"{side}{i:03}" for side in "cr" for i in places]
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:03}",
            "prompt_id": f"q{i:03}",
            "chosen_id": f"c{i:03}",
            "rejected_id": f"r{i:03}",
            "p_chosen": round(float(rng.uniform(0.5, 1)), 2),
            "strength": float(rng.integers(1, 4)) if i % 5 else None,
            "split": "train" if i < n else "test",
            "provenance": [{"source": sources[i], "uri": "f", "row": i, "batch": "b"}],
            "votes": [{"annotator": "ann", "dimension": "overall", "choice": "chosen", "strength": None}],
        }
        for i in places
    )
    scores = rng.normal(size=total)
    table = PAIR_SCORES.frame(
        {"pair_id": f"p{i:03}", "score": scores[i], "details": [{"name": "twice", "value": 2 * scores[i]}]}
        for i in places
    )
    completions = COMPLETIONS.frame(
        {
            "completion_id": side,
            "prompt_id": f"q{side[1:]}",
            "messages": [{"role": "assistant", "content": "word " * int(rng.integers(1, 12))}],
        }
        for side in sides
    )
    prompts = PROMPTS.frame(
        {
            "prompt_id": f"q{i:03}",
            "messages": [{"role": "user", "content": f"question {i}"}],
            "metadata": json.dumps({"subject": ["maths", "law"][i % 2]}) if i % 3 else None,
        }
        for i in places
    )
    matrix = rng.normal(size=(len(sides), width)).astype(np.float32)
    vectors = Vectors(sides, matrix, rng.integers(3, 50, len(sides)))
    clusters = CLUSTERS.frame({"id": side, "cluster": place % 4, "distance": 0.1} for place, side in enumerate(sides))
    return Pool(pairs, completions, {"strength": table}, {"minilm": vectors}, {"topics": clusters}, prompts=prompts)


def with_scores(pool: Pool, scores: list[float]) -> Pool:
    """The pool with other scores for its train pairs, in order of their ids."""
    ids = pool.candidates()["pair_id"].to_list()
    table = PAIR_SCORES.frame({"pair_id": id_, "score": score} for id_, score in zip(ids, scores, strict=True))
    return replace(pool, scores={"strength": table})
