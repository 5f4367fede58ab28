"""Trimming by loss: what is left out of each step, and what it is worth under planted flips."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import CRM, DPO
from pref_assets.training.objectives.crm import keep_largest
from pref_assets_tests.training.objectives.laws import (
    assert_batching_changes_nothing,
    assert_same,
    tiny_data,
    with_columns,
)
from pref_assets_tests.training.objectives.pairs import make_pairs, tensor


def batch_of(h, **columns):
    return make_pairs(list(h), [0.0] * len(h), columns={name: list(each) for name, each in columns.items()})


def kept(objective, batch, carried=None):
    return objective.statistics(batch, objective.carried_start() if carried is None else carried)["kept"]


@pytest.mark.parametrize("p", [1.0, 0.8])
def test_without_noise_it_is_dpo(p):
    objective, batch = CRM(noise=0), make_pairs([3.0, -4], [0.0, 0], p=p, margin=[0, 1.0])
    assert objective.batch_columns() == ()
    assert objective.carried_start() == {}
    assert_same(objective, DPO(), batch)
    assert torch.equal(objective.losses(batch).loss, DPO().losses(batch).loss)


def test_the_largest_losses_go_and_the_mean_is_over_the_rest():
    objective, batch = CRM(noise=0.4, ramp_steps=0), batch_of([3, -5, 1, 0, -1])
    weights = kept(objective, batch)
    assert weights.tolist() == pytest.approx([5 / 3, 0, 5 / 3, 5 / 3, 0])
    trimmed = objective.losses(replace(batch, columns={"kept": weights}))
    full = DPO().losses(batch).loss
    assert float(trimmed.loss.mean()) == pytest.approx(float(full[[0, 2, 3]].mean()))
    assert trimmed.values["kept"].tolist() == [1, 0, 1, 1, 0]


def test_a_peer_picks_by_its_own_margins():
    objective, batch = CRM(noise=0.5, ramp_steps=0, peer="b"), batch_of([3, -5, 1, 0], peer=[-1, 2, 1, -3])
    assert kept(objective, batch).tolist() == [0, 2, 2, 0]
    assert objective.statistics_of_lengths
    assert not CRM().statistics_of_lengths


def test_the_share_grows_and_what_is_left_of_a_pair_waits():
    objective, carried = CRM(noise=0.2, ramp_steps=4), CRM().carried_start()
    batch = batch_of([4, 3, 2, 1, 0, -1, -2, -3])
    gone = [int((kept(objective, batch, carried) == 0).sum()) for _ in range(10)]
    # Owed: 0, .4, .8, 1.2, 1.6 a step, then 1.6 each.
    assert gone[:4] == [0, 0, 1, 1]
    assert sum(gone) == int(0 + 0.4 + 0.8 + 1.2 + 6 * 1.6)
    assert float(carried["steps"]) == 10
    assert 0 <= float(carried["owed"]) < 1


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.integers(0, 30))
def test_weights_are_one_on_average_and_never_all_zero(margins, drop):
    drop = min(drop, len(margins) - 1)
    weights = keep_largest(tensor(margins), drop)
    assert float(weights.mean()) == pytest.approx(1)
    assert int((weights == 0).sum()) <= drop
    out, stay = [m for m, w in zip(margins, weights, strict=True) if not w], max(margins)
    assert all(m < stay for m in out)


def test_pairs_that_tie_all_stay():
    assert keep_largest(torch.zeros(4), 2).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("peer", [None, "b"])
def test_micro_batches_change_nothing(peer, tiny, rows, logps, reference):
    objective = CRM(noise=0.5, ramp_steps=1, peer=peer, beta=1.0)
    rows = with_columns(peer=lambda i: (-1.0) ** i * i)(rows) if peer else rows
    policy, data = tiny_data(objective, tiny, rows, logps, reference)
    first, second = assert_batching_changes_nothing(objective, policy, data)
    assert (first > 0).all()
    assert int((second == 0).sum()) == 3


def linear_runs(flips, trim, seed=0, n=4000, d=16, steps=300, size=256):
    """Accuracy of linear rewards fitted by gradient steps on planted flips, trimmed or not, and the last margins."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    truth = rng.normal(size=d)
    x *= np.sign(x @ truth)[:, None]
    flipped = rng.random(n) < flips
    seen = torch.from_numpy(np.where(flipped[:, None], -x, x))
    objective = CRM(noise=flips if trim else 0.0, ramp_steps=100, beta=1.0)
    carried = objective.carried_start()
    w = torch.zeros(d, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=0.05)
    for _ in range(steps):
        rows = rng.permutation(n)[:size]
        batch = make_pairs([0.0] * size, [0.0] * size)
        h = seen[rows] @ w
        batch = replace(batch, chosen=replace(batch.chosen, logp=h, tokens=h[:, None]))
        if trim:
            batch = replace(batch, columns=objective.statistics(batch.detached(), carried))
        optimiser.zero_grad()
        objective.losses(batch).loss.mean().backward()
        optimiser.step()
    fresh = rng.normal(size=(4000, d))
    right = np.sign(fresh @ w.detach().numpy()) == np.sign(fresh @ truth)
    margins = (seen @ w).detach().numpy()
    worst = np.argsort(margins)[: int(flips * n)]
    return right.mean(), flipped[worst].mean(), flipped.mean()


@pytest.mark.parametrize(("flips", "at_least"), [(0.2, 0.85), (0.4, 0.78)])
def test_planted_flips_are_what_is_trimmed(flips, at_least):
    right, precision, base = linear_runs(flips, trim=True)
    plain, precision_plain, _ = linear_runs(flips, trim=False)
    assert precision >= at_least > 1.5 * base
    assert precision > precision_plain
    assert right > plain


def test_what_it_asks_for_and_refuses():
    assert CRM().score_columns() == {}
    assert CRM(peer="b").score_columns()["peer"].signed
    assert set(CRM().refused()) == {"two prompts", "tie"}
    assert set(CRM(noise=0).refused()) == {"two prompts"}
    with pytest.raises(ValueError, match="nobody needs to pick"):
        CRM(noise=0, peer="b")
    with pytest.raises(ValueError, match="noise"):
        CRM(noise=1)
