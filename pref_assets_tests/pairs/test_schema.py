import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.schema import (
    COMPLETIONS,
    PAIRS,
    PROMPTS,
    completion_id,
    pair_id,
    prompt_id,
)

TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=20)})


@given(st.text(), st.text())
def test_a_pair_is_the_same_whichever_side_comes_first(a: str, b: str) -> None:
    assert pair_id(a, b) == pair_id(b, a)


@given(st.lists(TURN, max_size=3), st.lists(TURN, max_size=3))
def test_prompts_share_an_id_only_when_their_turns_are_equal(a: list[dict], b: list[dict]) -> None:
    assert (prompt_id(a) == prompt_id(b)) == (a == b)


def test_images_and_context_are_part_of_a_prompt() -> None:
    turns = [{"role": "user", "content": "Which is better?"}]
    assert len({prompt_id(turns), prompt_id(turns, ["a.png"]), prompt_id(turns, context="honesty")}) == 3


def test_the_same_answer_to_another_prompt_is_another_completion() -> None:
    answer = [{"role": "assistant", "content": "Yes."}]
    assert completion_id("p1", answer) != completion_id("p2", answer)


def test_turn_boundaries_are_part_of_the_content() -> None:
    one = [{"role": "user", "content": "ab"}]
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert prompt_id(one) != prompt_id(two)


def test_conform_orders_columns_and_names_what_does_not_fit() -> None:
    row = dict.fromkeys(PAIRS.columns)
    frame = PAIRS.frame([row]).select(reversed(list(PAIRS.columns)))
    assert PAIRS.conform(frame).columns == list(PAIRS.columns)
    with pytest.raises(ValueError, match=r"table pairs: missing columns \['split'\], unexpected columns \['extra'\]"):
        PAIRS.conform(frame.drop("split").with_columns(extra=1))


@pytest.mark.parametrize("table", [PROMPTS, COMPLETIONS, PAIRS], ids=lambda t: t.name)
def test_every_column_is_described_and_keys_exist(table) -> None:
    assert all(column.description for column in table.columns.values())
    assert set(table.key) <= set(table.columns)
    assert table.empty().schema == table.schema
