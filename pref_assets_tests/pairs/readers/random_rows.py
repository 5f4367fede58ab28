"""Random rows of the formats with ratings, votes and ranks, as their publishers write them."""

import json
from typing import Any

from hypothesis import strategies as st

from pref_assets.pairs.readers import CompletionsSource, Source
from pref_assets.pairs.readers.arena import ArenaSource
from pref_assets.pairs.readers.helpsteer2 import HelpSteer2Source
from pref_assets.pairs.readers.helpsteer3 import HelpSteer3Source
from pref_assets.pairs.readers.icai import IcaiSource
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.multipref import MultiPrefSource
from pref_assets.pairs.readers.ranked import NemoRlSource, RankedSource
from pref_assets.pairs.readers.rlaif_v import RlaifVSource
from pref_assets.pairs.readers.shp import ShpSource
from pref_assets.pairs.readers.tagged import tagged_text
from pref_assets.pairs.readers.ultrafeedback import UltraFeedbackSource

WHERE = "rows.jsonl"

_characters = st.characters(exclude_categories=["Cs"])
said = st.text(_characters, min_size=1, max_size=12).map(lambda text: text + "x")
names = st.sampled_from(["one", "two", "three"])
extras = st.dictionaries(st.sampled_from(["id", "domain", "tags"]), st.one_of(st.integers(), said, st.none()))
pairs = st.lists(said, min_size=2, max_size=2, unique=True)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _sides(row: dict[str, Any], sides: list[str], first: str, second: str) -> dict[str, Any]:
    return row | dict(zip((first, second), sides, strict=True))


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[str, str]]:
    count = 2 * draw(st.integers(0, 2)) + 1
    return [("assistant" if place % 2 else "user", draw(said)) for place in range(count)]


def _messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def rated(annotators: bool) -> st.SearchStrategy[dict[str, Any]]:
    score = st.integers(0, 4)
    value = st.lists(score, min_size=1, max_size=3) if annotators else score
    return st.fixed_dictionaries(
        {"prompt": conversations().map(tagged_text), "response": said, "helpfulness": value},
        optional={"correctness": value, "verbosity": value},
    )


HELPSTEER2 = st.builds(
    lambda row, sides: _sides(row, sides, "response_1", "response_2"),
    st.fixed_dictionaries(
        {
            "prompt": conversations().map(tagged_text),
            "preference_strength": st.integers(-3, 3),
            "three_most_similar_preferences": st.lists(
                st.fixed_dictionaries({"strength": st.integers(-3, 3), "statement": said, "elaboration": said}),
                min_size=1,
                max_size=3,
            ),
        },
        optional={"split": names, "preference_statement": said},
    ),
    pairs,
)
HELPSTEER3 = st.builds(
    lambda row, sides: _sides(row, sides, "response1", "response2"),
    st.fixed_dictionaries(
        {
            "context": conversations().map(_messages),
            "overall_preference": st.integers(-3, 3),
            "individual_preference": st.lists(
                st.fixed_dictionaries({"score": st.integers(-3, 3)}, optional={"reasoning": said, "feedback1": said}),
                min_size=1,
                max_size=3,
            ),
        },
    ),
    pairs,
)


def _evaluator(annotation: Any) -> Any:
    return annotation["evaluator"]


LABELS = st.sampled_from(list(MultiPrefSource.model_fields["labels"].default))
MULTIPREF = st.builds(
    lambda row, sides: _sides(row, sides, "completion_a", "completion_b"),
    st.fixed_dictionaries(
        {
            "text": said,
            "model_a": names,
            "model_b": names,
            **{
                field: st.lists(
                    st.fixed_dictionaries(
                        {"evaluator": said, "overall_pref": LABELS},
                        optional={"helpful_pref": LABELS, "overall_checked_reasons": st.lists(said)},
                    ),
                    min_size=1,
                    max_size=2,
                    unique_by=_evaluator,
                )
                for field in ("normal_worker_annotations", "expert_worker_annotations")
            },
        }
    ),
    pairs,
)
# Ratings are 64-bit floats, which hold whole numbers up to here.
whole = st.integers(-(2**53), 2**53)
SHP = st.builds(
    lambda row, sides, more: {**more, **_sides(row, sides, "human_ref_A", "human_ref_B")},
    st.fixed_dictionaries(
        {"history": said, "labels": st.sampled_from([0, 1])},
        optional={"score_A": whole, "score_B": whole, "score_ratio": st.floats(1, 100)},
    ),
    pairs,
    extras,
)
RATING = st.sampled_from(["1", "2", "3", "4", "5", "N/A"])
ULTRAFEEDBACK = st.fixed_dictionaries(
    {
        "instruction": said,
        "source": names,
        "completions": st.lists(
            st.fixed_dictionaries(
                {
                    "model": names,
                    "response": said,
                    "annotations": _optional(
                        honesty=st.fixed_dictionaries({"Rating": RATING, "Rationale": said}),
                        truthfulness=st.fixed_dictionaries(
                            {"Rating": RATING, "Rationale": said, "Rationale For Rating": said, "Type": st.just(["1"])}
                        ),
                    ),
                },
                optional={
                    "overall_score": st.sampled_from([1.0, 7.5, 10.0]),
                    "fine-grained_score": st.floats(1, 5),
                    "critique": said,
                    "principle": names,
                },
            ),
            min_size=1,
            max_size=4,
        ),
    }
)


def ranked(answer: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    item = {"answer": answer, "rank": st.integers(1, 7), "model": names}
    return st.lists(st.fixed_dictionaries(item, optional={"reward": st.floats(-9, 9)}), min_size=1, max_size=7)


# A transcript cannot say where a turn begins that itself holds the mark of one.
NECTAR = st.builds(
    lambda turns, answers, more: {
        **more,
        "prompt": "".join(f"\n\n{'Human' if r == 'user' else 'Assistant'}: {c}" for r, c in turns) + "\n\nAssistant: ",
        "answers": answers,
    },
    conversations(),
    ranked(said),
    extras,
)
NEMO_RL = st.fixed_dictionaries(
    {
        "context": conversations().map(_messages),
        "completions": ranked(said.map(lambda text: _messages([("assistant", text)]))).map(
            lambda items: [{"completion" if k == "answer" else k: v for k, v in item.items()} for item in items]
        ),
    }
)
MEDIA = st.sampled_from([{"image": "short/a.png"}, {"video": "video/b"}])


@st.composite
def mm_rated(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 5))
    scores = st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=count, max_size=count).filter(any)
    row = {"question": draw(said), "models_output": draw(st.lists(said, min_size=count, max_size=count))}
    reasons = st.lists(st.one_of(st.none(), said), min_size=count, max_size=count).filter(any)
    row |= draw(_optional(faithfulness=scores, ethical=scores, answer=said, ranking_reason=said, score_reasons=reasons))
    return row | draw(MEDIA) | {"final_ranking": draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))}


MM_PAIRS = st.builds(
    lambda row, sides, media: {**_sides(row, sides, "chosen", "rejected"), **media},
    st.fixed_dictionaries(
        {"prompt": said, "is_tie": st.booleans()}, optional={"chosen_reason": said, "rejected_reason": said, "id": said}
    ),
    pairs,
    MEDIA,
)
RLAIF_V = st.builds(
    lambda row, sides, more: {**more, **_sides(row, sides, "chosen", "rejected")},
    st.fixed_dictionaries({"question": said, "image": said}),
    pairs,
    extras,
)
ICAI = st.builds(
    lambda row, sides, models: (
        row | {f"response_{side}": {"text": t, "model": m} for side, t, m in zip("ab", sides, models, strict=True)}
    ),
    st.fixed_dictionaries(
        {
            "id": said,
            "prompt": said,
            "annotations": st.dictionaries(
                said, st.sampled_from([{"pref": "a"}, {"pref": "b"}, {"pref": "tie", "note": "x"}, {"pref": None}])
            ).map(lambda said: {**said, "sure": {"pref": "b"}}),
        }
    ),
    pairs,
    st.lists(names, min_size=2, max_size=2),
)


@st.composite
def arena(draw: st.DrawFn) -> dict[str, Any]:
    asked = draw(conversations())
    sides = draw(pairs)
    later = [("user", draw(said)), ("assistant", draw(said))] if draw(st.booleans()) else []
    row: dict[str, Any] = {"model_a": draw(names), "model_b": draw(names)}
    row |= {
        f"conversation_{side}": _messages([*asked, ("assistant", text), *later])
        for side, text in zip("ab", sides, strict=True)
    }
    row["winner"] = draw(st.sampled_from(["model_a", "model_b", "tie", "tie (bothbad)", "both_bad"]))
    return row | draw(_optional(judge=said, language=names))


@st.composite
def arena_lists(draw: st.DrawFn) -> dict[str, Any]:
    turns = draw(st.integers(1, 3))
    texts = st.lists(said, min_size=turns, max_size=turns)
    sides = draw(st.lists(texts, min_size=2, max_size=2, unique_by=tuple))
    row: dict[str, Any] = {"model_a": draw(names), "model_b": draw(names)}
    for name, value in zip(("prompt", "response_a", "response_b"), (draw(texts), *sides), strict=True):
        row[name] = json.dumps(value, ensure_ascii=False)
    winner = draw(st.sampled_from(["winner_model_a", "winner_model_b", "winner_tie"]))
    return row | {name: int(name == winner) for name in ("winner_model_a", "winner_model_b", "winner_tie")}


COMPLETIONS = st.builds(
    lambda row, votes: row | ({"votes": votes} if votes and len(row["completions"]) > 1 else {}),
    st.fixed_dictionaries(
        {
            "prompt": said | conversations().filter(lambda turns: len(turns) > 1).map(_messages),
            "completions": st.lists(
                st.fixed_dictionaries(
                    {"content": said},
                    optional={
                        "model": names,
                        "ratings": st.lists(
                            st.one_of(
                                st.fixed_dictionaries(
                                    {"value": st.integers(-3, 3)},
                                    optional={"annotator": names, "dimension": names, "rationale": said},
                                ),
                                st.fixed_dictionaries({"rationale": said}, optional={"dimension": names}),
                            ),
                            min_size=1,
                            max_size=2,
                        ),
                    },
                ),
                min_size=1,
                max_size=3,
                unique_by=lambda item: item["content"],
            ),
        },
        optional={
            "images": st.lists(said, min_size=1),
            "context": said,
            "metadata": extras.filter(bool),
            "tools": st.just([{"type": "function", "function": {"name": "look"}}]),
        },
    ),
    # One vote: the tables do not say in which order a row had several.
    st.lists(
        st.fixed_dictionaries(
            {"a": st.just(0), "b": st.just(1), "choice": st.sampled_from(["a", "b", "tie"])},
            optional={"annotator": names, "dimension": names, "strength": st.integers(0, 5), "rationale": said},
        ),
        max_size=1,
    ),
)


FORMATS: dict[str, tuple[Source, st.SearchStrategy[dict[str, Any]]]] = {
    "ultrafeedback": (UltraFeedbackSource(location=WHERE), ULTRAFEEDBACK),
    "ultrafeedback, tens kept": (UltraFeedbackSource(location=WHERE, tens="keep"), ULTRAFEEDBACK),
    "helpsteer2 ratings": (HelpSteer2Source(location=WHERE), rated(annotators=False)),
    "helpsteer2 disagreements": (HelpSteer2Source(location=WHERE), rated(annotators=True)),
    "helpsteer2 preferences": (HelpSteer2Source(location=WHERE), HELPSTEER2),
    "helpsteer2 label": (HelpSteer2Source(location=WHERE, judgements="preference_strength"), HELPSTEER2),
    "helpsteer3": (HelpSteer3Source(location=WHERE), HELPSTEER3),
    "helpsteer3 label": (HelpSteer3Source(location=WHERE, judgements="overall_preference"), HELPSTEER3),
    "multipref": (MultiPrefSource(location=WHERE), MULTIPREF),
    "shp": (ShpSource(location=WHERE), SHP),
    "nectar": (RankedSource(location=WHERE), NECTAR),
    "nemo_rl": (NemoRlSource(location=WHERE), NEMO_RL),
    "mm_rlhf data": (MmRlhfSource(location=WHERE), mm_rated()),
    "mm_rlhf pairs": (MmRlhfSource(location=WHERE), MM_PAIRS),
    "rlaif_v": (RlaifVSource(location=WHERE), RLAIF_V),
    "icai": (IcaiSource(location=WHERE), ICAI),
    "completions": (CompletionsSource(location=WHERE), COMPLETIONS),
    "arena": (ArenaSource(location=WHERE), arena()),
    "arena lists": (ArenaSource(location=WHERE, style="lists"), arena_lists()),
}
