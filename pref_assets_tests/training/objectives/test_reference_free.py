"""CPO, SimPO, AlphaPO and ORPO: worked numbers, identities between them, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives import CPO, DPO, ORPO, Objective
from pref_assets.training.objectives.kernel import PARTS, Pairs, check_columns
from pref_assets_tests.training.conftest import make_rows
from pref_assets_tests.training.objectives.pairs import make_pairs, side

WITHOUT_LIKELIHOOD = {"cpo_alpha": 0.0}


def loss(objective: Objective, pairs: Pairs) -> torch.Tensor:
    return objective.losses(replace(pairs, columns=objective.statistics(pairs.detached(), {}))).loss


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_cpo_by_hand():
    # h = 3, beta 0.5: -log S(1.5), and 2 nats over 4 tokens.
    pairs = make_pairs(-2.0, -5.0, n_chosen=4, n_rejected=2)
    expected = -math.log(sigmoid(1.5))
    assert float(loss(CPO(beta=0.5), pairs)) == pytest.approx(expected + 0.5)
    assert float(loss(CPO(beta=0.5, cpo_alpha=0.0), pairs)) == pytest.approx(expected)
    smoothed = 0.9 * expected - 0.1 * math.log(sigmoid(-1.5))
    assert float(loss(CPO(beta=0.5, cpo_alpha=0.0, label_smoothing=0.1), pairs)) == pytest.approx(smoothed)
    assert float(loss(CPO(beta=0.1, cpo_alpha=0.0, loss_type="hinge"), pairs)) == pytest.approx(0.7)
    # Per token -0.5 and -2.5: h = 2.
    assert float(loss(CPO(beta=0.5, cpo_alpha=0.0, loss_type="ipo"), pairs)) == pytest.approx(1)
    simpo = CPO(beta=2.0, cpo_alpha=0.0, loss_type="simpo", simpo_gamma=1.0)
    assert float(loss(simpo, pairs)) == pytest.approx(-math.log(sigmoid(3)))
    # Rewards of AlphaPO: (1 - p^-a) / a with p = exp(-0.5) and exp(-2.5).
    shaped = CPO(beta=2.0, cpo_alpha=0.0, loss_type="alphapo", simpo_gamma=1.0, alpha=0.5)
    h = (1 - math.exp(0.25)) / 0.5 - (1 - math.exp(1.25)) / 0.5
    assert float(loss(shaped, pairs)) == pytest.approx(-math.log(sigmoid(2 * h - 1)))


@settings(deadline=None)
@given(st.floats(-60, 0), st.floats(-60, 0), st.integers(1, 9), st.integers(1, 9))
def test_alphapo_passes_into_simpo(chosen, rejected, n_chosen, n_rejected):
    pairs = make_pairs(chosen, rejected, n_chosen=n_chosen, n_rejected=n_rejected)
    simpo = loss(CPO(loss_type="simpo", **WITHOUT_LIKELIHOOD), pairs)
    nearly = loss(CPO(loss_type="alphapo", alpha=1e-9, **WITHOUT_LIKELIHOOD), pairs)
    torch.testing.assert_close(nearly, simpo, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge"])
@settings(deadline=None)
@given(st.floats(-60, 0), st.floats(-60, 0), st.floats(0, 1))
def test_cpo_without_likelihood_is_dpo_under_a_uniform_reference(loss_type, chosen, rejected, p):
    pairs = make_pairs(chosen, rejected, -7.0, -7.0, p=p)
    ours = CPO(loss_type=loss_type, **WITHOUT_LIKELIHOOD).losses(pairs).loss
    torch.testing.assert_close(ours, DPO(loss_type=loss_type).losses(pairs).loss)


def test_simpo_without_a_margin_is_length_normalised_dpo_under_a_uniform_reference():
    pairs = make_pairs([-9.0, -2.0], [-4.0, -8.0], n_chosen=[3, 2], n_rejected=[2, 5])
    simpo = CPO(loss_type="simpo", simpo_gamma=0.0, **WITHOUT_LIKELIHOOD)
    torch.testing.assert_close(loss(simpo, pairs), loss(DPO(loss_type="sigmoid_norm"), pairs))


def test_orpo_by_hand():
    # Probabilities per token 0.8 and 0.5: odds 4 and 1.
    pairs = make_pairs(2 * math.log(0.8), 3 * math.log(0.5), n_chosen=2, n_rejected=3)
    objective = ORPO(beta=0.5)
    assert float(loss(objective, pairs)) == pytest.approx(-math.log(0.8) - 0.5 * math.log(0.8))
    found = objective.losses(replace(pairs, columns=objective.statistics(pairs, {})))
    assert float(found.values["log_odds_ratio"]) == pytest.approx(math.log(4))
    assert float(found.reward_chosen) == pytest.approx(0.5 * math.log(0.8))


@pytest.mark.parametrize("chosen", [-1e-9, 0.0, -1e4])
def test_orpo_is_finite_for_certain_and_for_impossible_answers(chosen):
    logp = torch.tensor([chosen], requires_grad=True)
    pairs = make_pairs(0.0, -3.0)
    pairs = replace(pairs, chosen=replace(pairs.chosen, logp=logp))
    found = loss(ORPO(), pairs)
    found.sum().backward()
    assert math.isfinite(float(found))
    assert math.isfinite(float(logp.grad))


def test_orpo_of_a_tie_learns_both_answers_alike():
    pairs = make_pairs(-3.0, -3.0, p=0.5, n_chosen=2, n_rejected=2)
    pairs.chosen.logp.requires_grad_()
    pairs.rejected.logp.requires_grad_()
    loss(ORPO(), pairs).sum().backward()
    assert float(pairs.chosen.logp.grad) == pytest.approx(-0.25)
    assert float(pairs.rejected.logp.grad) == pytest.approx(-0.25)


def test_orpo_reads_whole_conversations_where_told_and_rejected_ones_where_the_label_may_be_wrong():
    rows = make_rows(3)
    assert ORPO().parts(rows, 0).schema == PARTS
    assert ORPO().parts(rows, 0).is_empty()
    objective = ORPO(likelihood_of="conversation")
    parts = objective.parts(rows, 0)
    assert parts["part"].unique().to_list() == ["chosen_conversation"]
    assert parts["prompt"].list.len().unique().to_list() == [0]
    assert parts["completion"][1].to_list() == rows["prompt"][1].to_list() + rows["chosen"][1].to_list()
    soft = rows.with_columns(p_chosen=0.8)
    assert objective.parts(soft, 0).height == 6
    assert ORPO(likelihood_of="conversation", soft_labels=False).parts(soft, 0).height == 3


def test_orpo_counts_the_tokens_of_the_conversations():
    whole = {"chosen_conversation": side([-9.0, -4.0], n_tokens=[6, 2]), "rejected_conversation": side([-1.0, -1.0])}
    pairs = make_pairs([-3.0, -2.0], [-5.0, -1.0], n_chosen=2, n_rejected=2, parts=whole)
    plain = loss(ORPO(), pairs).mean() - 5 / 4
    found = loss(ORPO(likelihood_of="conversation"), pairs).mean() - 13 / 8
    assert float(found) == pytest.approx(float(plain))


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        ({"loss_type": "hinge", "label_smoothing": 0.1}, "no meaning"),
        ({"loss_type": "alphapo", "alpha": 0.25}, "cpo_alpha: 0"),
        ({"loss_type": "alphapo", "cpo_alpha": 0}, "alpha other than 0"),
        ({"loss_type": "sigmoid", "alpha": 0.25}, "per token"),
        ({"loss_type": "simpo", "simpo_gamma": -1}, "simpo_gamma"),
    ],
)
def test_settings_without_meaning(objective, match):
    with pytest.raises(ValueError, match=match):
        CPO.model_validate(objective)


@pytest.mark.parametrize(
    ("objective", "takes"),
    [(CPO(), True), (CPO(loss_type="hinge"), True), (CPO(loss_type="ipo"), False), (ORPO(), False)],
)
def test_margins_are_taken_or_refused(objective, takes):
    rows = make_rows(2).with_columns(margin=1.0)
    pairs = make_pairs(-2.0, -5.0)
    demanding = replace(pairs, margin=torch.ones(1, dtype=torch.float64))
    if takes:
        check_columns(rows, objective)
        assert float(loss(objective, demanding)) > float(loss(objective, pairs))
    else:
        with pytest.raises(TrainingDataError, match="margin"):
            check_columns(rows, objective)
