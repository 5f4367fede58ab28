"""Puts the data set together: batch files, the truth beside them, and the recipe that made both."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pref_assets.models.reference import identity
from pref_assets.synthesis.verifiable.faults import (
    EXACT,
    MALFORMED,
    Faults,
    add_empty_answers,
    assign_annotators,
    malformed_lines,
    near_duplicates,
    truncated_items,
)
from pref_assets.synthesis.verifiable.prompts import Prompt
from pref_assets.synthesis.verifiable.rows import Item, truth_row
from pref_assets.synthesis.verifiable.sampling import Answering

FILES = ("batches/part_1.jsonl.gz", "batches/part_2.jsonl.gz", "batches/malformed.jsonl")
"""The last one also holds the lines that cannot be read."""
Line = tuple[str, Item | None, list[str], str | None]
"""Text of a line, the row it holds if any, faults of the line itself, and the quarantine code it earns if any."""
TRUTH = "truth.jsonl.gz"
RECIPE = "recipe.json"


def write_dataset(
    prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], answering: Answering, faults: Faults, folder: Path
) -> dict[str, Any]:
    """Plants the faults, writes all files under ``folder`` and returns the recipe. Equal inputs give equal bytes."""
    rng = random.Random(faults.seed)
    model = identity(answering.model)
    items = [Item.of(prompt, texts, model) for prompt, texts in zip(prompts, answers, strict=True)]
    measured = _measure(items)
    assign_annotators(items, faults, rng)
    clean = [item for item in items if not item.spoiled()]
    everything = items + near_duplicates(clean, faults, rng) + truncated_items(clean, faults, rng)
    rng.shuffle(everything)
    files: list[list[Item]] = [everything[number :: len(FILES)] for number in range(len(FILES))]
    # Not in the last file, whose share of bad rows the malformed lines already make.
    add_empty_answers([item for part in files[:-1] for item in part if not item.faults], faults, rng)
    written = [[(_dumps(item.row()), item) for item in part] for part in files]
    _write(folder, written, faults, rng)
    recipe = _recipe(len(prompts), answering, faults, measured, folder)
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return recipe


def _write(folder: Path, files: list[list[tuple[str, Item]]], faults: Faults, rng: random.Random) -> None:
    lines: list[list[Line]] = [[(line, item, [], None) for line, item in part] for part in files]
    candidates = [
        (number, line, item) for number, part in enumerate(files) for line, item in part if not item.spoiled()
    ]
    count = round(faults.exact_duplicates * sum(map(len, files)))
    for number, line, item in rng.sample(candidates, min(count, len(candidates))):
        lines[(number + 1) % len(files)].append((line, item, [EXACT], None))
    lines[-1] += [(text, None, [MALFORMED], code) for text, code in malformed_lines(files[-1][0][1])]
    truth = []
    for name, placed in zip(FILES, lines, strict=True):
        rng.shuffle(placed)
        for row, (_, source, extra, code) in enumerate(placed, start=1):
            truth += _truth(name, row, source, extra, code)
        _save(folder / name, [line for line, *_ in placed])
    _save(folder / TRUTH, [_dumps(row) for row in truth])


def _truth(file: str, row: int, item: Item | None, faults: list[str], code: str | None) -> list[dict[str, Any]]:
    if item is None:
        return [{**truth_row(file, row, faults), "quarantine": code}]
    if not faults:
        return item.truth_rows(file, row)
    return [{**truth_row(file, row, faults), "prompt_id": item.prompt_id, "family": item.families()}]


def _save(path: Path, lines: Sequence[str]) -> None:
    """Writes whole or not at all; no time of writing in the archive, so that equal content is equal bytes."""
    data = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(gzip.compress(data, compresslevel=9, mtime=0) if path.suffix == ".gz" else data)
    temporary.replace(path)


def _measure(items: Sequence[Item]) -> dict[str, Any]:
    """What the model did, before any fault: verdicts by family, and how often answers differ."""
    met: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    pairs = 0
    for item in items:
        for value in item.row()["completions"]:
            for rating in value["ratings"]:
                asked[rating["dimension"]] += 1
                met[rating["dimension"]] += rating["value"]
        shares = list({answer.text: item.truth(answer) for answer in item.answers}.values())
        pairs += sum(a != b for i, a in enumerate(shares) for b in shares[:i])
    return {
        "prompts_with_different_verdicts": round(sum(item.differs() for item in items) / len(items), 4),
        "pairs_with_a_winner": pairs,
        "share_met_by_family": {family: round(met[family] / asked[family], 4) for family in sorted(asked)},
        "answers_by_family": {family: asked[family] for family in sorted(asked)},
    }


def _recipe(
    prompts: int, answering: Answering, faults: Faults, measured: dict[str, Any], folder: Path
) -> dict[str, Any]:
    with gzip.open(folder / TRUTH, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    planted = Counter(fault for row in rows for fault in row["faults"])
    return {
        "prompts": prompts,
        "model": identity(answering.model),
        "answering": answering.model_dump(mode="json"),
        "faults": faults.model_dump(mode="json"),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "measured": measured,
        "truth_rows_by_fault": dict(sorted(planted.items())),
        "rows_by_file": {name: _count(folder / name) for name in FILES},
    }


def _count(path: Path) -> int:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).count(b"\n")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
