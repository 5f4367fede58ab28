import polars as pl
import pytest
import torch

from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.pairs.schema import REFERENCE_LOGPS
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.objectives import CPO, SFT
from pref_assets.training.pair_batches import Batches
from pref_assets.training.pair_data import pair_data
from pref_assets_tests.training.conftest import make_rows
from pref_assets_tests.training.objectives.pairs import make_pairs


def test_likelihood_of_the_chosen_side_alone() -> None:
    pairs = make_pairs([-3.0, -8.0], [-1.0, -2.0], n_chosen=[2, 4])
    assert SFT().losses(pairs).loss.tolist() == [1.5, 2.0]
    assert SFT(per_token=False).losses(pairs).loss.tolist() == [3.0, 8.0]


def test_a_soft_label_likes_both_sides() -> None:
    pairs = make_pairs(-3.0, -1.0, p=0.75)
    assert SFT().losses(pairs).loss.item() == 0.75 * 3 + 0.25 * 1


def test_the_rejected_side_is_read_only_where_the_label_is_uncertain(tiny: str) -> None:
    rows = make_rows(3).with_columns(p_chosen=pl.Series([1.0, 0.75, 1.0]))
    reader, model = load_reader(tiny), load_causal_lm(tiny, "cpu")
    data = pair_data(rows, REFERENCE_LOGPS.empty(), reader, 512, "cpu", SFT())
    assert [each is not None for each in data.parts["rejected"].encoded] == [False, True, False]
    found = {}
    for part in Batches(model, data, SFT(), 2048)([0, 1, 2]):
        assert set(part.values) == {"rewards/chosen", "logps/chosen"}
        found |= dict(zip(part.rows, part.losses.tolist(), strict=True))
    chosen = completion_logps(model, data.chosen, 2048)
    rejected = completion_logps(model, data.rejected, 2048)
    means = [-logp / count for logp, count in zip(*chosen, strict=True)]
    mixed = 0.75 * means[1] - 0.25 * rejected[0][0] / rejected[1][0]
    assert [found[row] for row in range(3)] == pytest.approx([means[0], mixed, means[2]], rel=1e-5)


def test_the_rejected_side_has_no_gradient_and_neither_has_the_reference_a_part() -> None:
    logp = torch.tensor([-3.0, -1.0], dtype=torch.float64, requires_grad=True)
    pairs = make_pairs(0.0, 0.0)
    chosen, rejected = (pairs.chosen.__class__(**{**pairs.chosen.__dict__, "logp": logp[i : i + 1]}) for i in (0, 1))
    found = SFT(per_token=False).losses(pairs.__class__(**{**pairs.__dict__, "chosen": chosen, "rejected": rejected}))
    assert torch.autograd.grad(found.loss.sum(), logp)[0].tolist() == [-1.0, 0.0]
    assert SFT.reference_free
    assert CPO.reference_free
