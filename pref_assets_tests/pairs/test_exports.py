from itertools import chain

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.exports import pair_rows, write_rows
from pref_assets.pairs.merge import Merged, PairsSettings, merge
from pref_assets.pairs.readers import CompletionsSource, HhRlhfSource, Source, TrlSource
from pref_assets.pairs.readers.openrlhf import OpenRlhfSource
from pref_assets.pairs.readers.unpaired import UnpairedSource
from pref_assets.pairs.reading import read_rows
from pref_assets_tests.pairs.build import read, together

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip())
plain = st.text('ab \n.:é😀"\\', min_size=1, max_size=12).filter(lambda text: text.strip())


def turns(content):
    """A conversation that ends with a question, with or without a system turn."""
    system = st.lists(content.map(lambda text: {"role": "system", "content": text}), max_size=1)
    exchange = st.tuples(content, content).map(
        lambda said: [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}]
    )
    question = content.map(lambda text: [{"role": "user", "content": text}])
    return st.builds(lambda s, e, q: [*s, *chain(*e), *q], system, st.lists(exchange, max_size=2), question)


def answer(content):
    return content.map(lambda text: [{"role": "assistant", "content": text}])


def dialogues(content):
    return st.fixed_dictionaries({"prompt": turns(content), "chosen": answer(content), "rejected": answer(content)})


def merged(rows, reader=None) -> Merged:
    return merge(*together(read(rows, reader)), PairsSettings())


def identity(result: Merged) -> list[tuple]:
    return result.pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id").rows()


def export(result: Merged, style: Source | None = None, **options) -> list[dict]:
    tables = result.pairs.lazy(), result.prompts.lazy(), result.completions.lazy()
    return list(pair_rows(style or TrlSource(location="x"), *tables, **options))


@settings(max_examples=40, deadline=None)
@given(st.lists(dialogues(words), max_size=4), st.sampled_from(["explicit", "implicit"]))
def test_conversational_rows_read_back_to_the_same_ids(rows, prompt):
    result = merged(rows)
    back = merged(export(result, TrlSource(location="x", prompt_format=prompt)))
    assert identity(back) == identity(result)


standard = st.fixed_dictionaries({"prompt": words, "chosen": words, "rejected": words})


@settings(max_examples=40, deadline=None)
@given(st.lists(standard, max_size=4))
def test_standard_rows_read_back_to_the_same_ids_and_texts(rows):
    result = merged(rows)
    written = export(result, TrlSource(location="x", style="standard"))
    assert identity(merged(written)) == identity(result)
    texts = {(row["prompt"], row["chosen"], row["rejected"]) for row in rows}
    assert {(row["prompt"], row["chosen"], row["rejected"]) for row in written} <= texts


@settings(max_examples=40, deadline=None)
@given(st.lists(dialogues(plain), max_size=4))
def test_transcripts_read_back_to_the_same_ids(rows):
    rows = [{**row, "prompt": [turn for turn in row["prompt"] if turn["role"] != "system"]} for row in rows]
    result, style = merged(rows), HhRlhfSource(location="x")
    assert identity(merged(export(result, style), style)) == identity(result)


ROWS = [
    {"prompt": "q", "chosen": "good", "rejected": "bad", "margin": 0.5, "chosen_model": "m"},
    {"prompt": "p", "chosen": "yes", "rejected": "no", "margin": 2.0},
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_read_back_with_their_margins_and_models(tmp_path, suffix):
    result = merged(ROWS)
    path = tmp_path / f"pairs.{suffix}"
    assert write_rows(export(result, margin=True), path) == 2
    back = TrlSource(location="x").read(read_rows(path, path.name, "s", "b1"))
    again = merge(back.prompts, back.completions, back.votes, PairsSettings())
    assert identity(again) == identity(result)
    assert again.pairs["strength"].to_list() == result.pairs["strength"].to_list()
    assert again.completions["model"].to_list() == result.completions["model"].to_list()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_of_no_pairs(tmp_path):
    assert write_rows([], tmp_path / "pairs.parquet") == 0
    assert pl.read_parquet(tmp_path / "pairs.parquet").height == 0
    assert write_rows([], tmp_path / "pairs.jsonl") == 0


def test_trl_s_own_loader_takes_the_file(tmp_path):
    from datasets import load_dataset
    from trl import extract_prompt

    path = tmp_path / "pairs.parquet"
    write_rows(export(merged(ROWS), TrlSource(location="x", prompt_format="implicit")), path)
    data = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    prompts = [extract_prompt(row)["prompt"] for row in data]
    assert sorted(turn["content"] for turns in prompts for turn in turns) == ["p", "q"]


def test_unpaired_rows_are_those_trl_makes_itself():
    from datasets import Dataset
    from trl import unpair_preference_dataset

    result = merged([{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in ROWS])
    ours = export(result, UnpairedSource(location="x"))
    theirs = unpair_preference_dataset(Dataset.from_list(export(result)))
    key = lambda row: (row["prompt"][0]["content"], row["label"])  # noqa: E731
    assert sorted(ours, key=key) == sorted(theirs, key=key)


def test_a_label_of_many_votes_is_written_as_the_pipeline_settled_it():
    row = {"prompt": "q", "completions": [{"content": "a"}, {"content": "b"}]}
    votes = [
        {"a": 0, "b": 1, "choice": choice, "annotator": who} for choice, who in (("b", "x"), ("b", "y"), ("a", "z"))
    ]
    result = merged([{**row, "votes": votes}], CompletionsSource(location="x"))
    [written] = export(result, OpenRlhfSource(location="x", prompt_key="q", style="text"))
    assert written == {"q": "q", "chosen": "b", "rejected": "a"}


def test_images_and_tools_are_written():
    asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
    row = {
        "prompt": [asked],
        "chosen": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": None}}}]}],
        "rejected": [{"role": "assistant", "content": "b"}],
        "images": ["cat.png"],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    assert export(merged([row]), image=lambda uri: f"folder/{uri}") == [{**row, "images": ["folder/cat.png"]}]


def test_what_a_format_cannot_hold_is_refused():
    system = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    two = merged(
        [
            {
                "prompt": system,
                "chosen": [{"role": "assistant", "content": "a"}],
                "rejected": [{"role": "assistant", "content": "b"}],
            }
        ]
    )
    pair = two.pairs["pair_id"][0]
    with pytest.raises(ValueError, match=f"pair {pair}: the format holds one question"):
        export(two, TrlSource(location="x", style="standard"))
    with pytest.raises(ValueError, match=f"pair {pair}: .*'system'"):
        export(two, HhRlhfSource(location="x"))
    with pytest.raises(ValueError, match=f"pair {pair}: it has no strength"):
        export(two, margin=True)
    marked = merged([{"prompt": "q", "chosen": "a\n\nHuman: b", "rejected": "c"}])
    with pytest.raises(ValueError, match="`hh_rlhf` cannot hold"):
        export(marked, HhRlhfSource(location="x"))


def test_files_of_another_type_and_rows_that_parquet_would_change_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.jsonl or \.parquet"):
        write_rows([{"a": 1}], tmp_path / "pairs.csv")
    with pytest.raises(ValueError, match=r"row 2: field `a`.*\.jsonl"):
        write_rows([{"a": "x"}, {"a": [{"role": "user", "name": "n", "content": "x"}]}], tmp_path / "pairs.parquet")
    assert list(tmp_path.iterdir()) == []
