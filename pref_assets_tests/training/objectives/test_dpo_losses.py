"""The fifteen losses of DPO's family: worked numbers, laws, step statistics, and what is refused."""

import math
from dataclasses import replace
from itertools import permutations
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives import DPO
from pref_assets.training.objectives.dpo_losses import LOSSES, SORTED, LossType
from pref_assets.training.objectives.kernel import Pairs, Sequences, check_columns
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import pair_data
from pref_assets_tests.training.conftest import make_rows
from pref_assets_tests.training.objectives.pairs import make_pairs, tensor
from pref_assets_tests.training.objectives.test_every_objective import known

SMOOTHED = {"exo_pair": 0.1}


def with_statistics(objective: DPO, pairs: Pairs) -> Pairs:
    return replace(pairs, columns={**pairs.columns, **objective.statistics(pairs.detached(), {})})


def loss(objective: DPO, pairs: Pairs) -> torch.Tensor:
    return objective.losses(with_statistics(objective, pairs)).loss


def test_every_name_has_a_loss():
    assert set(LOSSES) == set(get_args(LossType))


# r+ = 2, r- = -1, beta 0.5: z = 1.5; S(1) = .731058579, S(.5) = .622459331, S(1.5) = .817574476.
@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("sigmoid", -math.log(0.8175744761936437)),
        ("hinge", 0.0),
        ("exo_pair", 0.81757447619 * math.log(0.81757447619 / 0.9) + 0.18242552381 * math.log(0.18242552381 / 0.1)),
        ("nca_pair", -1.5 * math.log(0.7310585786) + 0.5 - 0.5 * math.log(0.6224593312)),
        ("bco_pair", -math.log(0.7310585786300049) - math.log(0.6224593312018546)),
        ("sppo_hard", 1.0),
        ("aot", -math.log(0.8175744761936437)),
        ("aot_unpaired", -math.log(0.8175744761936437)),
        ("apo_zero", 1 - 0.7310585786300049 + 0.3775406687981454),
        ("apo_down", 0.7310585786300049 + 1 - 0.8175744761936437),
        ("discopop", math.exp(-1.5)),
        ("ipo", (2 / 4 + 1 / 2 - 1) ** 2),
        ("sigmoid_norm", -math.log(1 / (1 + math.exp(-0.5)))),
        ("sft", 5.0 / 4),
    ],
)
def test_one_pair_by_hand(loss_type, expected):
    objective = DPO(loss_type=loss_type, beta=0.5, label_smoothing=SMOOTHED.get(loss_type, 0.0))
    pairs = make_pairs(-5, -8, -7, -7, n_chosen=4, n_rejected=2)
    assert float(loss(objective, pairs)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("loss_type", sorted(set(LOSSES) - {"sft", "apo_down", "nca_pair"}))
@given(h=st.floats(-30, 30))
def test_a_step_down_the_gradient_widens_the_gap(loss_type, h):
    objective = DPO(loss_type=loss_type, label_smoothing=SMOOTHED.get(loss_type, 0.0))
    pairs = make_pairs(h / 2 - 60, -h / 2 - 60, -60, -60)
    pairs.chosen.logp.requires_grad_()
    pairs.rejected.logp.requires_grad_()
    found = objective.losses(with_statistics(objective, pairs)).loss.sum()
    chosen, rejected = torch.autograd.grad(found, (pairs.chosen.logp, pairs.rejected.logp))
    if loss_type in ("ipo", "sppo_hard"):
        assert (float(rejected - chosen) > 0) == (h < 10 if loss_type == "sppo_hard" else h < 5)
    elif loss_type == "exo_pair":
        assert (float(rejected - chosen) > 0) == (0.1 * h < math.log(9))
    elif loss_type == "hinge":
        assert float(rejected - chosen) == pytest.approx(0.2 if h < 10 else 0)
    elif loss_type == "discopop":
        # The found loss is not convex: it falls, rises between its two parts, and falls again.
        assert float(chosen) == pytest.approx(-float(rejected))
    else:
        assert float(chosen) <= 0 <= float(rejected)


@pytest.mark.parametrize("loss_type", sorted(LOSSES))
@pytest.mark.parametrize("h", [-2e3, 2e3])
def test_losses_and_gradients_are_finite_in_float32(loss_type, h):
    if loss_type == "discopop" and h < 0:
        pytest.skip("exp(200) is what the found loss is there")
    objective = DPO(loss_type=loss_type, label_smoothing=SMOOTHED.get(loss_type, 0.0))
    logps = [torch.tensor([value], requires_grad=True) for value in (h / 2 - 2e3, -h / 2 - 2e3)]
    ref = torch.tensor([-2e3])
    sides = (Sequences(each, ref, torch.ones(1), each[:, None], torch.zeros(1, 1).long()) for each in logps)
    pairs = Pairs(*sides, torch.ones(1), torch.zeros(1))
    found = loss(objective, pairs)
    found.sum().backward()
    assert bool(torch.isfinite(found).all())
    # A loss that does not look at a side gives it no gradient.
    assert all(each.grad is None or bool(torch.isfinite(each.grad).all()) for each in logps)


@pytest.mark.parametrize("loss_type", sorted(set(LOSSES) - SORTED))
@given(c=st.floats(-50, 0), r=st.floats(-50, 0))
def test_swapping_the_sides_is_flipping_the_label(loss_type, c, r):
    objective = DPO(loss_type=loss_type, label_smoothing=SMOOTHED.get(loss_type, 0.0))
    one = loss(objective, make_pairs(c, r, -20, -30, n_chosen=3, n_rejected=7))
    other = loss(objective, make_pairs(r, c, -30, -20, p=0.0, n_chosen=7, n_rejected=3))
    assert float(one) == pytest.approx(float(other), rel=1e-9, abs=1e-12)


def test_several_losses_are_added_with_their_weights():
    pairs = make_pairs([-5.0, -3.0], [-8.0, -2.0], -6, -6, n_chosen=[4, 2], n_rejected=2)
    both = loss(DPO(loss_type=("sigmoid", "bco_pair", "sft"), loss_weights=(0.8, 0.2, 1.0)), pairs)
    single = [loss(DPO(loss_type=name), pairs) for name in ("sigmoid", "bco_pair", "sft")]
    torch.testing.assert_close(both, 0.8 * single[0] + 0.2 * single[1] + single[2])
    torch.testing.assert_close(loss(DPO(loss_type=("sigmoid",)), pairs), single[0])


def test_sft_is_the_mean_over_tokens_of_the_side_that_the_label_prefers():
    pairs = make_pairs([-6.0, -2.0], [-1.0, -9.0], p=[1.0, 0.75], n_chosen=[3, 1], n_rejected=[1, 4])
    expected = (6 + 0.75 * 2 + 0.25 * 9) / (3 + 0.75 * 1 + 0.25 * 4)
    assert float(loss(DPO(loss_type="sft"), pairs).mean()) == pytest.approx(expected)
    certain = float(loss(DPO(loss_type="sft", soft_labels=False), pairs).mean())
    assert certain == pytest.approx((6 + 2) / 4)


def leaves(chosen, rejected):
    pairs = make_pairs(chosen, rejected, [-3.0, -1.0, -7.0], [-2.0, -5.0, -5.5])
    pairs.chosen.logp.requires_grad_()
    pairs.rejected.logp.requires_grad_()
    return pairs


@pytest.mark.parametrize("loss_type", ["aot", "aot_unpaired"])
def test_optimal_transport_is_the_loss_of_sorted_differences_in_value_and_gradient(loss_type):
    beta, e = 0.4, 0.1
    objective = DPO(loss_type=loss_type, beta=beta, label_smoothing=e)
    chosen, rejected = [-1.0, -6.0, -3.0], [-4.0, -2.0, -5.0]
    pairs = leaves(chosen, rejected)
    sides = (pairs.chosen.logp, pairs.rejected.logp)
    if loss_type == "aot":
        d = (sides[0] - sides[1]).sort().values - (pairs.chosen.ref - pairs.rejected.ref).sort().values
    else:
        d = pairs.chosen.ratio.sort().values - pairs.rejected.ratio.sort().values
    sigmoid = torch.nn.functional.logsigmoid
    expected = (-(1 - e) * sigmoid(beta * d) - e * sigmoid(-beta * d)).mean()
    wanted = torch.autograd.grad(expected, sides)
    found = loss(objective, pairs).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    for one, other in zip(torch.autograd.grad(found, sides), wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_optimal_transport_does_not_depend_on_the_order_of_pairs(order):
    pairs = make_pairs([-1.0, -6.0, -3.0], [-4.0, -2.0, -5.0], [-3.0, -1.0, -7.0], [-2.0, -5.0, -5.5])
    other = Pairs(pairs.chosen.select(list(order)), pairs.rejected.select(list(order)), pairs.p_chosen, pairs.margin)
    for loss_type in ("aot", "aot_unpaired"):
        objective = DPO(loss_type=loss_type)
        torch.testing.assert_close(loss(objective, other), loss(objective, pairs)[list(order)])


def sequences(tokens, ref_tokens, log_p2=None):
    """One completion of which every token is known."""
    values, ref = tensor(tokens)[None], tensor(ref_tokens)[None]
    n = torch.tensor([float(len(tokens))], dtype=torch.float64)
    stats = {} if log_p2 is None else {"log_p2": tensor(log_p2)[None]}
    return Sequences(values.sum(1), ref.sum(1), n, values, torch.zeros_like(values).long(), ref, stats)


def test_length_desensitised_tail():
    # Three shared tokens; the chosen side has two more: sums (-1, -2, -3, -4a, -5a) and (-1) * (3 + 2a).
    chosen = sequences([-1.0, -2.0, -3.0, -4.0, -5.0], [-1.0] * 5)
    rejected = sequences([-2.0, -2.0, -2.0], [-1.0] * 3)
    pairs = Pairs(chosen, rejected, tensor(1.0), tensor(0.0))
    for alpha in (0.0, 0.25, 1.0):
        found = DPO(beta=1.0, ld_alpha=alpha).losses(pairs)
        assert float(found.reward_chosen) == pytest.approx(-3 - 7 * alpha)
        assert float(found.reward_rejected) == pytest.approx(-3)
    assert float(DPO(ld_alpha=1.0).losses(pairs).loss) == pytest.approx(float(DPO().losses(pairs).loss))
    assert DPO(ld_alpha=0.5).reference_tokens
    assert not DPO().reference_tokens


def test_weights_are_the_chance_of_writing_both_sides_again():
    # log p - log sum p^2 is -0.5 a token on one side, -0.2 on the other.
    chosen = sequences([-1.0, -2.0], [-1.0, -1.0], [-0.5, -1.5])
    rejected = sequences([-1.0], [-1.0], [-0.8])
    pairs = Pairs(chosen, rejected, tensor(1.0), tensor(0.0))
    plain, weighted = (DPO(use_weighting=each).losses(pairs).loss for each in (False, True))
    assert float(weighted / plain) == pytest.approx(math.exp(-0.7))
    assert DPO(use_weighting=True).stats == ("log_p2",)
    swapped = Pairs(rejected, chosen, tensor(0.0), tensor(0.0))
    torch.testing.assert_close(DPO(use_weighting=True).losses(swapped).loss, weighted)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"loss_type": "exo_pair"}, "exo_pair needs label_smoothing"),
        ({"loss_type": "hinge", "label_smoothing": 0.1}, "no meaning with loss_type hinge"),
        ({"loss_type": ["sigmoid", "sigmoid"]}, "twice"),
        ({"loss_type": []}, "no loss"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "1 weights"),
        ({"loss_type": "aot", "use_weighting": True}, "takes apart"),
        ({"ld_alpha": 1.5}, "ld_alpha"),
        ({"loss_type": "kto_pair"}, "loss_type"),
    ],
)
def test_settings_without_meaning(settings, match):
    with pytest.raises(ValueError, match=match):
        DPO.model_validate(settings)


@pytest.mark.parametrize("loss_type", sorted(LOSSES))
def test_margins_are_taken_or_refused(loss_type):
    objective = DPO(loss_type=loss_type, label_smoothing=SMOOTHED.get(loss_type, 0.0))
    rows = make_rows(2).with_columns(margin=1.0)
    pairs = make_pairs(-5, -8, -7, -7)
    demanding = replace(pairs, margin=tensor(1.0))
    if "margin" in objective.refused():
        with pytest.raises(TrainingDataError, match=r"pair0, pair1$"):
            check_columns(rows, objective)
        torch.testing.assert_close(loss(objective, demanding), loss(objective, pairs))
    else:
        check_columns(rows, objective)
        assert float(loss(objective, demanding)) != float(loss(objective, pairs))


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_uncertain_labels_cannot_be_sorted(p):
    rows = make_rows(2).with_columns(p_chosen=p)
    with pytest.raises(TrainingDataError, match="`aot` sorts the step's pairs"):
        check_columns(rows, DPO(loss_type=("sigmoid", "aot")))
    check_columns(rows, DPO(loss_type="nca_pair"))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "aot"},
        {"loss_type": "aot_unpaired", "ld_alpha": 0.5},
        {"loss_type": ["sigmoid", "sft"], "use_weighting": True},
    ],
    ids=["aot", "aot_unpaired", "sft"],
)
def test_loss_and_gradient_do_not_depend_on_what_goes_through_the_model_at_once(settings, tmp_path, tiny, reference):
    objective, rows = DPO.model_validate({**settings, "beta": 1.0}), make_rows()
    logps = known(tmp_path, objective, rows, reference.model_copy(update={"tokens": True}))
    model = load_causal_lm(tiny, "cpu", "float32").requires_grad_(True)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(1.5)
    data = pair_data(rows, logps, load_tokenizer(tiny), 96, "cpu", objective, objective.parts(rows, 0))
    found = []
    for tokens in (100_000, 200, 1):
        parts = list(Batches(model, data, objective, tokens)(range(len(rows))))
        torch.stack([part.losses.sum() for part in parts]).sum().backward()
        losses = torch.zeros(len(rows))
        for part in parts:
            losses[list(part.rows)] = part.losses.detach()
        found.append((len(parts), losses, model.model.layers[0].mlp.up_proj.weight.grad.clone()))
        model.zero_grad()
    assert [found[0][0], found[2][0]] == [1, 6]
    largest = float(found[0][2].abs().max())
    assert largest > 1e-5
    for _, losses, gradient in found[1:]:
        torch.testing.assert_close(losses, found[0][1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient / largest, found[0][2] / largest, atol=1e-4, rtol=0)
