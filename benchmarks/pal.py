"""PAL beside one global reward on real annotators: accuracy on votes of users it knows, and of users it meets later.

python benchmarks/pal.py DATA [--recipe docs/recipes/crowdrag25.yaml] [--dimension quality_overall] [--seeds 5]

DATA is the folder that the recipe's environment variable names. Each seed holds out a fifth of the prompts and a fifth
of the users. Heads learn from votes of the other users on the other prompts; `seen` is the accuracy on those users'
votes on held-out prompts, `unseen k` that on held-out users' votes on held-out prompts after k of their votes on other
prompts. `bt` is PAL with one prototype, which is Bradley-Terry on votes. `others` says how often a vote agrees with the
majority of the other votes on its pair. Differences to `bt` are paired by seed, with Student's t over seeds.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from scipy.stats import t  # type: ignore[import-untyped]

from pref_assets.features.embeddings import SentenceTransformerEmbedder, completion_texts
from pref_assets.heads.ballots import Ballots, ballots
from pref_assets.heads.pal import Pal
from pref_assets.heads.pal_fitted import FittedPal
from pref_assets.pairs.locations import find_files
from pref_assets.pairs.merge import merge
from pref_assets.pairs.reading import read_rows
from pref_assets.pipeline.spec_errors import parse_spec
from pref_assets.pool import Pool, Vectors, seeded_uniform

SHOTS = (0, 1, 2, 5, 10)


def read(recipe: Path, data: str) -> Pool:
    """The pairs of the recipe's only source with MiniLM embeddings as ``minilm``."""
    text = recipe.read_text()
    start, end = text.index("{{"), text.index("}}") + 2
    spec = parse_spec(yaml.safe_load(text.replace(text[start:end], data))["attributes"])
    ((name, source),) = spec.sources.items()
    parts = [source.read(read_rows(path, uri, name, uri), None) for uri, path in find_files(source.location)]
    prompts, completions, votes = (
        pl.concat([getattr(part, table) for part in parts]) for table in ("prompts", "completions", "votes")
    )
    merged = merge(prompts, completions, votes, spec.pairs)
    embedder = SentenceTransformerEmbedder()
    texts = completion_texts(merged.completions, merged.prompts, embedder)
    matrix, _ = embedder.embed(texts["text"].to_list(), embedder.load())
    return Pool(merged.pairs, merged.completions, embeddings={"minilm": Vectors(texts["id"].to_list(), matrix)})


def votes_of(pairs: pl.DataFrame, users: pl.Series, *, inside: bool) -> pl.DataFrame:
    """The pairs with no other votes than those of ``users`` (or of all but them); pairs without votes left out."""
    mine = pl.col("annotator").is_in(users.implode())
    rows = pairs.explode("votes").with_columns(annotator=pl.col("votes").struct.field("annotator"))
    kept = rows.filter(mine if inside else ~mine).group_by("pair_id", maintain_order=True).agg("votes")
    return pairs.drop("votes").join(kept, on="pair_id", maintain_order="left").select(pairs.columns)


def accuracy(found: FittedPal, pool: Pool, pairs: pl.DataFrame, votes: Ballots, mixture: np.ndarray) -> float:
    """Share of the votes that the users' margins foretell; ties left out. ``mixture`` is (users, K)."""
    margin = found.margin(pool, pairs[votes.pair], mixture[votes.user])
    decided = votes.label != 0.5
    return float(((margin > 0) == (votes.label > 0.5))[decided].mean())


def unseen(found: FittedPal, pool: Pool, known: pl.DataFrame, asked: pl.DataFrame, shots: int, seed: int) -> float:
    """Accuracy on votes of users that the head has not met, after ``shots`` votes of each."""
    dimension = found.config.dimension
    votes = ballots(asked, dimension)
    mixture = []
    for user in votes.users:
        mine = votes_of(known, pl.Series([user]), inside=True)
        order = np.argsort(seeded_uniform(mine["pair_id"], seed, user))
        few = mine[order[:shots]]
        mixture.append(found.learn_user(pool, few, user) if len(few) else found.population())
    return accuracy(found, pool, asked, votes, np.array(mixture))


def measured(pool: Pool, heads: Mapping[str, Pal], seed: int) -> dict[str, dict[str, float]]:
    """Accuracies of every head for one split."""
    pairs = pool.pairs.sort("pair_id")
    everyone = pairs["votes"].explode().struct.field("annotator").unique().sort()
    strangers = everyone.filter(pl.Series(seeded_uniform(everyone, seed, "users") < 0.2))
    held = pl.Series(seeded_uniform(pairs["prompt_id"], seed, "prompts") < 0.2)
    train, test = pairs.filter(~held), pairs.filter(held)
    taught, asked = (votes_of(each, strangers, inside=False) for each in (train, test))
    known, later = (votes_of(each, strangers, inside=True) for each in (train, test))
    result = {}
    for name, settings in heads.items():
        head = settings.model_copy(update={"seed": seed})
        found = head.fit(replace(pool, pairs=taught), taught)
        votes = ballots(asked, head.dimension)
        row = {"seen": accuracy(found, pool, asked, votes, found.weights_of(votes.users))}
        row |= {f"unseen {shots}": unseen(found, pool, known, later, shots, seed) for shots in SHOTS}
        result[name] = row
    result["others"] = {"seen": with_the_others(asked, heads["bt"].dimension)}
    return result


def with_the_others(pairs: pl.DataFrame, dimension: str | None) -> float:
    """How often a vote agrees with the majority of the others on its pair; a tied majority counts half."""
    votes = ballots(pairs, dimension)
    signed = 2 * votes.label - 1
    rest = np.bincount(votes.pair, signed)[votes.pair] - signed
    return float(np.where(rest == 0, 0.5, np.sign(rest) == np.sign(signed))[signed != 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", type=Path, default=Path("docs/recipes/crowdrag25.yaml"))
    parser.add_argument("--dimension", default="quality_overall")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--l2", type=float, default=1.0)
    parser.add_argument("--user-l2", type=float, default=0.3)
    args = parser.parse_args()
    pool = read(args.recipe, str(Path(args.data).resolve()))
    shared = Pal(embeddings="minilm", dimension=args.dimension, l2=args.l2, user_l2=args.user_l2)
    kinds: dict[str, dict[str, object]] = {"bt": {"prototypes": 1}, "B K=2": {}}
    kinds |= {"B K=3": {"prototypes": 3}, "A K=2": {"model": "A"}}
    heads = {name: shared.model_copy(update=change) for name, change in kinds.items()}
    runs = [measured(pool, heads, seed) for seed in range(args.seeds)]
    for name in [*heads, "others"]:
        for metric in runs[0][name]:
            values = np.array([run[name][metric] for run in runs])
            gains = values - np.array([run["bt"][metric] for run in runs])
            half = t.ppf(0.975, args.seeds - 1) * gains.std(ddof=1) / np.sqrt(args.seeds)
            print(f"{name:8} {metric:10} {values.mean():.3f}   beside bt {gains.mean():+.3f} +- {half:.3f}", flush=True)


if __name__ == "__main__":
    main()
