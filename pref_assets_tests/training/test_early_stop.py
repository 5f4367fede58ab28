"""Early stopping as pure functions: what is held out, and when to stop."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.early_stop import EarlyStop, Watch, heldout_rows
from pref_assets.training.errors import TrainingDataError
from pref_assets_tests.training.toy import rows


def test_all_pairs_of_a_share_of_the_prompts_are_held_out() -> None:
    frame = rows(40, prompts=10)
    held = heldout_rows(frame, EarlyStop(heldout=0.25), seed=0)
    prompts = frame["prompt"].to_list()
    out = {json.dumps(prompts[row]) for row in held}
    # A quarter of ten prompts, rounded up, with the four pairs of each.
    assert (len(out), len(held)) == (3, 12)
    assert not out & {json.dumps(prompt) for row, prompt in enumerate(prompts) if row not in held}
    assert held != heldout_rows(frame, EarlyStop(heldout=0.25), seed=1)


@given(st.permutations(range(12)), st.floats(0.01, 0.99))
def test_what_is_held_out_does_not_depend_on_row_order(order: list[int], share: float) -> None:
    frame, settings = rows(12, prompts=5), EarlyStop(heldout=share)
    mixed = frame[order]

    def ids(found: pl.DataFrame) -> set[str]:
        return set(found[heldout_rows(found, settings, seed=3)]["pair_id"].to_list())

    assert ids(mixed) == ids(frame)
    assert 0 < len(ids(frame)) < 12


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(TrainingDataError, match="at least two prompts"):
        heldout_rows(rows(4, prompts=1), EarlyStop(), seed=0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(1, 5))
def test_it_stops_after_so_many_measurements_that_are_not_lower(losses: list[float], patience: int) -> None:
    settings, watch = EarlyStop(patience=patience), Watch()
    for step, loss in enumerate(losses, 1):
        # Saved and restored at any point, it decides alike.
        watch = Watch.of(json.loads(json.dumps(watch.notes())))
        assert watch.measured(step, loss, settings) == (loss < min(losses[: step - 1], default=11))
        if watch.stops(settings):
            break
    assert watch.best_loss == min(losses[:step])
    assert watch.best_step == losses.index(min(losses[:step])) + 1
    assert watch.stops(settings) == (step - watch.best_step >= patience)
