"""The scorers on a real model: sensible answers against nonsense."""

import pytest

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring import DigitExpectation, FollowupLikelihood, InstructionFollowingDifficulty, Likelihood
from pref_assets_tests.scoring.language.conftest import difference_alone, measured, named
from pref_assets_tests.training.conftest import message

pytestmark = pytest.mark.slow

ASKED = {
    "france": ("What is the capital of France?", "The capital of France is Paris.", "Purple banana seven the of."),
    "counting": ("Count from 1 to 5.", "1, 2, 3, 4, 5", "The moon orbits the Earth at a great distance."),
    "colours": ("Name three colours.", "Red, green and blue.", "I do not want to. Go away and ask somebody else."),
}


@pytest.fixture(scope="module")
def plain() -> Pool:
    pairs, prompts, completions = [], [], []
    for name, (question, good, bad) in ASKED.items():
        prompts.append({"prompt_id": name, "messages": message("user", question), "images": [], "split": "train"})
        for side, text in (("good", good), ("bad", bad)):
            turns = message("assistant", text)
            completions.append({"completion_id": f"{name}-{side}", "prompt_id": name, "messages": turns})
        sides = {"chosen_id": f"{name}-good", "rejected_id": f"{name}-bad"}
        pairs.append({"pair_id": name, "prompt_id": name, **sides, "p_chosen": 1.0, "split": "train"})
    return Pool(PAIRS.frame(pairs), COMPLETIONS.frame(completions), prompts=PROMPTS.frame(prompts))


@pytest.mark.parametrize("scorer", [Likelihood(), InstructionFollowingDifficulty()])
def test_plain_answers_are_told_apart_and_batches_change_nothing(tmp_path, plain, scorer):
    rows, _ = measured(tmp_path, scorer, plain)
    scores = scorer.combine(plain, rows).select("score_chosen", "score_rejected")
    sign = -1 if scorer.type == "ifd" else 1
    assert (sign * (scores["score_chosen"] - scores["score_rejected"]) > 0).all()
    assert difference_alone(tmp_path, scorer, plain) < 1e-4


def test_followups_in_batches_change_nothing(tmp_path, plain):
    # No claim of the ranking: this model gets one of the three pairs wrong.
    scorer = FollowupLikelihood()
    one = plain.only(["france"])
    rows, _ = measured(tmp_path, scorer, one)
    assert rows.height == 2
    assert difference_alone(tmp_path, scorer, one) < 1e-4


def test_grades_are_grades_and_batches_change_nothing(tmp_path, plain):
    scorer = DigitExpectation(by="margin", what="quality")
    rows, _ = measured(tmp_path, scorer, plain)
    assert rows["grade"].is_between(1, 6).all()
    assert difference_alone(tmp_path, scorer, plain) < 1e-4
    details = named(scorer.combine(plain, rows))
    # An instruction-tuned model answers a request for a digit with a digit.
    assert min(details[pair]["grade_mass"] for pair in ASKED) > 0.1
