import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training import RewardModelCheckpoint
from pref_assets.training.plan import batch_plan, learning_rate


def settings(**values):
    return RewardModelCheckpoint.model_validate({"subset": "s", "learning_rate": 0.5, **values})


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.integers(1, 3), st.integers(1, 7))
def test_every_row_once_an_epoch_and_stages_in_order(stages, epochs, batch_pairs):
    plan = batch_plan(stages, settings(epochs=epochs, batch_pairs=batch_pairs))
    seen = [row for batch in plan for row in batch]
    assert sorted(seen) == sorted(list(range(len(stages))) * epochs)
    assert [stages[row] for row in seen] == sorted(stages * epochs)
    assert max(len(batch) for batch in plan) <= batch_pairs


def test_order_depends_on_seed_and_epoch():
    one, other = (batch_plan([1] * 20, settings(epochs=2, batch_pairs=20, seed=seed)) for seed in (0, 1))
    assert one[0] != one[1]
    assert one[0] != other[0]
    assert one == batch_plan([1] * 20, settings(epochs=2, batch_pairs=20, seed=0))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.25, 0.5, 0.5, 0.4267767, 0.25, 0.0732233]),
        ("constant", [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_learning_rate_by_hand(schedule, expected):
    # Two of six steps warm up (a third, rounded up); four more fall from 0.5 towards 0.
    config = settings(schedule=schedule, warmup=0.3)
    assert [learning_rate(step, 6, config) for step in range(6)] == pytest.approx(expected)
