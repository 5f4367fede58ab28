import polars as pl

from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.schema import MESSAGES
from pref_assets.pairs.texts import prompt_text, text_of, with_texts
from pref_assets_tests.pairs.build import read

TALKS = [
    [{"role": "user", "content": "Hi\n"}],
    [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}],
    [{"role": "user", "content": ""}],
]


def test_text_of_a_conversation():
    assert [prompt_text(talk) for talk in TALKS] == ["Hi\n", "system: Be kind\n\nuser: Hi", ""]


def test_the_expression_says_the_same():
    frame = pl.DataFrame({"messages": pl.Series(TALKS, dtype=MESSAGES)})
    assert frame.select(text_of("messages")).to_series().to_list() == [prompt_text(talk) for talk in TALKS]


def test_pairs_with_texts_keep_their_order():
    rows = [{"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(20)]
    records = read(rows)
    merged = merge(records.prompts, records.completions, records.votes, PairsSettings())
    pairs = merged.pairs.reverse()
    frame = with_texts(pairs, merged.prompts, merged.completions)
    assert frame["pair_id"].to_list() == pairs["pair_id"].to_list()
    for prompt, chosen, rejected in frame.select("prompt", "chosen", "rejected").iter_rows():
        number = prompt.removeprefix("q")
        assert (chosen, rejected) == (f"good {number}", f"bad {number}")
