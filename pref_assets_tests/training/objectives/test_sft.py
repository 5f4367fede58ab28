import torch

from pref_assets.training.objectives import CPO, SFT
from pref_assets_tests.training.objectives.pairs import make_pairs


def test_likelihood_of_the_chosen_side_alone() -> None:
    pairs = make_pairs([-3.0, -8.0], [-1.0, -2.0], n_chosen=[2, 4])
    assert SFT().losses(pairs).loss.tolist() == [1.5, 2.0]
    assert SFT(per_token=False).losses(pairs).loss.tolist() == [3.0, 8.0]


def test_a_soft_label_likes_both_sides() -> None:
    pairs = make_pairs(-3.0, -1.0, p=0.75)
    assert SFT().losses(pairs).loss.item() == 0.75 * 3 + 0.25 * 1


def test_the_rejected_side_has_no_gradient_and_neither_has_the_reference_a_part() -> None:
    logp = torch.tensor([-3.0, -1.0], dtype=torch.float64, requires_grad=True)
    pairs = make_pairs(0.0, 0.0)
    chosen, rejected = (pairs.chosen.__class__(**{**pairs.chosen.__dict__, "logp": logp[i : i + 1]}) for i in (0, 1))
    found = SFT(per_token=False).losses(pairs.__class__(**{**pairs.__dict__, "chosen": chosen, "rejected": rejected}))
    assert torch.autograd.grad(found.loss.sum(), logp)[0].tolist() == [-1.0, 0.0]
    assert SFT.reference_free
    assert CPO.reference_free
