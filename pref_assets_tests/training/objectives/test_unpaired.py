"""KTO and BCO: each side on its own, against a point that the step measures."""

import math
from dataclasses import replace

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.training.data import sequence_id
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives import BCO, DPO, KTO, Objective
from pref_assets.training.objectives.kernel import Pairs, check_columns
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import pair_data
from pref_assets_tests.training.conftest import make_rows
from pref_assets_tests.training.objectives.pairs import make_pairs, side
from pref_assets_tests.training.objectives.test_every_objective import known


def of(objective: Objective, pairs: Pairs, carried=None) -> Pairs:
    found = objective.statistics(pairs.detached(), objective.carried_start() if carried is None else carried)
    return replace(pairs, columns=found)


def mismatched(*ratios):
    half = len(ratios) // 2
    return {"mismatched_chosen": side(list(ratios[:half])), "mismatched_rejected": side(list(ratios[half:]))}


def test_kto_by_hand():
    # The reference point is (1 + 3) / 2 = 2: S(.5 (4 - 2)) = .731058579, S(.5 (2 - 1)) = .622459331.
    pairs = make_pairs(4.0, 1.0, parts=mismatched(1.0, 3.0))
    objective = KTO(beta=0.5, desirable_weight=1.2, undesirable_weight=0.8)
    found = objective.losses(of(objective, pairs))
    expected = (1.2 * (1 - 0.7310585786300049) + 0.8 * (1 - 0.6224593312018546)) / 2
    assert float(found.loss) == pytest.approx(expected, rel=1e-9)
    assert (float(found.reward_chosen), float(found.reward_rejected)) == (2.0, 0.5)
    assert float(found.values["kl"]) == 2


def test_the_reference_point_is_never_negative_and_has_no_gradient():
    pairs = make_pairs([4.0, 2.0], [1.0, 0.0], parts=mismatched(-9.0, 1.0, 1.0, 1.0))
    assert of(KTO(), pairs).columns["kl"].tolist() == [0, 0]
    pairs = make_pairs([4.0, 2.0], [1.0, 0.0], parts=mismatched(1.0, 1.0, 1.0, 9.0))
    pairs.parts["mismatched_chosen"].logp.requires_grad_()
    columns = of(KTO(), pairs).columns
    assert columns["kl"].tolist() == [3, 3]
    assert not columns["kl"].requires_grad


@settings(deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_without_a_reference_point_kto_is_half_of_apo_zero(chosen, rejected):
    pairs = make_pairs(chosen, rejected)
    unpaired = KTO(loss_type="apo_zero_unpaired").losses(pairs).loss
    torch.testing.assert_close(2 * unpaired, DPO(loss_type="apo_zero").losses(pairs).loss)
    at_zero = KTO().losses(replace(pairs, columns={"kl": torch.zeros(1, dtype=torch.float64)})).loss
    torch.testing.assert_close(at_zero, unpaired)


def test_a_tie_pulls_neither_way():
    pairs = make_pairs(0.0, 0.0, p=0.5, parts=mismatched(0.0, 0.0))
    pairs.chosen.logp.requires_grad_()
    KTO().losses(of(KTO(), pairs)).loss.sum().backward()
    assert float(pairs.chosen.logp.grad) == pytest.approx(0, abs=1e-12)


def test_answers_of_the_pair_before_stand_in_whatever_the_order_of_rows():
    rows = make_rows(4)
    parts = KTO().parts(rows, 0)
    assert parts.equals(KTO().parts(rows.reverse(), 0))
    by = {(row["pair_id"], row["part"]): row for row in parts.iter_rows(named=True)}
    texts = {row["pair_id"]: row for row in rows.iter_rows(named=True)}
    for pair, before in (("pair0", "pair3"), ("pair1", "pair0"), ("pair2", "pair1"), ("pair3", "pair2")):
        for each in ("chosen", "rejected"):
            found = by[pair, f"mismatched_{each}"]
            assert found["prompt"] == texts[pair]["prompt"]
            assert found["completion"] == texts[before][each]
            assert found["sequence_id"] == sequence_id(texts[pair]["prompt"], texts[before][each])
    assert KTO(loss_type="apo_zero_unpaired").parts(rows, 0).is_empty()


def test_pairs_of_the_same_prompt_are_passed_over():
    rows = make_rows(5)
    prompts = [rows["prompt"][i] for i in (0, 1, 1, 1, 0)]
    rows = rows.with_columns(pl.Series("prompt", prompts, dtype=rows.schema["prompt"]))
    parts = KTO().parts(rows, 0).filter(part="mismatched_chosen").sort("pair_id")
    origins = {row["chosen"][0]["content"]: row["pair_id"] for row in rows.iter_rows(named=True)}
    assert [origins[each[0]["content"]] for each in parts["completion"].to_list()] == [
        "pair3",
        "pair0",
        "pair0",
        "pair0",
        "pair3",
    ]
    alike = rows.with_columns(pl.Series("prompt", prompts[:1] * 5, dtype=rows.schema["prompt"]))
    with pytest.raises(TrainingDataError, match="at least two prompts, all have one: pair0"):
        KTO().parts(alike, 0)


def test_bco_by_hand_and_its_running_shift():
    objective = BCO(beta=0.5)
    carried = objective.carried_start()
    # Rewards 2 and 0: the shift is 1. Then rewards 1, 1, 1, 1: it is (2 + 4) / 6 = 1.
    first = of(objective, make_pairs(4.0, 0.0), carried)
    found = objective.losses(first)
    assert float(found.loss) == pytest.approx(-math.log(0.7310585786300049), rel=1e-9)
    second = of(objective, make_pairs([2.0, 2.0], [2.0, 2.0]), carried)
    assert second.columns["shift"].tolist() == pytest.approx([1, 1])
    third = of(objective, make_pairs([20.0], [12.0]), carried)
    assert float(third.columns["shift"]) == pytest.approx((2 + 4 + 16) / 8)
    assert float(carried["bco_examples"]) == 8


@settings(deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_bco_without_a_shift_is_half_of_bco_pair(chosen, rejected):
    pairs = replace(make_pairs(chosen, rejected), columns={"shift": torch.zeros(1, dtype=torch.float64)})
    torch.testing.assert_close(2 * BCO().losses(pairs).loss, DPO(loss_type="bco_pair").losses(pairs).loss)


@pytest.mark.parametrize("objective", [KTO(), BCO()], ids=["kto", "bco"])
def test_margins_are_refused_and_soft_labels_are_not(objective):
    check_columns(make_rows(2).with_columns(p_chosen=0.5), objective)
    with pytest.raises(TrainingDataError, match="margin"):
        check_columns(make_rows(2).with_columns(margin=1.0), objective)


@pytest.mark.parametrize("objective", [KTO(beta=0.5), BCO(beta=0.5)], ids=["kto", "bco"])
def test_loss_and_gradient_do_not_depend_on_what_goes_through_the_model_at_once(objective, tmp_path, tiny, reference):
    rows = make_rows()
    logps = known(tmp_path, objective, rows, reference)
    model = load_causal_lm(tiny, "cpu", "float32").requires_grad_(True)
    data = pair_data(rows, logps, load_tokenizer(tiny), 96, "cpu", objective, objective.parts(rows, 0))
    # As if the policy had moved: another reference for every pair.
    away = torch.linspace(0.5, 2, len(rows))
    data = replace(data, parts={name: replace(part, ref=part.ref - away) for name, part in data.parts.items()})
    found = []
    for tokens in (100_000, 1):
        carried = objective.carried_start()
        batches = Batches(model, data, objective, tokens, carried=carried)
        parts = list(batches(range(len(rows))))
        torch.stack([part.losses.sum() for part in parts]).sum().backward()
        gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()
        point = torch.cat([part.values["kl" if isinstance(objective, KTO) else "shift"] for part in parts])
        assert point.unique().numel() == 1
        found.append((float(sum(part.losses.sum() for part in parts)), gradient, float(point[0])))
        model.zero_grad()
    (loss, gradient, point), (other_loss, other_gradient, other_point) = found
    assert abs(point) > 1e-3
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert other_point == pytest.approx(point, rel=1e-4)
    largest = float(gradient.abs().max())
    torch.testing.assert_close(other_gradient / largest, gradient / largest, atol=1e-4, rtol=0)
