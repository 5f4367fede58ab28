"""Lists of answers as weighted pairs."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, RankDPO
from pref_assets.training.objectives.rankdpo import gain_gap, swap_cost
from pref_assets_tests.training.objectives.laws import assert_same, loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs, tensor

PHI = [1, 2 / 3, 1 / 3, 0]
WEIGHTS = {(0, 1): 0.2197, (0, 2): 0.5339, (0, 3): 0.8214, (1, 2): 0.0619, (1, 3): 0.1697, (2, 3): 0.0260}


def pair(h, phi, ranks=(1, 2), **settings):
    columns = {"phi_chosen": phi[0], "phi_rejected": phi[1], "rank_chosen": ranks[0], "rank_rejected": ranks[1]}
    return make_pairs(h, 0.0, columns=columns, **settings)


@pytest.mark.parametrize("places", WEIGHTS)
def test_weights_of_four_answers(places):
    i, k = places
    weight = swap_cost(tensor(PHI[i]), tensor(PHI[k]), tensor(i + 1.0), tensor(k + 1.0))
    assert float(weight) == pytest.approx(WEIGHTS[places], abs=5e-5)


def test_another_discount():
    cost = swap_cost(tensor(1.0), tensor(0.0), tensor(1.0), tensor(4.0), weigh=lambda rank: 1 / rank)
    assert float(cost) == pytest.approx(0.75)


@given(st.floats(-30, 30))
def test_two_answers_without_weights_are_dpo(h):
    assert_same(RankDPO(scores="wins", weights="none"), DPO(), pair(h, (1.0, 0.0)))
    batch = pair(h, (1.0, 0.0))
    result, up, _ = loss_and_gradient(RankDPO(scores="wins", weights="none"), batch)
    expected, up_dpo, _ = loss_and_gradient(DPO(), batch)
    assert torch.equal(result.loss, expected.loss)
    assert torch.equal(up, up_dpo)


def test_a_list_is_the_sum_of_its_pairs():
    scores = [0.3, -1.2, 0.8, 2.0]
    listwise = sum(
        WEIGHTS[i, k] * float(torch.nn.functional.softplus(tensor(-0.5 * (scores[i] - scores[k]))))
        for i, k in itertools.combinations(range(4), 2)
    )
    found = 0.0
    for i, k in itertools.combinations(range(4), 2):
        batch = pair(scores[i] - scores[k], (PHI[i], PHI[k]), (i + 1.0, k + 1.0))
        found += float(RankDPO(scores="wins", beta=0.5).losses(batch).loss)
    assert found == pytest.approx(listwise, abs=3e-4)


@given(st.floats(-30, 30), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_phi_says_which_side_is_better(h, phi, other, p):
    for weights in ("dcg", "gain", "none"):
        objective = RankDPO(scores="wins", weights=weights)
        here = objective.losses(pair(h, (phi, other), (1, 3), p=p)).loss
        there = objective.losses(pair(-h, (other, phi), (3, 1), p=1 - p)).loss
        torch.testing.assert_close(here, there)


def test_equal_answers_have_no_weight():
    for weights in ("dcg", "gain", "none"):
        result, up, down = loss_and_gradient(RankDPO(scores="wins", weights=weights), pair(2.0, (0.5, 0.5), (1.5, 1.5)))
        assert float(result.loss) == float(up) == float(down) == 0


def test_gains_alone():
    assert float(gain_gap(tensor(1.0), tensor(0.0))) == 1
    found = RankDPO(scores="wins", weights="gain").losses(pair(0.0, (1.0, 0.0)))
    assert float(found.values["list_weight"]) == 1


def test_what_it_asks_for_and_refuses():
    asked = RankDPO(scores="wins").score_columns()
    assert sorted(asked) == ["phi_chosen", "phi_rejected", "rank_chosen", "rank_rejected"]
    assert (asked["phi_chosen"].column, asked["phi_chosen"].probability) == ("score_chosen", True)
    assert not asked["rank_chosen"].signed
    assert sorted(RankDPO(scores="wins", weights="gain").score_columns()) == ["phi_chosen", "phi_rejected"]
    assert set(RankDPO(scores="wins").refused()) == {"margin", "two prompts", "soft label"}
    with pytest.raises(ValueError, match="scores"):
        RankDPO()
