"""The optimiser loop on a toy: the same as a plain loop, exact after a stop, and clear when it must end."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pref_assets.training.errors import DivergedError, NonFiniteLossError, TrainingDataError
from pref_assets.training.loop import step_seed
from pref_assets.training.plan import batch_plan, learning_rate
from pref_assets.training.state import WorkFolder
from pref_assets_tests.training.conftest import Recorder
from pref_assets_tests.training.toy import Toy


class Killed(BaseException):
    """Ends a run the way a signal does."""


class KilledAfter(Recorder):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        super().metrics(step, values)
        if step == self.step:
            raise Killed


def same(left: Toy, right: Toy) -> bool:
    return all(torch.equal(tensor, right.tensors()[name]) for name, tensor in left.tensors().items())


def saved_steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("max_grad_norm", [1e9, 0.05])
def test_a_plain_loop_ends_at_the_same_weights(tmp_path: Path, max_grad_norm: float) -> None:
    """Whole batches, no micro-batches, one AdamW: what accumulation and clipping must come to."""
    toy, plain, report = Toy(), Toy(), Recorder()
    toy.fit(tmp_path, report, max_grad_norm=max_grad_norm, weight_decay=0.1)
    settings = plain.loop(max_grad_norm=max_grad_norm, weight_decay=0.1).settings
    optimizer = torch.optim.AdamW(plain.net.parameters(), lr=0.05, weight_decay=0.1)
    plan = batch_plan([1] * 9, settings)
    norms = []
    for step, rows in enumerate(plan):
        optimizer.param_groups[0]["lr"] = learning_rate(step, len(plan), settings)
        losses = (plain.net(plain.inputs[rows].double())[:, 0] - plain.targets[rows] - 0.1 * plain.mean) ** 2
        optimizer.zero_grad()
        losses.mean().backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(plain.net.parameters(), max_grad_norm)))
        optimizer.step()
        plain.mean += 0.5 * (losses.detach().mean() - plain.mean)
    for name, tensor in plain.tensors().items():
        torch.testing.assert_close(toy.tensors()[name], tensor)
    assert [values["grad_norm"] for _, values in report.steps] == pytest.approx(norms)
    assert max(norms) > 0.05
    assert [values["double"] for _, values in report.steps] == pytest.approx(
        [2 * values["loss"] for _, values in report.steps]
    )


@pytest.mark.parametrize("part", [1, 3, 100])
def test_micro_batches_make_no_difference(tmp_path: Path, part: int) -> None:
    whole, parts = Toy(), Toy(part=part)
    whole.fit(tmp_path / "whole", Recorder())
    parts.fit(tmp_path / "parts", Recorder())
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(parts.tensors()[name], tensor)


@pytest.mark.parametrize("step", [1, 4, 6, 7])
@pytest.mark.parametrize("stop", [None, {"every": 2, "patience": 2}])
def test_stopped_and_resumed_is_bit_for_bit_the_same(tmp_path: Path, step: int, stop: dict[str, int] | None) -> None:
    """Dropout, the carried mean, a weight without gradient, and what early stopping knows."""
    whole, parts, again = (Toy(dropout=0.3) for _ in range(3))
    fitted = whole.fit(tmp_path / "whole", Recorder(), early_stop=stop, epochs=6)
    with pytest.raises(Killed):
        parts.fit(tmp_path / "parts", KilledAfter(step), early_stop=stop, epochs=6)
    resumed = again.fit(tmp_path / "parts", Recorder(), early_stop=stop, epochs=6)
    assert resumed.resumed_from == (step - 1) // 3 * 3
    assert same(whole, again)
    assert (resumed.steps, resumed.notes) == (fitted.steps, fitted.notes)
    assert saved_steps(tmp_path / "parts") == list(range(1, fitted.steps + 1))


def test_the_state_holds_carried_values_and_forgets_later_metrics(tmp_path: Path) -> None:
    toy, other = Toy(), Toy()
    with pytest.raises(Killed):
        toy.fit(tmp_path, KilledAfter(5))
    assert saved_steps(tmp_path) == [1, 2, 3, 4, 5]
    optimizer = torch.optim.AdamW(other.parameters.values())
    restored = WorkFolder(tmp_path).restore(other.parameters, optimizer, {"mean": other.mean})
    assert restored.step == 3
    assert float(other.mean) > 0
    assert other.unused not in optimizer.state
    WorkFolder(tmp_path).forget_after(restored.step)
    assert saved_steps(tmp_path) == [1, 2, 3]


def test_early_stopping_keeps_the_weights_of_the_lowest_heldout_loss(tmp_path: Path) -> None:
    toy, report = Toy(), Recorder()
    losses = iter([0.9, 0.5, 0.45, 0.48, 0.44, 0.6, 0.7])
    weights: list[torch.Tensor] = []

    def validate() -> dict[str, float]:
        weights.append(toy.net[0].weight.detach().clone())
        return {"loss": next(losses)}

    loop = toy.loop(early_stop={"every": 1, "patience": 3, "min_delta": 0.1})
    loop = type(loop)(**{**vars(loop), "validate": validate})
    fitted = loop.fit(batch_plan([1] * 9, loop.settings), WorkFolder(tmp_path), report)
    # 0.45, 0.48 and 0.44 are not below 0.5 by 0.1.
    assert fitted.steps == 5
    assert fitted.notes == {"best_step": 2, "heldout_loss": 0.5}
    assert torch.equal(toy.net[0].weight, weights[1])
    assert [values["heldout/loss"] for _, values in report.steps] == [0.9, 0.5, 0.45, 0.48, 0.44]
    assert report.logs == ["stopped after step 5 of 8: no lower held-out loss since 2"]


def test_the_heldout_loss_is_the_mean_over_heldout_rows_and_changes_nothing(tmp_path: Path) -> None:
    measured, plain, report = Toy(), Toy(), Recorder()
    measured.fit(tmp_path / "a", report, early_stop={"every": 8, "patience": 1}, schedule="constant")
    plain.fit(tmp_path / "b", Recorder(), schedule="constant")
    assert same(measured, plain)
    with torch.no_grad():
        x = plain.inputs[9:].double()
        expected = ((plain.net(x)[:, 0] - plain.targets[9:] - 0.1 * plain.mean) ** 2).mean()
    assert report.steps[-1][1]["heldout/loss"] == pytest.approx(float(expected))


def test_early_stopping_without_anything_to_measure_on_is_refused(tmp_path: Path) -> None:
    loop = Toy().loop(early_stop={})
    loop = type(loop)(**{**vars(loop), "heldout": []})
    with pytest.raises(TrainingDataError, match="no held-out pairs"):
        loop.fit([[0]], WorkFolder(tmp_path), Recorder())


def test_a_heldout_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match="step 2: the loss on the held-out pairs"):
        Toy(poison=10).fit(tmp_path, Recorder(), early_stop={"every": 2})


def test_a_loss_above_the_limit_names_the_batch_and_leaves_the_weights(tmp_path: Path) -> None:
    toy, fresh = Toy(), Toy()
    with pytest.raises(DivergedError, match=r"step 1: the mean loss is \S+, above max_loss 0.001.*(pair\d, ){4}pair\d"):
        toy.fit(tmp_path, Recorder(), max_loss=0.001)
    assert torch.equal(toy.net[0].weight, fresh.net[0].weight)
    Toy().fit(tmp_path / "high", Recorder(), max_loss=100.0)


def test_a_loss_that_is_no_number_names_its_pair(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"the loss of pairs pair4 is not finite. Pairs of the batch: "):
        Toy(poison=4).fit(tmp_path, Recorder())


def test_metrics_say_speed_memory_and_use_of_the_device(tmp_path: Path) -> None:
    toy, report = Toy(), Recorder()
    loop = toy.loop()
    assert loop.utilisation(100.0) == {}
    loop = type(loop)(**{**vars(loop), "flops_per_token": 6e6, "peak_flops": 1e12})
    fitted = loop.fit(batch_plan([1] * 9, loop.settings), WorkFolder(tmp_path), report)
    values = report.steps[-1][1]
    assert values["mfu"] == pytest.approx(values["tokens_per_second"] * 6e-6)
    assert values["world_size"] == 1
    assert values["peak_rss_mib"] > 50
    # Four epochs of nine rows of ten tokens.
    assert fitted.tokens == 360
    assert all(math.isfinite(value) for value in values.values())


def test_seeds_differ_by_step_and_by_process() -> None:
    seeds: dict[int, Any] = {}
    for seed in (0, 1, 2**31 - 1):
        for step in (0, 1, 999_999):
            for rank in (0, 1, 2047):
                seeds[step_seed(seed, step, rank)] = (seed, step, rank)
    assert len(seeds) == 27
    assert max(seeds) < 2**64
