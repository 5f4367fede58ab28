"""DPO on edited tokens only."""

import math

import pytest
import torch

from pref_assets.training.objectives import DPO, TokenDPO
from pref_assets_tests.training.objectives.laws import (
    assert_batching_changes_nothing,
    assert_same,
    loss_and_gradient,
    tiny_data,
    token_pairs,
    token_side,
)
from pref_assets_tests.training.objectives.pairs import make_pairs


def edit():
    """a x c d e over a b c d, each token with a log-ratio of its own; and a pair with another end."""
    chosen = token_side([[-1, -2, -3, -4, -5], [-1, -1]], [[1, 9, 3, 4, 5], [1, 7]], [[-2, -2.5, -3, -4, -4], [-1, -3]])
    rejected = token_side([[-1, -6, -3, -4], [-1, -2, -1]], [[1, 2, 3, 4], [1, 8, 8]], [[-2, -1, -3, -4], [-1, -1, -1]])
    return token_pairs(chosen, rejected)


def test_by_hand():
    result, up, down = loss_and_gradient(TokenDPO(beta=1.0), edit())
    # x has .5, e has -1, b has -5: h = 4.5. In the other pair 7 has 2, the 8s have -1 and 0: h = 3.
    assert result.loss.tolist() == pytest.approx([math.log1p(math.exp(-4.5)), math.log1p(math.exp(-3))])
    assert result.values["edited_share"].tolist() == pytest.approx([3 / 9, 3 / 5])
    slope = [1 / (1 + math.exp(4.5)), 1 / (1 + math.exp(3))]
    assert up[0].tolist() == pytest.approx([0, -slope[0], 0, 0, -slope[0]])
    assert down[0].tolist() == pytest.approx([0, slope[0], 0, 0])
    assert up[1].tolist() == pytest.approx([0, -slope[1], 0, 0, 0])
    assert down[1].tolist() == pytest.approx([0, slope[1], slope[1], 0])


def test_with_all_weights_one_it_is_dpo():
    assert_same(TokenDPO(untouched=1.0), DPO(), edit())


def test_untouched_tokens_may_count_less():
    # The untouched a of the first pair has a log-ratio of 1 on both sides, c and d none: they cancel.
    half = TokenDPO(beta=1.0, untouched=0.5).losses(edit())
    torch.testing.assert_close(half.loss, TokenDPO(beta=1.0).losses(edit()).loss)
    assert half.reward_chosen[0] == pytest.approx(0.0)


def test_a_pair_without_a_change_has_loss_zero():
    same = token_side([[-1, -2]], [[1, 2]], [[-2, -2]])
    result, up, down = loss_and_gradient(TokenDPO(), token_pairs(same, same))
    assert result.loss.tolist() == [0]
    assert not up.any()
    assert not down.any()


def test_swapping_the_sides_is_flipping_the_label():
    batch = edit()
    for objective in (TokenDPO(), TokenDPO(untouched=0.3)):
        torch.testing.assert_close(objective.losses(batch.swapped()).loss, objective.losses(batch).loss)


def test_micro_batches_change_nothing(tiny, rows, token_logps, reference):
    objective = TokenDPO(untouched=0.1)
    policy, data = tiny_data(objective, tiny, rows, token_logps, reference)
    assert_batching_changes_nothing(objective, policy, data)


def test_needs_tokens_of_the_reference_and_some_weight():
    assert TokenDPO().reference_tokens
    batch = make_pairs(-1.0, -2.0)
    bare = batch.__class__(
        *(batch.chosen.__class__(s.logp, s.ref, s.n_tokens, s.tokens, s.ids) for s in (batch.chosen, batch.rejected)),
        batch.p_chosen,
        batch.margin,
    )
    with pytest.raises(ValueError, match="tokens: true"):
        TokenDPO().losses(bare)
    with pytest.raises(ValueError, match="no token would count"):
        TokenDPO(edited=0)
    assert set(TokenDPO().refused()) == {"two prompts"}
