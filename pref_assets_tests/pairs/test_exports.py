from itertools import chain

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.exports import trl_rows, write_rows
from pref_assets.pairs.merge import Merged, PairsSettings, merge
from pref_assets.pairs.readers import HhRlhfSource, TrlSource
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


def payloads(frame: pl.DataFrame) -> list[str]:
    return frame.write_ndjson().split("\n")[:-1]


@settings(max_examples=40, deadline=None)
@given(st.lists(dialogues(words), max_size=4), st.sampled_from(["explicit", "implicit"]))
def test_conversational_rows_read_back_to_the_same_ids(rows, prompt):
    result = merged(rows)
    back = merged(payloads(trl_rows(result.pairs, result.prompts, result.completions, prompt)))
    assert identity(back) == identity(result)


standard = st.fixed_dictionaries({"prompt": words, "chosen": words, "rejected": words})


@settings(max_examples=40, deadline=None)
@given(st.lists(standard, max_size=4))
def test_standard_rows_read_back_to_the_same_ids_and_texts(rows):
    result = merged(rows)
    frame = trl_rows(result.pairs, result.prompts, result.completions, style="standard")
    assert identity(merged(payloads(frame))) == identity(result)
    texts = {(row["prompt"], row["chosen"], row["rejected"]) for row in rows}
    assert set(frame.rows()) <= texts


@settings(max_examples=40, deadline=None)
@given(st.lists(dialogues(plain), max_size=4))
def test_transcripts_read_back_to_the_same_ids(rows):
    rows = [{**row, "prompt": [turn for turn in row["prompt"] if turn["role"] != "system"]} for row in rows]
    result = merged(rows)
    frame = trl_rows(result.pairs, result.prompts, result.completions, "implicit", "standard")
    assert identity(merged(payloads(frame), HhRlhfSource(location="x"))) == identity(result)


ROWS = [
    {"prompt": "q", "chosen": "good", "rejected": "bad", "margin": 0.5},
    {"prompt": "p", "chosen": "yes", "rejected": "no", "margin": 2.0},
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_read_back_with_their_margins(tmp_path, suffix):
    result = merged(ROWS)
    path = tmp_path / f"pairs.{suffix}"
    write_rows(trl_rows(result.pairs, result.prompts, result.completions, margin=True), path)
    back = TrlSource(location="x").read(read_rows(path, path.name, "s", "b1"))
    again = merge(back.prompts, back.completions, back.votes, PairsSettings())
    assert identity(again) == identity(result)
    assert again.pairs["strength"].to_list() == result.pairs["strength"].to_list()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_trl_s_own_loader_takes_the_file(tmp_path):
    from datasets import load_dataset
    from trl import extract_prompt

    result = merged(ROWS)
    path = tmp_path / "pairs.parquet"
    write_rows(trl_rows(result.pairs, result.prompts, result.completions, "implicit"), path)
    data = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    prompts = [extract_prompt(row)["prompt"] for row in data]
    assert sorted(turn["content"] for turns in prompts for turn in turns) == ["p", "q"]


def test_what_a_format_cannot_hold_is_refused():
    two = merged(
        [
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
                "chosen": [{"role": "assistant", "content": "a"}],
                "rejected": [{"role": "assistant", "content": "b"}],
            }
        ]
    )
    tables = two.pairs, two.prompts, two.completions
    with pytest.raises(ValueError, match=f"{two.pairs['pair_id'][0]}.*conversational"):
        trl_rows(*tables, style="standard")
    with pytest.raises(ValueError, match="transcript"):
        trl_rows(*tables, "implicit", "standard")
    with pytest.raises(ValueError, match="no strength"):
        trl_rows(*tables, margin=True)
    marked = merged([{"prompt": "q", "chosen": "a\n\nHuman: b", "rejected": "c"}])
    with pytest.raises(ValueError, match="transcript"):
        trl_rows(marked.pairs, marked.prompts, marked.completions, "implicit", "standard")


def test_files_of_another_type_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.jsonl or \.parquet"):
        write_rows(pl.DataFrame({"a": [1]}), tmp_path / "pairs.csv")
