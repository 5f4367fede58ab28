from collections import Counter

import pytest

from pref_assets.synthesis.verifiable import prompts as module
from pref_assets.synthesis.verifiable.prompts import FORMS, LENGTH, QUESTIONS, _compatible, _worked, write_prompts
from pref_assets.synthesis.verifiable.verifier import verify


def test_a_smaller_set_is_a_prefix_and_seeds_differ():
    assert write_prompts(20, seed=1) == write_prompts(60, seed=1)[:20]
    assert write_prompts(20, seed=1) != write_prompts(20, seed=2)


def test_prompts_are_distinct_short_and_say_their_constraints():
    prompts = write_prompts(300)
    assert len({tuple(turn["content"] for turn in prompt.messages) for prompt in prompts}) == 300
    for prompt in prompts:
        last = prompt.messages[-1]
        assert last["role"] == "user"
        assert len(last["content"].split()) <= 40
        assert all(constraint.instruction() in last["content"] for constraint in prompt.constraints)
        assert len({constraint.model_dump()["family"] for constraint in prompt.constraints}) == len(prompt.constraints)


def test_every_shape_and_family_occurs():
    prompts = write_prompts(640)
    assert set(Counter(prompt.shape for prompt in prompts)) == set(module.SHAPES)
    families = {constraint.model_dump()["family"] for prompt in prompts for constraint in prompt.constraints}
    assert families == {*FORMS, *QUESTIONS}
    assert sum(len(prompt.messages) > 1 for prompt in prompts) > 30
    assert sum(len(prompt.constraints) > 1 for prompt in prompts) > 100


def test_only_families_that_can_be_met_together_are_combined():
    assert _compatible("include", {"max_words"})
    assert not _compatible("include", {"include"})
    assert not any(_compatible(a, {b}) for a in LENGTH for b in LENGTH)
    assert not _compatible("json", {"max_words"})
    assert not _compatible("include", {"json"})
    assert not _compatible("start", {"bullets"})
    assert not _compatible("one_line", {"quoted"})
    for prompt in write_prompts(300, seed=3):
        chosen: set[str] = set()
        for constraint in prompt.constraints:
            family = constraint.model_dump()["family"]
            assert _compatible(family, chosen)
            chosen.add(family)


@pytest.mark.parametrize("family", QUESTIONS)
def test_worked_examples_are_right(family):
    import random

    rng = random.Random(0)
    for _ in range(20):
        question = QUESTIONS[family][1](rng)
        assert verify(question.model_dump(), _worked(question))


def test_a_vocabulary_that_is_used_up_is_said(monkeypatch):
    monkeypatch.setattr(module, "SHAPES", {"question": 1.0})
    monkeypatch.setattr(module, "QUESTIONS", {"choice": QUESTIONS["choice"]})
    with pytest.raises(ValueError, match=r"only 24 distinct prompts can be written, 25 asked for"):
        write_prompts(25)
