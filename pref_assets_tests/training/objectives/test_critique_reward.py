"""The losses of the reward model that criticises: the numbers of MM-RLHF's formulas, and what leaves them alone."""

import pytest
import torch

from pref_assets.training.objectives.critique_reward import critique_loss, score_terms

CHOSEN, REJECTED = torch.tensor([2.0, 0.5, -1.0]).double(), torch.tensor([1.0, 1.0, -1.0]).double()
TIED = torch.tensor([False, False, True])


def means(chosen, rejected, tied=TIED, **settings):
    share = float(tied.double().mean())
    terms = score_terms(chosen, rejected, tied, tied_share=share, **settings)
    return [float(each.mean()) for each in terms]


def test_a_pair_by_hand():
    chosen, rejected = torch.tensor([0.0, 1, 2.5, 0, 30]).double(), torch.tensor([0.0, 0, 1, 1, -30]).double()
    terms = score_terms(chosen, rejected, torch.zeros(5, dtype=torch.bool), tied_share=0.0)
    expected = [0.6931471805599453, 0.31326168751822286, 0.2014132779827524, 1.3132616875182228, 8.75651076269652e-27]
    assert terms.bradley_terry.tolist() == pytest.approx(expected)
    assert not terms.tie.any()
    assert not terms.center.any()


def test_a_batch_adds_the_mean_of_each_kind_of_pair():
    bt, tie, center = means(CHOSEN, REJECTED, center_coefficient=0.01)
    assert bt == pytest.approx(0.6436693358491647)
    assert tie == 0
    assert center == pytest.approx(0.05083333333333333)
    assert bt + tie + center + 2.0 == pytest.approx(2.694502669182498)
    # The tie's mean is over ties alone: (−1 − 2)² of one row, whatever the others are.
    _, tie, _ = means(CHOSEN, torch.tensor([1.0, 1.0, 2.0]).double(), tie_weight=0.5)
    assert tie == pytest.approx(4.5)


def test_parts_of_a_batch_add_up_to_it():
    whole = score_terms(CHOSEN, REJECTED + 1, TIED, tied_share=1 / 3, center_coefficient=0.1)
    for row in range(3):
        one = slice(row, row + 1)
        part = score_terms(CHOSEN[one], REJECTED[one] + 1, TIED[one], tied_share=1 / 3, center_coefficient=0.1)
        assert [float(each) for each in part] == [float(each[row]) for each in whole]


def test_only_the_centre_sees_a_constant_and_only_ties_are_pulled_together():
    bt, tie, center = means(CHOSEN, REJECTED + 0.5, center_coefficient=0.01)
    shifted = means(CHOSEN + 3, REJECTED + 3.5, center_coefficient=0.01)
    assert shifted[:2] == pytest.approx([bt, tie])
    assert shifted[2] > center
    # Sides of a tie may change places.
    assert means(REJECTED, CHOSEN, torch.ones(3, dtype=torch.bool)) == means(
        CHOSEN, REJECTED, torch.ones(3, dtype=torch.bool)
    )
    assert means(CHOSEN, CHOSEN, torch.ones(3, dtype=torch.bool))[1] == 0


def test_a_margin_is_demanded_of_the_chosen_side():
    none = torch.zeros(3, dtype=torch.bool)
    demanded = means(CHOSEN, REJECTED, none, margin=torch.full((3,), 0.7).double())
    assert demanded == pytest.approx(means(CHOSEN - 0.7, REJECTED, none))


def test_a_critique_is_the_mean_over_its_tokens():
    logps = torch.tensor([0.5, 0.25, 0.8]).double().log()
    owners = torch.zeros(3, dtype=torch.long)
    assert float(critique_loss(logps, owners, 1, "sum")) == pytest.approx(2.3025850929940455)
    assert float(critique_loss(logps, owners, 1)) == pytest.approx(0.7675283643313485)
    # Tokens of another critique between them change nothing.
    mixed = torch.tensor([0.5, 0.1, 0.25, 0.8]).double().log()
    found = critique_loss(mixed, torch.tensor([0, 1, 0, 0]), 2)
    assert found.tolist() == pytest.approx([0.7675283643313485, 2.302585092994046])
