"""The expander by templates keeps what was said and adds nothing; the raw reasons beside it."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from pref_assets.synthesis.critiques import HumanCritiques, TemplateCritiques
from pref_assets_tests.synthesis.critiques.worlds import pool, rating, row

WORLD = pool(
    {
        "a": [
            rating("reason", rationale=" Counts right. "),
            rating("truth", rationale="the dots are red"),
            rating("reason", rationale="Counts right.", by="bob"),
            rating("faithfulness", 5),
            rating("faithfulness", 4, by="bob"),
            rating("ethical", 3),
            rating("overall", -1),
        ],
        "b": [rating("faithfulness", 1), rating("helpfulness", None, "no number"), rating("overall", -2)],
        "c": [rating("reason", rationale=" "), rating("overall", -2)],
        "d": [],
    }
)


def test_every_reason_and_score_is_said_and_nothing_else() -> None:
    found = TemplateCritiques(dimensions=("truth", "reason"), leads={"truth": "In the image {reason}"}).critiques(WORLD)
    assert row(found, "a") == {
        "completion_id": "a",
        "critique": "In the image the dots are red. An annotator remarks: Counts right. Its faithfulness is a "
        "strength, rated 4.5 of 5. Its ethical conduct is neither a strength nor a weakness, rated 3 of 5.",
        "reasons": "the dots are red Counts right.",
        "writer": "template",
        "category": "reasons",
    }
    assert row(found, "b")["critique"] == "Its faithfulness is a weakness, rated 1 of 5."
    assert row(found, "b")["category"] == "ratings"
    for each in ("c", "d"):
        assert row(found, each)["critique"] is None
        assert row(found, each)["category"] == "nothing"


def test_a_place_is_said_where_it_is_asked_for() -> None:
    found = TemplateCritiques(rank="overall", rated=()).critiques(WORLD)
    assert row(found, "a")["critique"] == (
        "An annotator remarks: Counts right. Of 3 answers to the prompt it takes place 1."
    )
    assert row(found, "b")["critique"] == "Of 3 answers to the prompt it shares place 2 with others."
    assert row(found, "c")["category"] == "ratings"
    assert row(found, "d")["category"] == "nothing"


def test_the_order_of_rows_does_not_matter() -> None:
    method = TemplateCritiques(dimensions=("reason", "truth"), rank="overall")
    turned = replace(WORLD, completions=WORLD.completions.reverse(), pairs=WORLD.pairs.reverse())
    assert method.critiques(WORLD).equals(method.critiques(turned))
    assert method.critiques(WORLD)["completion_id"].to_list() == ["a", "b", "c", "d"]


def test_braces_in_a_reason_are_text() -> None:
    world = pool({"a": [rating("reason", rationale="says {dimension}!")], "b": []})
    assert row(TemplateCritiques(lead="{reason}").critiques(world), "a")["critique"] == "says {dimension}!"


def test_a_score_outside_the_scale_is_an_error_that_names_the_answer() -> None:
    world = pool({"a": [rating("helpfulness", 9)], "b": [rating("helpfulness", 4)]})
    with pytest.raises(ValueError, match=r"1 scores are outside `scale` 1 to 5, e\.g\. helpfulness 9 of answer a"):
        TemplateCritiques().critiques(world)
    assert row(TemplateCritiques(scale=(1, 10)).critiques(world), "a")["category"] == "ratings"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lead": "no place"}, "no place for {reason}"),
        ({"strength": "Good: {value}"}, "no place for {dimension}"),
        ({"shared": "with others"}, "no place for {place}"),
        ({"leads": {"truth": "{reason}"}}, "`leads` names truth"),
        ({"weak": 4}, "must rise: 1, 4, 4, 5"),
    ],
)
def test_settings_that_do_not_fit(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TemplateCritiques.model_validate(wrong)


def test_human_critiques_are_the_words_themselves() -> None:
    found = HumanCritiques(dimensions=("truth", "reason")).critiques(WORLD)
    assert row(found, "a")["critique"] == "the dots are red Counts right."
    assert (row(found, "a")["category"], row(found, "b")["category"]) == ("said", "silent")
