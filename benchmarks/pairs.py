"""A whole ingestion, audit and deduplication of synthetic pairs, then a second batch of one per cent; and the same work
by ``datasets``, ``datasketch`` and ``rensa`` on a sample.

python benchmarks/pairs.py [--rows 100000] [--peer-rows 20000] [--home FOLDER] [--embed]

The pipeline runs as a user runs it, through Dagster, each run in a process of its own whose peak memory is printed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from synthetic.planted import write

SECOND = 0.01
"""Size of the second batch, as a share of the first."""
THRESHOLD = 0.8


def child(home: Path, data: Path, embed: bool) -> dict[str, Any]:
    """Runs the pipeline in this process: seconds of every asset, CPU seconds and peak memory."""
    import dagster as dg

    from pref_assets.definitions import resources
    from pref_assets.home import Home
    from pref_assets.pipeline.graph import pipeline_definitions
    from pref_assets.pipeline.run import Progress, run_pipeline
    from pref_assets.pipeline.spec_errors import parse_spec

    attributes: dict[str, Any] = {"name": "bench", "sources": {"planted": {"type": "trl", "location": str(data)}}}
    if embed:
        attributes["embeddings"] = {"minilm": {"type": "sentence_transformer"}}
    definitions = dg.Definitions.merge(
        pipeline_definitions(parse_spec(attributes)),
        dg.Definitions(resources=resources(Home(home)), executor=dg.in_process_executor),
    )
    seconds: dict[str, float] = {}

    def listen(progress: Progress) -> None:
        if progress.kind == "materialized":
            seconds[progress.name.removeprefix("bench/")] = progress.seconds or 0.0

    (home / "dagster").mkdir(parents=True, exist_ok=True)
    began, cpu = time.perf_counter(), time.process_time()
    with dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
        report = run_pipeline(instance, "bench", definitions=definitions, home=Home(home), listener=listen)
    return {
        "ok": report.ok,
        "failures": [failure.message for failure in report.failures],
        "assets": seconds,
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_child(home: Path, data: Path, embed: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(home), str(data), *(["--embed"] if embed else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not result["ok"]:
        sys.exit(f"the pipeline failed: {result['failures']}")
    return result


def pipeline(rows: int, home: Path, embed: bool) -> None:
    """First batch, second batch, what each cost, what was found and what moved."""
    from pref_assets.home import Home
    from pref_assets.tables import TableStore

    data = home / "data"
    data.mkdir(parents=True)
    truth = write(data / "first.jsonl", rows, seed=1)
    size = (data / "first.jsonl").stat().st_size / 1e6
    print(f"first batch: {rows} rows, {size:.0f} MB, {truth['kind'].value_counts().sort('kind').rows()}", flush=True)
    first = run_child(home, data, embed)
    tables = TableStore(Home(home).tables)
    before = {name: _state(tables, name) for name in ("prompts", "pairs")}
    write(data / "second.jsonl", max(1, int(rows * SECOND)), seed=2)
    second = run_child(home, data, embed)
    after = {name: _state(tables, name) for name in ("prompts", "pairs")}

    print(f"{'asset':34} {'first s':>9} {'second s':>9} {'share':>7}")
    for name in sorted(first["assets"], key=lambda each: -first["assets"][each]):
        a, b = first["assets"][name], second["assets"].get(name, 0.0)
        print(f"{name:34} {a:9.2f} {b:9.2f} {b / max(a, 1e-9):7.1%}")
    for what in ("wall", "cpu", "peak_mb"):
        print(f"{what:34} {first[what]:9.1f} {second[what]:9.1f} {second[what] / first[what]:7.1%}")
    print(f"rows a second, everything: {rows / first['wall']:.0f}")
    for name, frame in before.items():
        moved = frame.join(after[name], on=list(frame.columns), how="anti", nulls_equal=True).height
        print(f"{name} of the first batch that moved, changed split or vanished: {moved} of {frame.height}")
    _found(tables, data, truth)
    third = run_child(home, data, embed)
    print(f"a third run with nothing new: {len(third['assets'])} assets run, {third['wall']:.1f} s")


def _state(tables: Any, name: str) -> pl.DataFrame:
    columns = {"prompts": ["prompt_id", "group_id", "split"], "pairs": ["pair_id", "chosen_id", "split"]}[name]
    return tables.read(["bench", "pairs", name], columns=columns)


def _found(tables: Any, data: Path, truth: pl.DataFrame) -> None:
    """Which planted duplicates the pipeline took out, and what else."""
    key = ["bench", "pairs"]
    drops = tables.read([*key, "pair_drops"], columns=["code", "provenance"])
    votes = tables.scan(["bench", "records", "planted_votes"]).filter(pl.col("uri").str.ends_with("first.jsonl"))
    pairs = votes.select("row", sides=pl.concat_str("completion_a", "completion_b")).collect()
    copied = pairs.height - pairs["sides"].n_unique()
    dropped = drops.filter(pl.col("code") == "near_duplicate").explode("provenance").unnest("provenance")
    dropped = set(dropped.filter(pl.col("uri").str.ends_with("first.jsonl"))["row"])
    wanted = alike(data / "first.jsonl", truth)
    exact = truth.filter(kind="exact").height
    print(
        f"rows merged into the pair they repeat exactly: {copied}; planted {exact}, and near ones that changed nothing"
    )
    print(
        f"near duplicates dropped: {len(dropped)}; of {len(wanted)} planted ones with similarity >= {THRESHOLD} in "
        f"every part: {len(wanted & dropped)} (recall {len(wanted & dropped) / max(1, len(wanted)):.4f})"
    )


def alike(path: Path, truth: pl.DataFrame, limit: int = 20_000) -> set[int]:
    """Rows of planted near duplicates that are exactly as similar as the threshold asks, in each of their texts."""
    near = truth.filter(kind="near").head(limit)
    lines = _lines(path, set(near["row"]) | set(near["of"]))
    found = set()
    for row, of in near.select("row", "of").iter_rows():
        one, other = lines[row], lines[of]
        if one != other and min(jaccard(one[part], other[part]) for part in one) >= THRESHOLD:
            found.add(row)
    return found


def _lines(path: Path, wanted: set[int]) -> dict[int, dict[str, str]]:
    with path.open("rb") as stream:
        return {number: json.loads(line) for number, line in enumerate(stream, 1) if number in wanted}


def jaccard(one: str, other: str, size: int = 5) -> float:
    a, b = shingles(one, size), shingles(other, size)
    return len(a & b) / len(a | b)


def shingles(text: str, size: int = 5) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def peers(rows: int, folder: Path) -> None:
    """The same sample, read and searched for near duplicates by this project and by its peers, in CPU seconds."""
    path = folder / "sample.jsonl"
    truth = write(path, rows, seed=3)
    table = []
    records, seconds = timed(lambda: read_records(path))
    table.append(("read, ids, three tables: pref_assets", seconds, 1.0, f"{rows / seconds:.0f} rows/s"))
    _, theirs = timed(lambda: datasets_map(path, folder))
    table.append(("read, normalise, hash: datasets.map", theirs, theirs / seconds, f"{rows / theirs:.0f} rows/s"))
    wanted = alike(path, truth)
    lines = list(_lines(path, set(range(1, rows + 1))).values())
    texts = ["\n".join(line.values()) for line in lines]
    searches = {
        "near duplicates: pref_assets": lambda: our_duplicates(records),
        "near duplicates: rensa": lambda: rensa_duplicates(texts),
        "near duplicates: datasketch": lambda: datasketch_duplicates(texts),
    }
    own = 0.0
    for name, search in searches.items():
        found, seconds = timed(search)
        own = own or seconds
        said = f"recall {len(found & wanted) / max(1, len(wanted)):.3f} of {len(wanted)}, {len(found)} found"
        table.append((name, seconds, seconds / own, said))
    print(f"\n{rows} rows, one process, CPU seconds\n{'what':40} {'CPU s':>8} {'ratio':>8}  result")
    for what, seconds, ratio, result in table:
        print(f"{what:40} {seconds:8.2f} {ratio:7.1f}x  {result}")


def read_records(path: Path) -> list[Any]:
    from pref_assets.pairs.readers import TrlSource
    from pref_assets.pairs.reading import read_chunks

    source = TrlSource(location=str(path))
    return [source.read(chunk) for chunk in read_chunks(path, "sample", "planted", "b")]


def our_duplicates(records: list[Any]) -> set[int]:
    """Rows of the pairs that repeat an earlier one; merging is not counted, since the peers do not do it."""
    from pref_assets.pairs.duplicates import NearDuplicates, pair_duplicates
    from pref_assets.pairs.merge import PairsSettings, merge

    began = time.process_time()
    frames = (pl.concat([getattr(each, name) for each in records]) for name in ("prompts", "completions", "votes"))
    merged = merge(*frames, PairsSettings())
    global MERGING
    MERGING = time.process_time() - began
    arrival = pl.DataFrame({"source": ["planted"], "batch": ["b"], "sequence": [0]})
    tables = (merged.comparisons.lazy(), merged.prompts.lazy(), merged.completions.lazy())
    found = pair_duplicates(*tables, arrival, NearDuplicates(threshold=THRESHOLD))
    places = merged.comparisons.join(found, on="pair_id", how="semi").explode("provenance").unnest("provenance")
    return set(places["row"])


MERGING = 0.0
"""CPU seconds of the last merge, which ``timed`` leaves out."""


def rensa_duplicates(texts: list[str]) -> set[int]:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=128, num_bands=16)
    found, signed = set(), []
    for row, text in enumerate(texts):
        signature = RMinHash(num_perm=128, seed=0)
        signature.update(list(shingles(text)))
        signed.append(signature)
        if any(signature.jaccard(signed[other]) >= THRESHOLD for other in index.query(signature)):
            found.add(row + 1)
        else:
            index.insert(row, signature)
    return found


def datasketch_duplicates(texts: list[str]) -> set[int]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    found = set()
    signatures = MinHash.generator([[each.encode() for each in shingles(text)] for text in texts], num_perm=128)
    for row, signature in enumerate(signatures):
        if index.query(signature):
            found.add(row + 1)
        else:
            index.insert(row, signature)
    return found


def datasets_map(path: Path, folder: Path) -> int:
    import hashlib

    from datasets import load_dataset

    def normalise(rows: dict[str, list[str]]) -> dict[str, list[str]]:
        cleaned = {name: [" ".join(text.split()) for text in column] for name, column in rows.items()}
        joined = ["\n".join(parts) for parts in zip(*cleaned.values(), strict=True)]
        return {**cleaned, "id": [hashlib.sha256(text.encode()).hexdigest() for text in joined]}

    loaded = load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "datasets"))
    return len(loaded.map(normalise, batched=True))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    global MERGING
    MERGING = 0.0
    start = time.process_time()
    result = work()
    return result, time.process_time() - start - MERGING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--peer-rows", type=int, default=20_000)
    parser.add_argument("--home", type=Path, help="an empty folder to keep; a temporary one by default")
    parser.add_argument("--embed", action="store_true", help="embed too: 40 texts a second, so choose few rows")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(*given.child, given.embed)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        if given.peer_rows:
            peers(given.peer_rows, Path(temporary))
        if given.rows:
            pipeline(given.rows, given.home or Path(temporary) / "home", given.embed)


if __name__ == "__main__":
    main()
