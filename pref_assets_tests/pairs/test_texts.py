import polars as pl

from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.schema import MESSAGES
from pref_assets.pairs.texts import content_text, contents_of, prompt_text, text_of, with_texts
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


CALL = {"role": "assistant+json", "content": '{"tool_calls":[{"function":{"arguments":{"b":1,"a":2},"name":"f"}}]}'}
RICH = [
    [
        {"role": "tools", "content": '[{"function":{"description":"Adds","name":"f"},"type":"function"},{"name":"g"}]'},
        {"role": "user+json", "content": '{"content":[{"type":"image"},{"text":"What?","type":"text"}]}'},
        CALL,
        {"role": "tool+json", "content": '{"content":"3","name":"f"}'},
    ],
    [CALL],
    [{"role": "assistant+json", "content": '{"content":"So.","reasoning_content":"Hm."}'}],
]


def test_turns_that_hold_more_than_text_are_readable():
    assert [prompt_text(talk) for talk in RICH] == [
        'tools: f: Adds\ng\n\nuser: <image>What?\n\nassistant: f({"a":2,"b":1})\n\ntool: 3',
        'f({"a":2,"b":1})',
        "Hm.\nSo.",
    ]
    assert content_text(RICH[0]) == 'f: Adds\ng\n\n<image>What?\n\nf({"a":2,"b":1})\n\n3'


def test_the_expressions_say_the_same_of_them_lazily_and_of_null():
    talks = [*TALKS, None, *RICH, []]
    frame = pl.LazyFrame({"messages": pl.Series(talks, dtype=MESSAGES)})
    got = frame.select(pl.all(), text=text_of("messages"), content=contents_of("messages")).collect()
    assert got["text"].to_list() == [None if talk is None else prompt_text(talk) for talk in talks]
    assert got["content"].to_list() == [None if talk is None else content_text(talk) for talk in talks]
    assert got["messages"].to_list() == talks
