"""The formats around TRL: what each says, what each refuses, and rows of each read, stored and written back."""

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.readers import HhRlhfSource, Source, TrlSource
from pref_assets.pairs.readers.back import records
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.llama_factory import LlamaFactoryAlpacaSource
from pref_assets.pairs.readers.llama_factory_sharegpt import LlamaFactorySharegptSource
from pref_assets.pairs.readers.openrlhf import OpenRlhfSource
from pref_assets.pairs.readers.record import Answer, Record, Vote
from pref_assets.pairs.readers.reward_bench import RewardBench2Source, RewardBenchSource
from pref_assets.pairs.readers.skywork import SkyworkSource
from pref_assets.pairs.readers.ultrafeedback_binarized import UltraFeedbackBinarizedSource
from pref_assets.pairs.readers.unpaired import UnpairedSource
from pref_assets_tests.pairs.build import read, refusals

HERE = {"location": "rows.jsonl"}
said = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda text: text + "x")
names = st.sampled_from(["one", "two"])
extras = st.dictionaries(st.sampled_from(["id", "source_of", "tags"]), st.one_of(st.integers(), said, st.just(["t"])))
two = st.lists(said, min_size=2, max_size=2, unique=True)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }


@st.composite
def plain(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation of text up to a question."""
    system = [{"role": "system", "content": draw(said)}] if draw(st.booleans()) else []
    turns = [turn for _ in range(draw(st.integers(0, 2))) for turn in (user(draw(said)), assistant(draw(said)))]
    return [*system, *turns, user(draw(said))]


@st.composite
def rich(draw: st.DrawFn) -> dict[str, Any]:
    """A prompt with some of: image parts and their images, a name, calls, tools."""
    row: dict[str, Any] = {"prompt": draw(plain())}
    if draw(st.booleans()):
        row["prompt"][-1] = user([{"type": "image"}, {"type": "text", "text": draw(said)}, {"type": "image"}])
        row["images"] = ["a.png", draw(said)]
    if draw(st.booleans()):
        result = {"role": "tool", "content": draw(said), "name": "look"}
        row["prompt"] += [call("look", at=draw(said), deep=None), result]
        row["tools"] = [{"type": "function", "function": {"name": "look", "parameters": {"at": {"default": None}}}}]
    if draw(st.booleans()):
        row["prompt"][0] = {**row["prompt"][0], "name": draw(names)}
    return row


@st.composite
def trl(draw: st.DrawFn) -> dict[str, Any]:
    first, second = draw(two)
    row = draw(rich()) | draw(extras)
    row |= {"chosen": [assistant(first)], "rejected": [draw(st.sampled_from([assistant(second), call("look", at=3)]))]}
    optional = {
        "margin": st.integers(0, 5),
        "chosen_model": names,
        "annotator": said,
        "score_rejected": st.floats(0, 9),
    }
    return row | draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def implicit(draw: st.DrawFn, more: st.SearchStrategy[dict[str, Any]] = extras) -> dict[str, Any]:
    asked, sides = draw(plain()), draw(two)
    return draw(more) | {n: [*asked, assistant(s)] for n, s in zip(("chosen", "rejected"), sides, strict=True)}


@st.composite
def binarized(draw: st.DrawFn) -> dict[str, Any]:
    row = draw(implicit(st.fixed_dictionaries({"prompt_id": said})))
    scores = sorted(draw(st.lists(st.integers(0, 20), min_size=2, max_size=2)))
    numbers = {"score_rejected": scores[0] / 2, "score_chosen": scores[1] / 2}
    return {"prompt": row["chosen"][-2]["content"], "messages": row["chosen"], **numbers, **row}


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    first, second = draw(two)
    return {"prompt": draw(said), "chosen": first, "rejected": second}


@st.composite
def bench_2(draw: st.DrawFn) -> dict[str, Any]:
    answers = draw(st.lists(said, min_size=2, max_size=6, unique=True))
    better = draw(st.integers(1, len(answers) - 1))
    counts = {"num_correct": better, "num_incorrect": len(answers) - better, "total_completions": len(answers)}
    row = {"prompt": draw(said), "chosen": answers[:better], "rejected": answers[better:], **counts}
    models = st.lists(names, min_size=len(answers), max_size=len(answers))
    return row | draw(st.fixed_dictionaries({"id": said, "subset": names}, optional={"models": models}))


def transcript(turns: list[dict[str, Any]]) -> str:
    return "".join(f"\n\n{'Human' if t['role'] == 'user' else 'Assistant'}: {t['content']}" for t in turns)


@st.composite
def transcripts(draw: st.DrawFn) -> dict[str, Any]:
    row = draw(implicit())
    return {
        name: transcript([turn for turn in value if turn["role"] != "system"])
        if name in ("chosen", "rejected")
        else value
        for name, value in row.items()
    }


@st.composite
def alpaca(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {"instruction": draw(said), "input": ""} | draw(extras)
    pairs = st.lists(st.lists(said, min_size=2, max_size=2), min_size=1, max_size=2)
    row |= draw(st.fixed_dictionaries({}, optional={"history": pairs, "system": said}))
    if draw(st.booleans()):
        row |= {"instruction": f"<image>{row['instruction']}", "images": ["a.png"]}
    if draw(st.booleans()):
        return row | {"output": draw(said), "kto_tag": draw(st.booleans())}
    return row | dict(zip(("chosen", "rejected"), draw(two), strict=True))


@st.composite
def sharegpt(draw: st.DrawFn) -> dict[str, Any]:
    tags = {"user": "human", "assistant": "gpt"}
    turns = [{"from": tags[t["role"]], "value": t["content"]} for t in draw(plain()) if t["role"] != "system"]
    row: dict[str, Any] = {"conversations": turns} | draw(st.fixed_dictionaries({}, optional={"system": said}))
    if draw(st.booleans()):
        calls = [{"arguments": {"at": draw(said)}, "name": "look"}] * draw(st.integers(1, 2))
        value = json.dumps(calls if len(calls) > 1 else calls[0], separators=(",", ":"), ensure_ascii=False)
        turns += [{"from": "function_call", "value": value}, {"from": "observation", "value": draw(said)}]
        row["tools"] = '[{"name":"look"}]'
    if draw(st.booleans()):
        turns.append({"from": "gpt", "value": draw(said)})
        return row | {"kto_tag": draw(st.booleans())}
    sides = ({"from": "gpt", "value": value} for value in draw(two))
    return row | dict(zip(("chosen", "rejected"), sides, strict=True))


@st.composite
def unpaired(draw: st.DrawFn) -> dict[str, Any]:
    row = draw(rich()) | {"completion": [assistant(draw(said))], "label": draw(st.booleans())}
    return row | draw(st.fixed_dictionaries({}, optional={"model": names, "annotator": said}))


FORMATS: dict[str, tuple[Source, st.SearchStrategy[dict[str, Any]]]] = {
    "trl": (TrlSource(**HERE), trl()),
    "trl implicit": (TrlSource(**HERE, prompt_format="implicit"), implicit()),
    "trl standard": (TrlSource(**HERE, style="standard"), texts()),
    "trl_unpaired": (UnpairedSource(**HERE), unpaired()),
    "alpaca": (LlamaFactoryAlpacaSource(**HERE), alpaca()),
    "sharegpt": (LlamaFactorySharegptSource(**HERE), sharegpt()),
    "openrlhf": (OpenRlhfSource(**HERE), implicit()),
    "openrlhf texts": (OpenRlhfSource(**HERE, prompt_key="prompt", style="text"), texts()),
    "skywork": (SkyworkSource(**HERE), implicit()),
    "ultrafeedback_binarized": (UltraFeedbackBinarizedSource(**HERE), binarized()),
    "reward_bench": (
        RewardBenchSource(**HERE),
        st.builds(lambda row, a, b: {**row, "chosen_model": a, "rejected_model": b}, texts(), names, names),
    ),
    "reward_bench_2": (RewardBench2Source(**HERE), bench_2()),
    "hh_rlhf": (HhRlhfSource(**HERE), transcripts()),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_row_is_read_stored_and_written_back_as_it_was(name: str, data: st.DataObject) -> None:
    source, rows = FORMATS[name]
    row = data.draw(rows)
    kept = json.dumps(row)
    result = read([row], source)
    assert result.quarantine.height == 0
    stored = [
        frame.sample(fraction=1.0, shuffle=True, seed=0) for frame in (result.prompts, result.completions, result.votes)
    ]
    [(uri, number, record)] = records(*stored)
    assert (uri, number) == ("rows.jsonl", 1)
    assert source.row(record) == row
    assert json.dumps(row) == kept


@pytest.mark.parametrize("name", FORMATS)
def test_a_record_that_a_format_cannot_hold_is_not_written(name: str) -> None:
    source, _ = FORMATS[name]
    answers = [Answer([("assistant", "a")]), Answer([("assistant", "b")])]
    both = Record([("user", "Hi")], answers, [Vote(0, 1, "a", rationale="because")])
    tie = Record([("user", "Hi")], answers, [Vote(0, 1, "tie")])
    inside = Record([("user", "Hi")], answers, [Vote(0, 1, "a")], context="by length")
    for record in (both, tie, inside):
        with pytest.raises(NoWayBackError):
            source.row(record)


def test_the_worse_answer_may_come_first_in_a_record() -> None:
    answers = [Answer([("assistant", "bad")]), Answer([("assistant", "good")], "m")]
    row = TrlSource(**HERE).row(Record([("user", "Hi")], answers, [Vote(0, 1, "b", strength=2.0)]))
    assert (row["chosen"], row["chosen_model"], row["margin"]) == ([assistant("good")], "m", 2)


def test_records_of_several_rows_and_ids_of_one_prompt_stay_apart() -> None:
    rows = [{"prompt": "Hi", "chosen": "a", "rejected": "b"}, {"prompt": "Hi", "chosen": "b", "rejected": "a"}]
    result = read(rows)
    found = list(records(result.prompts, result.completions, result.votes))
    assert [(number, [answer.turns[0][1] for answer in record.answers]) for _, number, record in found] == [
        (1, ["a", "b"]),
        (2, ["b", "a"]),
    ]
    assert [[(v.a, v.b, v.choice) for v in record.votes] for _, _, record in found] == [[(0, 1, "a")]] * 2


def test_a_vote_across_prompts_is_no_record() -> None:
    result = read([{"prompt": "Hi", "chosen": "a", "rejected": "b"}])
    votes = result.votes.with_columns(prompt_id=pl.lit(None, pl.String))
    with pytest.raises(ValueError, match=r"rows.jsonl, row 1: .*two prompts"):
        list(records(result.prompts, result.completions, votes))


SIDES = {"chosen": [assistant("a")], "rejected": [assistant("b")]}
IMAGE = {"type": "image"}


@pytest.mark.parametrize(
    ("row", "images"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "image": "x.png"}, ["x.png"]),
        ({"prompt": "Hi", **SIDES, "images": [{"bytes": None, "path": "x.png"}]}, ["x.png"]),
        ({"prompt": [user([{**IMAGE, "image": "x.png"}])], **SIDES}, ["x.png"]),
        ({"prompt": [user([{"type": "image_url", "image_url": {"url": "u"}}])], **SIDES}, ["u"]),
        ({"prompt": [user([IMAGE, {**IMAGE, "path": "y"}, IMAGE])], **SIDES, "images": ["x", "z"]}, ["x", "y", "z"]),
        (
            {name: [user([{**IMAGE, "image": "x"}]), turn] for name, [turn] in SIDES.items()},
            ["x"],
        ),
    ],
)
def test_images_wherever_they_are(row: dict[str, Any], images: list[str]) -> None:
    assert read([row]).prompts["images"].to_list() == [images]


def test_a_part_that_brings_its_image_reads_as_one_that_points_to_the_column() -> None:
    first = {"prompt": [user([{**IMAGE, "image": "x", "text": None}])], **SIDES}
    second = {"prompt": [user([IMAGE])], **SIDES, "images": ["x"]}
    ids = read([first, second]).prompts["prompt_id"]
    assert ids[0] == ids[1]


def test_null_fields_that_a_table_fills_in_are_no_fields() -> None:
    filled = {"role": "user", "content": "Hi", "tool_calls": None, "name": None}
    ids = read([{"prompt": [filled], **SIDES}, {"prompt": "Hi", **SIDES, "tools": [], "images": None}]).prompts[
        "prompt_id"
    ]
    assert ids[0] == ids[1]


def test_tools_as_text_and_as_objects_are_the_same() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    rows = [{"prompt": "Hi", **SIDES, "tools": value} for value in (tools, json.dumps(tools), [json.dumps(tools[0])])]
    prompts = read(rows).prompts
    assert prompts["prompt_id"].n_unique() == 1
    assert prompts["messages"][0][0] == {"role": "tools", "content": '[{"function":{"name":"f"},"type":"function"}]'}


SHOWN = [user([{**IMAGE, "image": "x"}]), assistant("a")]
LOST = {"messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("source", "row", "code", "says"),
    [
        (TrlSource, {"prompt": [user([IMAGE])], **SIDES}, "image_count", "the row brings 0"),
        (TrlSource, {"prompt": [user([IMAGE])], **SIDES, "images": ["a", "b"]}, "image_count", "brings 2"),
        (TrlSource, {"prompt": "Hi", **SIDES, "chosen": [assistant([IMAGE])]}, "image_in_answer", "`chosen`"),
        (
            TrlSource,
            {"chosen": SHOWN, "rejected": [user([{**IMAGE, "image": "y"}]), assistant("b")]},
            "prompts_differ",
            "images",
        ),
        (TrlSource, {"prompt": "Hi", **SIDES, "images": "x.png"}, "wrong_type", "`images`"),
        (TrlSource, {"prompt": "Hi", **SIDES, "tools": "{"}, "wrong_type", "`tools`"),
        (TrlSource, {"prompt": "Hi", **SIDES, "tools": {"a": 1}}, "wrong_type", "`tools`"),
        (TrlSource, {"prompt": "Hi", **SIDES, "chosen": [assistant(None)]}, "missing_field", "`chosen[0].content`"),
        (TrlSource, {"prompt": [user([{"text": "x"}])], **SIDES}, "wrong_type", "`prompt[0].content[0]`"),
        (TrlSource, {"prompt": [user([{"type": "text"}])], **SIDES}, "wrong_type", "`prompt[0].content[0].text`"),
        (TrlSource, {"prompt": [user([{"type": "text", "text": " "}])], **SIDES}, "empty_prompt", "`prompt`"),
        (
            TrlSource,
            {"prompt": "Hi", **SIDES, "chosen": [{**assistant(" "), "name": "n"}]},
            "empty_side",
            "`chosen`",
        ),
        (TrlSource, {"prompt": [user("Hi"), call("f")], **SIDES}, "role_order", "ends with 'assistant'"),
        (UnpairedSource, {"prompt": "Hi", "completion": "a", "label": "yes"}, "wrong_type", "`label` is 'yes'"),
        (UnpairedSource, {"prompt": "Hi", "completion": "a"}, "missing_field", "`label`"),
        (UnpairedSource, {"prompt": "Hi", "completion": " ", "label": 1}, "empty_side", "`completion`"),
        (SkyworkSource, {"chosen": "Hi a", "rejected": "Hi b"}, "missing_field", "implicit"),
        (
            UltraFeedbackBinarizedSource,
            {
                "prompt": "Hi",
                "chosen": [user("Hi"), assistant("a")],
                "rejected": [user("Hi"), assistant("b")],
                "score_chosen": 1,
                "score_rejected": 2.5,
            },
            "contradictory_scores",
            "1, below `score_rejected` 2.5",
        ),
        (RewardBench2Source, {"prompt": "Hi", "chosen": ["a"], "rejected": ["a"]}, "identical_sides", "`rejected`"),
        (RewardBench2Source, {"prompt": "Hi", "chosen": ["a"], "rejected": []}, "empty_side", "empty list"),
        (RewardBench2Source, {"prompt": "Hi", "chosen": "a", "rejected": ["b"]}, "wrong_type", "`chosen`"),
        (LlamaFactoryAlpacaSource, {"instruction": "", "chosen": "a", "rejected": "b"}, "missing_field", "`input`"),
        (LlamaFactoryAlpacaSource, {"instruction": "Hi", "chosen": "a", "rejected": 3}, "wrong_type", "`rejected`"),
        (
            LlamaFactoryAlpacaSource,
            {"instruction": "Hi", "chosen": "a", "rejected": "b", "history": [["x"]]},
            "wrong_type",
            "`history[0]`",
        ),
        (
            LlamaFactoryAlpacaSource,
            {"instruction": "<image><image>", "chosen": "a", "rejected": "b", "images": ["x"]},
            "image_count",
            "2 `<image>`",
        ),
        (
            LlamaFactorySharegptSource,
            {"conversations": [{"from": "bot", "value": "x"}], "kto_tag": True},
            "unknown_role",
            "`conversations[0].from` is 'bot'",
        ),
        (
            LlamaFactorySharegptSource,
            {
                "conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "f(x)"}],
                "kto_tag": True,
            },
            "wrong_type",
            "`conversations[1].value`",
        ),
    ],
)
def test_bad_rows(source: type[Source], row: dict[str, Any], code: str, says: str) -> None:
    result = read([row], source(**HERE))
    assert refusals(result) == [(1, code)]
    assert says in result.quarantine["reason"][0]


def test_unpaired_labels_are_ratings_that_pair_up() -> None:
    rows = [
        {"prompt": "Hi", "completion": text, "label": label} for text, label in (("a", True), ("b", 0), ("c", False))
    ]
    result = read(rows, UnpairedSource(**HERE))
    assert [ratings[0]["value"] for ratings in result.completions["ratings"]] == [1.0, 0.0, 0.0]
    assert result.prompts["prompt_id"].n_unique() == 1


def test_equal_scores_are_a_tie_unless_told_otherwise() -> None:
    row = {"prompt": "Hi", "score_chosen": 7, "score_rejected": 7}
    row |= {"chosen": [user("Hi"), assistant("a")], "rejected": [user("Hi"), assistant("b")]}
    source = UltraFeedbackBinarizedSource(**HERE)
    assert source.record(row).votes[0].choice == "tie"
    assert source.model_copy(update={"equal_scores": "chosen"}).record(row).votes[0].choice == "a"


def test_reward_bench_2_compares_every_chosen_with_every_rejected_answer() -> None:
    row = {"prompt": "Hi", "chosen": ["a", "b"], "rejected": ["c", " ", "d"], "num_correct": 2, "models": ["m"]}
    record = RewardBench2Source(**HERE).record(row)
    assert [(vote.a, vote.b, vote.choice) for vote in record.votes] == [
        (0, 2, "a"),
        (0, 3, "a"),
        (1, 2, "a"),
        (1, 3, "a"),
    ]
    assert [str(error) for error in record.refused] == ["field `rejected[1]` is empty or only whitespace"]
    assert record.metadata == {"models": ["m"]}


def test_the_two_layouts_of_llama_factory_and_trl_agree_on_the_same_conversation() -> None:
    alpaca_row = {
        "instruction": "Look:",
        "input": "<image>",
        "system": "Be kind",
        "history": [["Hi", "Hello"]],
        "images": ["x.png"],
        "chosen": "a",
        "rejected": "b",
        "tools": '[{"name": "f"}]',
    }
    turns = [("human", "Hi"), ("gpt", "Hello"), ("human", "Look:\n<image>")]
    sharegpt_row = {
        "conversations": [{"from": who, "value": what} for who, what in [("system", "Be kind"), *turns]],
        "images": ["x.png"],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
        "tools": '[{"type": "function", "function": {"name": "f"}}]',
    }
    trl_row = {
        "prompt": [
            {"role": "system", "content": "Be kind"},
            user("Hi"),
            assistant("Hello"),
            user([{"type": "text", "text": "Look:\n"}, IMAGE]),
        ],
        "images": ["x.png"],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        **SIDES,
    }
    sources = (LlamaFactoryAlpacaSource, alpaca_row), (LlamaFactorySharegptSource, sharegpt_row), (TrlSource, trl_row)
    results = [read([row], source(**HERE)) for source, row in sources]
    for table in ("prompts", "completions", "votes"):
        assert len({str(getattr(result, table).rows()) for result in results}) == 1
