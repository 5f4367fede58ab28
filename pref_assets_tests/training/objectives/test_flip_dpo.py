"""Labels that may be flipped: three corrections, and flips learned beside the policy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, FlipDPO
from pref_assets.training.objectives.flip_dpo import known_flips, learned_flips
from pref_assets_tests.training.objectives.laws import assert_same, loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs

margins, shares = st.floats(-30, 30), st.floats(0, 1)


def number(value):
    return torch.tensor([value], dtype=torch.float64)


def pair(h, doubt, **settings):
    return make_pairs(h, 0.0, columns={"doubt": doubt}, **settings)


def flips(correction="forward", **settings):
    return FlipDPO(flips="rm", says="flipped", correction=correction, **settings)


def test_by_hand():
    # beta h = 1: S(1) = .731059, S(-1) = .268941; -log of them .313262 and 1.313262.
    batch = pair(10.0, 0.2)
    assert float(flips().losses(batch).loss) == pytest.approx(-math.log(0.8 * 0.7310585786 + 0.2 * 0.2689414214))
    assert float(flips("smooth").losses(batch).loss) == pytest.approx(0.8 * 0.3132616875 + 0.2 * 1.3132616875)
    assert float(flips("backward").losses(batch).loss) == pytest.approx((0.8 * 0.3132616875 - 0.2 * 1.3132616875) / 0.6)
    assert float(flips().losses(batch).values["p_flip"]) == pytest.approx(0.2)


@given(margins)
def test_labels_that_are_surely_right_are_dpo(h):
    for correction in ("forward", "backward", "smooth"):
        assert_same(flips(correction), DPO(), pair(h, 0.0))
    assert_same(FlipDPO(flips="rm"), DPO(), pair(h, 1.0))


@given(margins, st.floats(0, 0.44))
def test_equal_probabilities_are_the_variants_of_dpo(h, e):
    assert_same(flips("smooth"), DPO(), pair(h, e), make_pairs(h, 0.0, p=1 - e))
    assert_same(flips("backward"), DPO(loss_type="robust", label_smoothing=e), pair(h, e))


@given(margins, st.floats(0, 0.44))
def test_backward_is_unbiased(z, e):
    seen, turned = (known_flips(number(each), number(e), "backward", 0.45) for each in (z, -z))
    clean = known_flips(number(z), number(0.0), "forward", 0.45)
    torch.testing.assert_close((1 - e) * seen + e * turned, clean, rtol=1e-7, atol=1e-7)


@given(margins, shares)
def test_forward_is_a_probability_of_both_labels(z, e):
    both = sum(math.exp(-float(known_flips(number(each), number(e), "forward", 0.45))) for each in (z, -z))
    assert both == pytest.approx(1)


@given(st.floats(-700, 700), st.sampled_from([0.0, 1e-12, 0.5, 1.0]))
def test_finite_with_finite_gradients_far_out(z, e):
    at = number(z).requires_grad_()
    loss = known_flips(at, number(e), "forward", 0.45)
    loss.backward()
    assert math.isfinite(float(loss))
    assert math.isfinite(float(at.grad))


def test_doubt_takes_the_pull_off_pairs_that_look_flipped():
    # Far on the wrong side DPO pulls with beta; a likelihood that allows for flips lets go.
    _, up, _ = loss_and_gradient(flips(beta=1.0), pair(-20.0, 0.2))
    assert abs(float(up)) < 1e-7
    _, up, _ = loss_and_gradient(flips("smooth", beta=1.0), pair(-20.0, 0.2))
    assert float(up) == pytest.approx(-0.8, abs=1e-6)


def learned(h, logit):
    batch = make_pairs(h, [0.0] * len(h))
    outputs = torch.as_tensor(logit, dtype=torch.float64)[:, None]
    return replace(
        batch,
        chosen=replace(batch.chosen, outputs=outputs + 1),
        rejected=replace(batch.rejected, outputs=outputs - 1),
    )


def test_learned_flips_by_hand_and_at_their_limit():
    logit = math.log(0.2 / 0.8)
    loss = FlipDPO(prior=0.2).losses(learned([10.0], [logit]))
    torch.testing.assert_close(loss.loss, flips().losses(pair(10.0, 0.2)).loss)
    assert float(loss.values["p_flip"]) == pytest.approx(0.2)
    drawn = FlipDPO(prior=0.2, l2=3.0).losses(learned([10.0], [logit + 2])).loss
    assert float(drawn) == pytest.approx(float(learned_flips(number(1.0), number(logit + 2))) + 6)
    # NBPO: without flips the gradient is logistic, to 1e-8.
    at = number(0.7).requires_grad_()
    learned_flips(at, number(-30.0)).backward()
    assert float(at.grad) == pytest.approx(-1 / (1 + math.exp(0.7)), abs=1e-8)


def test_planted_flips_are_found_and_do_less_harm():
    """A linear policy with 20 % flipped labels: which it takes for flipped, and how well it does without them."""
    rng = np.random.default_rng(0)
    n, d = 2000, 8
    x = rng.normal(size=(n, d))
    truth = rng.normal(size=d)
    x *= np.sign(x @ truth)[:, None]
    # Labels are wrong where a feature that says nothing of preferences is large.
    doubt = rng.normal(size=n)
    flipped = rng.random(n) < np.where(doubt > 0.8, 0.75, 0.06)
    seen = torch.from_numpy(np.where(flipped[:, None], -x, x))
    signs = torch.from_numpy(np.stack([doubt > 0.8, np.ones(n)], 1).astype(float))
    right = {}
    for name in ("plain", "learned"):
        w, g = torch.zeros(d, dtype=torch.float64, requires_grad=True), torch.tensor([0.0, -2.2]).double()
        g.requires_grad_()
        optimiser = torch.optim.LBFGS([w, g] if name == "learned" else [w], max_iter=200)

        def closure(name=name, w=w, g=g, optimiser=optimiser):
            optimiser.zero_grad()
            z = seen @ w
            fit = learned_flips(z, signs @ g) if name == "learned" else -torch.nn.functional.logsigmoid(z)
            loss = fit.mean() + 1e-3 * (g**2).sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        right[name] = float((torch.from_numpy(x) @ w > 0).double().mean())
    posterior = torch.exp(
        torch.nn.functional.logsigmoid(signs @ g)
        + torch.nn.functional.logsigmoid(-(seen @ w))
        + learned_flips(seen @ w, signs @ g)
    )
    order = np.argsort(posterior.detach().numpy())
    ranks = np.empty(n)
    ranks[order] = np.arange(1, n + 1)
    k = int(flipped.sum())
    auc = (ranks[flipped].sum() - k * (k + 1) / 2) / (k * (n - k))
    assert auc > 0.75
    assert right["learned"] >= right["plain"]


def test_the_head_starts_at_the_prior_and_leaves_states_alone():
    head = FlipDPO(prior=0.2).head(6)
    states = torch.randn(3, 6, requires_grad=True)
    out = head(states)
    assert out.detach().sigmoid().flatten().tolist() == pytest.approx([0.2] * 3)
    out.sum().backward()
    assert states.grad is None
    assert head.linear.weight.grad.abs().sum() > 0
    assert flips().head(6) is None


def test_what_it_asks_for_and_refuses():
    assert FlipDPO().score_columns() == {}
    assert flips().score_columns()["doubt"].probability
    assert set(flips().refused()) == {"two prompts", "soft label", "tie"}
    for correction in ("backward", "smooth"):
        with pytest.raises(ValueError, match="no minimum in e"):
            FlipDPO(correction=correction)
    with pytest.raises(ValueError, match="most"):
        flips("backward", most=0.5)
    # Beyond its limit a probability counts as the limit.
    there = flips("backward", most=0.4).losses(pair(3.0, 0.9)).loss
    torch.testing.assert_close(there, flips("backward").losses(pair(3.0, 0.4)).loss)
