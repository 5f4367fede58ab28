"""MM-RLHF's claims in the scene world, where the truth is known: not speed, but what is learned.

    python benchmarks/scene_world.py --seeds 0 1 2 --out docs/measured/scene_world.csv
    python benchmarks/scene_world.py --show docs/measured/scene_world.csv

Of every seed, which draws the world and the weights: ACC and ACC+ of reward models that write no critique, raw or
expanded ones, before and after training, with other prompts' images, without images, and after true critiques; and with
0, 20 and 40 % of the rankings turned around, the mean β of wrong and right labels and what DPO and MM-DPO make of them.
Rows are added to the file as they come; those that are there are not measured again. A seed takes some 15 minutes of a
core.
"""

import argparse
import csv
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import torch

from pref_assets.proving.scenes.study import CAPTIONS, Critiques, Study
from pref_assets.proving.scenes.world import World
from pref_assets.training.objectives.mm_dpo import scaled_beta

COLUMNS = ("part", "seed", "flipped", "arm", "measure", "value")
LADDER: dict[str, Critiques | None] = {"none": None, "raw": "raw", "expanded": "expanded"}
EPOCHS = (1, 2)
FLIPS = (0.0, 0.2, 0.4)
BETA, W, K = 0.1, 0.5, 0.5
POLICIES = {
    "dpo": {"type": "dpo", "beta": BETA},
    "mm_dpo": {"type": "mm_dpo", "delta": "reward", "beta": BETA, "w": W, "k": K, "sft": 0.0},
    "mm_dpo_sft": {"type": "mm_dpo", "delta": "reward", "beta": BETA, "w": W, "k": K, "sft": 0.25},
}
Row = tuple[str, str, float]
"""Arm, measure, value."""


def rewards(seed: int, folder: Path) -> Iterator[Row]:
    """The ladder, and what becomes of it without the right image."""
    study = Study(World(seed=seed), folder)
    study.caption(seed=seed)
    test = study.pairs("test")

    def measured(arm: str, critic: str, **how: str) -> Iterator[Row]:
        found = study.accuracy(study.rewards(critic, test, **how), test)  # type: ignore[arg-type]
        yield from ((arm, "acc", found.acc), (arm, "acc_plus", found.acc_plus), (arm, "pairs", found.pairs))

    study.critic("fresh", None, pairs=1, learning_rate=1e-12, seed=seed)
    yield from measured("none, 0 epochs", "fresh", mode="none")
    for epochs in EPOCHS:
        for name, critiques in LADDER.items():
            mode = "generate" if critiques else "none"
            critic = f"{name}_{epochs}"
            study.critic(critic, critiques, epochs=epochs, seed=seed)
            for images in ("own", "shuffled", "none"):
                arm = f"{name}, {epochs} epochs" + ("" if images == "own" else f", images {images}")
                yield from measured(arm, critic, mode=mode, images=images)
        given = f"expanded_{epochs}"
        yield from measured(f"expanded, {epochs} epochs, truth given", given, mode="given", critiques="truth")


def noise(seed: int, flipped: float, folder: Path) -> Iterator[Row]:
    """What scaling by rewards does to wrong labels, and to what is learned."""
    captions = Study(World(seed=seed), folder).caption(seed=seed)
    study = Study(World(seed=seed, flipped=flipped), folder)
    study.take(CAPTIONS, captions)
    test, train = study.pairs("test"), study.pairs("train")
    study.critic("critic", "expanded", epochs=2, seed=seed)
    delta = study.rewards("critic", study.pool.pairs)
    found = study.accuracy(delta, test)
    yield from (("critic", "acc", found.acc), ("critic", "acc_plus", found.acc_plus))
    scaled = train.join(delta.select("pair_id", "score"), on="pair_id")
    beta = scaled_beta(torch.tensor(scaled["score"].to_list()), BETA, W, K)
    scaled = scaled.with_columns(beta=pl.Series(beta.tolist()))
    for name, part in (("right", scaled.filter(~pl.col("flipped"))), ("wrong", scaled.filter("flipped"))):
        if part.height:
            yield f"labels {name}", "beta", part["beta"].mean()  # type: ignore[misc]
            yield f"labels {name}", "delta_positive", (part["score"] > 0).mean()  # type: ignore[misc]
    yield CAPTIONS, "answered", study.answered(CAPTIONS)
    for name, objective in POLICIES.items():
        study.policy(name, objective, delta if "delta" in objective else None, seed=seed)
        found = study.preferred(name, test)
        yield from ((name, "acc", found.acc), (name, "acc_plus", found.acc_plus))
        yield name, "answered", study.answered(name)


def measure(seeds: Sequence[int], parts: Sequence[str], out: Path) -> None:
    """Appends what the file lacks."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    known = {(row["part"], row["seed"], row["flipped"]) for row in csv.DictReader(out.open(encoding="utf-8"))}
    wanted = [("reward", seed, 0.0) for seed in seeds] + [("noise", seed, share) for seed in seeds for share in FLIPS]
    for part, seed, flipped in wanted:
        if part not in parts or (part, str(seed), str(flipped)) in known:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = rewards(seed, Path(folder)) if part == "reward" else noise(seed, flipped, Path(folder))
            rows = []
            for arm, measured, value in found:
                rows.append((part, seed, flipped, arm, measured, round(value, 4)))
                print(*rows[-1], sep="\t", flush=True)
        with out.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)


def show(path: Path) -> str:
    """Means over seeds with the smallest and largest, as Markdown tables."""
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in csv.DictReader(path.open(encoding="utf-8")):
        found[row["part"], row["flipped"], row["arm"], row["measure"]].append(float(row["value"]))

    def spread(*key: str) -> str:
        return _spread(found.get(key, []))

    lines = ["| learned from | ACC | ACC+ | ACC, shuffled images | ACC, no images |"]
    lines += ["| --- |" + " ---: |" * 4]
    for arm in dict.fromkeys(arm for part, _, arm, _ in found if part == "reward" and "images" not in arm):
        values = [spread("reward", "0.0", arm, each) for each in ("acc", "acc_plus")]
        values += [spread("reward", "0.0", f"{arm}, images {each}", "acc") for each in ("shuffled", "none")]
        lines.append(f"| {arm} | {' | '.join(values)} |")
    lines += ["", "| flipped | | right labels | wrong labels |", "| --- | --- | ---: | ---: |"]
    shares = dict.fromkeys(share for part, share, _, _ in found if part == "noise")
    for share in shares:
        for measure, name in (("delta_positive", "share with δ > 0"), ("beta", "mean β")):
            values = [spread("noise", share, f"labels {each}", measure) for each in ("right", "wrong")]
            lines.append(f"| {float(share):.0%} | {name} | {' | '.join(values)} |")
    lines += [
        "",
        "| flipped | policy | ACC of its log-ratio | ACC+ | answers rightly |",
        "| --- | --- |" + " ---: |" * 3,
    ]
    for share in shares:
        for policy in POLICIES:
            values = [spread("noise", share, policy, each) for each in ("acc", "acc_plus", "answered")]
            lines.append(f"| {float(share):.0%} | `{policy}` | {' | '.join(values)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})" if values else ""


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--parts", nargs="+", choices=["reward", "noise"], default=["reward", "noise"])
    made.add_argument("--out", type=Path, default=Path("scene_world.csv"), help="file to add to")
    made.add_argument("--show", type=Path, help="only print the tables of this file")
    options = made.parse_args()
    if options.show is None:
        measure(options.seeds, options.parts, options.out)
    print(show(options.show or options.out))


if __name__ == "__main__":
    main()
