"""Objectives around DPO: what they reduce to, worked numbers, and what each term does not depend on."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.training.objectives import (
    DCPO,
    DOVE,
    DPO,
    MAPL,
    RDPO,
    SELM,
    SPO,
    HierarchicalDPO,
    HyPO,
)
from pref_assets.training.objectives.extended import first_or, joined
from pref_assets.training.objectives.hypo import sampled_kl
from pref_assets.training.objectives.mapl import INTER
from pref_assets.training.objectives.spo import PARTS_OF_LADDER
from pref_assets_tests.training.objectives.pairs import make_pairs, side, tensor

LOG2 = math.log(2)


def lacking(n=1):
    """A part that no pair has."""
    return side([0.0] * n, [0.0] * n, [0] * n)


def leaves(pairs):
    """The pairs with gradients on every policy number, and those numbers by name."""
    found = {}

    def leaf(name, sequences):
        found[name] = sequences.logp.clone().requires_grad_()
        return replace(sequences, logp=found[name])

    parts = {name: leaf(name, each) for name, each in pairs.parts.items()}
    chosen, rejected = leaf("chosen", pairs.chosen), leaf("rejected", pairs.rejected)
    return replace(pairs, chosen=chosen, rejected=rejected, parts=parts), found


def loss_and_gradients(objective, pairs):
    pairs, found = leaves(pairs)
    loss = objective.losses(pairs).loss
    loss.sum().backward()
    return loss.detach(), {name: None if each.grad is None else each.grad for name, each in found.items()}


def with_parts(**parts):
    return make_pairs(
        [-10.0, -7.0], [-12.0, -9.0], [-11.0, -8.0], [-11.5, -8.5], p=[1.0, 0.7], n_chosen=[4, 3], n_rejected=[5, 2],
        parts=parts,
    )  # fmt: skip


REDUCED = [
    (DOVE(), {"chosen_prompt": lacking(2), "rejected_prompt": lacking(2)}),
    (DCPO(perturb=0), {"rejected_own": lacking(2)}),
    (HierarchicalDPO(boundary=0, structure=0, prompt_side=0), dict.fromkeys(HierarchicalDPO.part_names, lacking(2))),
    (MAPL(l1=0, l2=0), dict.fromkeys(MAPL.part_names, lacking(2))),
    (RDPO(gamma=0), {"rationale": lacking(2)}),
    (SELM(inner=DPO(), alpha=0), {"sampled": lacking(2)}),
    (SPO(gamma=0), dict.fromkeys(PARTS_OF_LADDER, lacking(2))),
    (HyPO(lam=0), {}),
    # A pair that lacks every further sequence lacks every further term.
    (HierarchicalDPO(), dict.fromkeys(HierarchicalDPO.part_names, lacking(2))),
    (MAPL(), dict.fromkeys(MAPL.part_names, lacking(2))),
    (RDPO(gamma=0.1, form="logsigmoid"), {"rationale": lacking(2)}),
    (SPO(), dict.fromkeys(PARTS_OF_LADDER, lacking(2))),
]


@pytest.mark.parametrize(("objective", "parts"), REDUCED, ids=lambda each: getattr(each, "type", ""))
def test_without_its_own_term_each_is_dpo_in_loss_and_gradient(objective, parts):
    pairs = with_parts(**parts)
    for inner in (DPO(), DPO(loss_type="ipo"), DPO(label_smoothing=0.1)):
        ours, gradients = loss_and_gradients(objective.model_copy(update={"inner": inner}), pairs)
        theirs, expected = loss_and_gradients(inner, pairs)
        assert torch.equal(ours, theirs)
        for name in ("chosen", "rejected"):
            assert torch.equal(gradients[name], expected[name])


@pytest.mark.parametrize(("objective", "parts"), REDUCED, ids=lambda each: getattr(each, "type", ""))
def test_labels_count_as_certain_without_soft_labels(objective, parts):
    hard = objective.model_copy(update={"soft_labels": False})
    pairs = with_parts(**parts)
    assert torch.equal(hard.losses(pairs).loss, hard.pair_losses(pairs).loss)
    assert hard.losses(pairs).loss[1] != objective.losses(pairs).loss[1]


def test_soft_labels_are_set_in_one_place():
    with pytest.raises(ValueError, match="on the objective itself"):
        RDPO(inner=DPO(soft_labels=False))


# dove and dcpo


def test_dove_is_dpo_of_joint_log_probabilities():
    pairs = with_parts(
        chosen_prompt=side([-30.0, -20.0], [-31.0, -22.0], [9, 8]),
        rejected_prompt=side([-40.0, -25.0], [-38.0, -25.0], [7, 6]),
    )
    joint = make_pairs(
        [-40.0, -27.0], [-52.0, -34.0], [-42.0, -30.0], [-49.5, -33.5], p=[1.0, 0.7], n_chosen=[13, 11],
        n_rejected=[12, 8],
    )  # fmt: skip
    for inner in (DPO(), DPO(loss_type="ipo")):
        ours = DOVE(inner=inner).losses(pairs)
        assert torch.allclose(ours.loss, inner.losses(joint).loss, rtol=1e-12)
        assert torch.allclose(ours.reward_chosen, inner.losses(joint).reward_chosen)


def test_dove_logit_less_dcpo_logit_is_that_of_the_prompts():
    pairs = with_parts(
        chosen_prompt=side([-30.0, -20.0], [-31.0, -22.0], [9, 8]),
        rejected_prompt=side([-40.0, -25.0], [-38.0, -25.0], [7, 6]),
        rejected_own=lacking(2),
    )
    dove, dcpo = DOVE().losses(pairs), DCPO().losses(pairs)
    logits = [each.reward_chosen - each.reward_rejected for each in (dove, dcpo)]
    assert torch.allclose(logits[0] - logits[1], 0.1 * tensor([1.0 + 2.0, 2.0 - 0.0]))


def test_dove_sees_prompts_alone_change_and_equal_prompts_cancel():
    def loss(chosen, rejected):
        prompts = {"chosen_prompt": side(chosen, -31.0, 9), "rejected_prompt": side(rejected, -31.0, 9)}
        return float(DOVE().losses(make_pairs(-10.0, -12.0, -11.0, -11.5, parts=prompts)).loss)

    same = float(DPO().losses(make_pairs(-10.0, -12.0, -11.0, -11.5)).loss)
    assert loss(-30.0, -30.0) == pytest.approx(same, rel=1e-12)
    assert loss(-25.0, -30.0) < same < loss(-30.0, -25.0)


def test_an_unchanged_policy_has_loss_log_two():
    prompts = {"chosen_prompt": side(-30.0, -30.0, 9), "rejected_prompt": side(-8.0, -8.0, 9)}
    pairs = make_pairs(-10.0, -12.0, -10.0, -12.0, parts=prompts)
    assert float(DOVE().losses(pairs).loss) == pytest.approx(LOG2)


def test_dcpo_reads_the_rejected_answer_after_its_own_prompt():
    pairs = with_parts(rejected_own=side([-15.0, 0.0], [-14.0, 0.0], [5, 0]))
    expected = make_pairs(
        [-10.0, -7.0], [-15.0, -9.0], [-11.0, -8.0], [-14.0, -8.5], p=[1.0, 0.7], n_chosen=[4, 3], n_rejected=[5, 2]
    )
    for inner in (DPO(), DPO(loss_type="ipo")):
        assert torch.allclose(DCPO(inner=inner).losses(pairs).loss, inner.losses(expected).loss, rtol=1e-12)
    _, gradients = loss_and_gradients(DCPO(), pairs)
    assert gradients["rejected"].tolist()[0] == 0 != gradients["rejected"].tolist()[1]
    assert gradients["rejected_own"].tolist()[0] != 0 == gradients["rejected_own"].tolist()[1]


@pytest.mark.parametrize("objective", [DOVE(), DCPO()])
def test_pairs_across_prompts_are_taken_by_two_alone(objective):
    assert "two prompts" not in objective.refused()
    assert "margin" not in objective.refused()
    assert "margin" in objective.model_copy(update={"inner": DPO(loss_type="ipo")}).refused()
    for other in (HierarchicalDPO(), MAPL(), RDPO(), SELM(), SPO(), HyPO()):
        assert "two prompts" in other.refused()


def tokens_of(*rows):
    """Sequences of given token log-probabilities."""
    width = max(1, *(len(row) for row in rows))
    values = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=torch.float64)
    ids = torch.tensor([[*range(10, 10 + len(row)), *[-1] * (width - len(row))] for row in rows])
    counts = torch.tensor([float(len(row)) for row in rows], dtype=torch.float64)
    base = side([0.0] * len(rows), [0.0] * len(rows), [1] * len(rows))
    sums = values.sum(1)
    return replace(base, logp=sums, ref=sums / 2, n_tokens=counts, tokens=values, ids=ids, ref_tokens=values / 2)


def test_joined_sequences_have_no_hole_between_them():
    found = joined(tokens_of([-1.0], [-2.0, -3.0]), tokens_of([-4.0, -5.0], [-6.0]))
    assert found.tokens.tolist() == [[-1, -4, -5, 0], [-2, -3, -6, 0]]
    assert found.ids.tolist() == [[10, 10, 11, -1], [10, 11, 10, -1]]
    assert found.ref_tokens.tolist() == [[-0.5, -2, -2.5, 0], [-1, -1.5, -3, 0]]
    assert found.n_tokens.tolist() == [3, 3]
    assert found.logp.tolist() == [-10, -11]


def test_first_or_second_sequence_whole():
    found = first_or(tokens_of([-1.0], []), tokens_of([-4.0, -5.0], [-6.0]))
    assert found.tokens.tolist() == [[-1, 0], [-6, 0]]
    assert found.ids.tolist() == [[10, -1], [10, -1]]
    assert found.n_tokens.tolist() == [1, 1]


# hierarchical_dpo


def test_hierarchical_loss_and_gradient_are_weighted_sums_over_views():
    parts = {
        "boundary": side([-13.0, -9.0], [-12.0, -9.5], [4, 3]),
        "structure": side([-14.0, 0.0], [-11.0, 0.0], [4, 0]),
        "prompt_side": side([-20.0, -9.0], [-25.0, -8.0], [4, 3]),
    }
    pairs = with_parts(**parts)
    weights = {"instance": 0.5, "boundary": 0.4, "structure": 0.3, "prompt_side": 0.2}
    none = dict.fromkeys(weights, 0.0)
    whole, gradients = loss_and_gradients(HierarchicalDPO(**weights), pairs)
    summed, of_views = torch.zeros(2, dtype=torch.float64), dict.fromkeys(gradients, 0.0)
    for name, weight in weights.items():
        loss, each = loss_and_gradients(HierarchicalDPO(**{**none, name: 1.0}), pairs)
        summed = summed + weight * loss
        of_views = {n: g if each[n] is None else g + weight * each[n] for n, g in of_views.items()}
    assert torch.allclose(whole, summed, rtol=1e-12)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, of_views[name], rtol=1e-10)
    # The second pair has no structure view; of the first it is DPO of the chosen side over the view.
    structure = HierarchicalDPO(**{**none, "structure": 1.0}).losses(pairs).loss
    assert float(structure[0]) == pytest.approx(math.log1p(math.exp(-0.1 * (1 - -3))))
    assert float(structure[1]) == 0


def test_views_of_the_chosen_answer_do_not_depend_on_the_label():
    parts = dict.fromkeys(HierarchicalDPO.part_names, side([-13.0, -9.0], [-12.0, -9.5], [4, 3]))
    views = HierarchicalDPO(instance=0)
    certain = replace(with_parts(**parts), p_chosen=tensor([1.0, 1.0]))
    assert torch.equal(views.losses(certain).loss, views.losses(with_parts(**parts)).loss)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: HierarchicalDPO(instance=0, boundary=0, structure=0, prompt_side=0),
        lambda: HierarchicalDPO(inner=DPO(loss_type="aot")),
        lambda: MAPL(inner=DPO(loss_type="aot")),
        lambda: MAPL(instructions=1, violated=2),
        lambda: SPO(removal=(0.5, 0.5, 0.75)),
        lambda: SPO(removal=(0.0, 0.5, 0.75)),
        lambda: SPO(removal=(0.2, 0.5, 1.0)),
        lambda: HyPO(samples=1),
        lambda: DCPO(perturb=1.0),
        lambda: RDPO(rationale="guess"),
    ],
)
def test_settings_without_meaning_are_refused(bad):
    with pytest.raises(ValueError):
        bad()


# mapl


def mapl_pairs(followed, broken, inter=(0.0, 0.0, 0.0, 0.0)):
    parts = {"intra_followed": side(followed, -5.0, 3), "intra_broken": side(broken, -5.0, 3)}
    parts |= {name: side(value, 0.0, 3) for name, value in zip(INTER, inter, strict=True)}
    return make_pairs(-10.0, -12.0, -11.0, -11.5, parts=parts)


def test_mapl_terms_by_hand_and_blind_to_the_prompt():
    base = float(DPO().losses(mapl_pairs(-5.0, -5.0)).loss)
    # A policy to which the prompt makes no difference has log 2 in both further terms.
    assert float(MAPL().losses(mapl_pairs(-5.0, -5.0, (3.0, 1.0, 3.0, 1.0))).loss) == pytest.approx(base + 2 * LOG2)
    ours = MAPL(l1=0.5, l2=0.25).losses(mapl_pairs(-4.0, -7.0, (3.0, 1.0, 0.0, 2.0)))
    expected = base + 0.5 * math.log1p(math.exp(-0.1 * 3)) + 0.25 * math.log1p(math.exp(-0.1 * (2 - -2)))
    assert float(ours.loss) == pytest.approx(expected, rel=1e-12)
    assert float(ours.values["loss/inter"]) == pytest.approx(math.log1p(math.exp(-0.4)))


def test_mapl_raises_the_answer_under_the_prompt_it_follows():
    _, gradients = loss_and_gradients(MAPL(), mapl_pairs(-5.0, -5.0))
    signs = {name: math.copysign(1, float(each)) for name, each in gradients.items()}
    assert (signs["intra_followed"], signs["intra_broken"]) == (-1, 1)
    assert [signs[name] for name in INTER] == [-1, 1, 1, -1]


# rdpo


@pytest.mark.parametrize(("logp", "slope"), [(0, 0.500), (-100, 0.525), (-1000, 0.731)])
def test_slope_of_the_released_form(logp, slope):
    pairs = make_pairs(-10.0, -12.0, -11.0, -11.5, parts={"rationale": side(float(logp), 0.0, 50)})
    _, gradients = loss_and_gradients(RDPO(gamma=1e-3, form="logsigmoid"), pairs)
    assert -float(gradients["rationale"]) / 1e-3 == pytest.approx(slope, abs=1e-3)
    _, gradients = loss_and_gradients(RDPO(gamma=1e-3), pairs)
    assert -float(gradients["rationale"]) / 1e-3 == pytest.approx(1)


def test_rationale_likelihood_is_added_once_whatever_the_label():
    pairs = with_parts(rationale=side([-100.0, 0.0], [0.0, 0.0], [20, 0]))
    added = RDPO(gamma=0.01).losses(pairs)
    assert torch.allclose(added.loss - DPO().losses(pairs).loss, tensor([1.0, 0.0]))
    assert added.values["rdpo/rationales"].tolist() == [1, 0]
    assert added.values["rdpo/nll_per_token"].tolist() == [5, 0]


# spo


def ladder_pairs(outputs, n=2):
    """Pairs with head outputs (n, 4) at each of the four degrees."""
    pairs = with_parts(**{name: side([-1.0] * n, [0.0] * n, [2] * n) for name in PARTS_OF_LADDER})
    parts = {
        name: replace(pairs.parts[name], outputs=each) for name, each in zip(PARTS_OF_LADDER, outputs[1:], strict=True)
    }
    return replace(pairs, chosen=replace(pairs.chosen, outputs=outputs[0]), parts=parts)


def test_a_head_that_knows_nothing_costs_log_of_the_levels():
    pairs = ladder_pairs([torch.zeros(2, 4, dtype=torch.float64)] * 4)
    found = SPO(gamma=0.5).losses(pairs)
    assert torch.allclose(found.loss - DPO().losses(pairs).loss, tensor([0.5 * 1.3862943611] * 2))
    assert found.values["spo/degree_accuracy"].tolist() == [0.25, 0.25]
    assert found.values["spo/ladders"].tolist() == [1, 1]


def test_a_head_that_knows_costs_nothing():
    outputs = [40.0 * torch.eye(4, dtype=torch.float64)[[degree, degree]] for degree in range(4)]
    found = SPO().losses(ladder_pairs(outputs))
    assert torch.allclose(found.loss, DPO().losses(ladder_pairs(outputs)).loss, atol=1e-12)
    assert found.values["spo/degree_accuracy"].tolist() == [1, 1]


def test_a_linear_head_learns_the_degrees_of_a_toy():
    torch.manual_seed(0)
    objective, n = SPO(), 32
    head = objective.head(8)
    states = [torch.randn(n, 8) + 2 * torch.nn.functional.one_hot(torch.tensor(d), 8) for d in range(4)]
    ladder = {name: side([-1.0] * n, [0.0] * n, [2] * n) for name in PARTS_OF_LADDER}
    pairs = make_pairs([-1.0] * n, [-2.0] * n)
    optimizer = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(100):
        outputs = head(torch.cat(states)).split(n)
        parts = {name: replace(ladder[name], outputs=each) for name, each in zip(ladder, outputs[1:], strict=True)}
        term = objective.further(replace(pairs, chosen=replace(pairs.chosen, outputs=outputs[0]), parts=parts))
        optimizer.zero_grad()
        term.loss.mean().backward()
        optimizer.step()
    assert float(term.values["spo/degree_accuracy"].mean()) > 0.7


# selm


def test_selm_pushes_down_what_was_sampled_by_alpha_beta():
    pairs = with_parts(sampled=side([-20.0, -30.0], [-21.0, -28.0], [9, 9]))
    loss, gradients = loss_and_gradients(SELM(), pairs)
    base = DPO(beta=0.01).losses(pairs).loss
    assert torch.allclose(loss - base, tensor([1e-5, -2e-5]), atol=1e-12)
    # A minus in front of the term, or a gradient into the reference, would fail here.
    assert torch.allclose(gradients["sampled"], tensor([1e-5, 1e-5]), rtol=1e-12)


def test_several_samples_count_their_mean():
    parts = {f"sampled_{i}": side([-20.0 - i] * 2, [-20.0] * 2, [9, 9]) for i in range(3)}
    pairs = with_parts(**parts)
    added = SELM(samples=3).losses(pairs).loss - DPO(beta=0.01).losses(pairs).loss
    assert torch.allclose(added, tensor([-1e-5, -1e-5]), atol=1e-12)


def test_more_optimism_more_mass_on_arms_never_seen():
    unseen = []
    reference = torch.log_softmax(torch.zeros(5, dtype=torch.float64), 0)
    for alpha in (0.0, 0.05, 0.2):
        theta = torch.zeros(5, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([theta], 0.02)
        for _ in range(300):
            logps = torch.log_softmax(theta, 0)
            # Arm 0 beats arm 1; the reference gave arms 0, 1 and 2; 3 and 4 are never seen.
            parts = {f"sampled_{i}": replace(side(0.0, 0.0), logp=logps[i : i + 1]) for i in range(3)}
            parts = {name: replace(each, ref=reference[:1]) for name, each in parts.items()}
            pairs = make_pairs(0.0, 0.0, parts=parts)
            pairs = replace(
                pairs,
                chosen=replace(pairs.chosen, logp=logps[:1], ref=reference[:1]),
                rejected=replace(pairs.rejected, logp=logps[1:2], ref=reference[:1]),
            )
            loss = SELM(inner=DPO(beta=1.0), alpha=alpha, samples=3).losses(pairs).loss.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        unseen.append(float(torch.softmax(theta, 0)[3:].sum().detach()))
    assert unseen == sorted(unseen)
    assert unseen[2] > unseen[0] + 0.01


# hypo

REFERENCE = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
FEATURES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.5, 0.0]], dtype=torch.float64)


def bandit(lam, rate=0.5, steps=4000, objective=DPO()):  # noqa: B008 (immutable)
    """Mass on the arm that no pair has, and the divergence, after exact gradient descent on arm 1 over arm 2."""
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    start = make_pairs(0.0, 0.0, math.log(0.4), math.log(0.4))
    for _ in range(steps):
        logps = torch.log_softmax(REFERENCE.log() + FEATURES @ theta, 0)
        pairs = replace(
            start,
            chosen=replace(start.chosen, logp=logps[:1]),
            rejected=replace(start.rejected, logp=logps[1:2]),
        )
        loss = objective.losses(pairs).loss.sum() + lam * (logps.exp() * (logps - REFERENCE.log())).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        theta = (theta - rate * gradient).detach().requires_grad_()
    policy = torch.softmax(REFERENCE.log() + FEATURES @ theta, 0).detach()
    return float(policy[2]), float((policy * (policy.log() - REFERENCE.log())).sum())


def test_the_divergence_keeps_mass_off_arms_that_no_pair_has():
    mass, divergence = bandit(0.0)
    assert mass == pytest.approx(0.9998, abs=1e-4)
    assert divergence == pytest.approx(1.607, abs=1e-3)
    mass, divergence = bandit(0.1)
    assert mass == pytest.approx(0.459, abs=1e-3)
    assert divergence == pytest.approx(0.545, abs=1e-3)


def test_dpo_is_blind_to_arms_that_no_pair_has():
    for policy, divergence in (((0.792, 0.008, 0.2), 0.5097), ((0.099, 0.001, 0.9), 1.2094)):
        p = torch.tensor(policy, dtype=torch.float64)
        pairs = make_pairs(math.log(policy[0]), math.log(policy[1]), math.log(0.4), math.log(0.4))
        assert float(DPO().losses(pairs).loss) == pytest.approx(0.489556, abs=1e-6)
        assert float((p * (p / REFERENCE).log()).sum()) == pytest.approx(divergence, abs=1e-4)


def test_sampled_divergence_and_its_gradient_are_unbiased():
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor([0.8, -0.3, 0.4], dtype=torch.float64, requires_grad=True)

    def logps():
        return torch.log_softmax(theta, 0)

    exact = (logps().exp() * (logps() - REFERENCE.log())).sum()
    (expected,) = torch.autograd.grad(exact, theta)
    drawn = torch.multinomial(logps().exp().detach(), 20_000 * 3, replacement=True, generator=generator).view(-1, 3)
    values = sampled_kl(logps()[drawn], REFERENCE.log()[drawn])
    assert float(values.mean().detach()) == pytest.approx(
        float(exact.detach()), abs=3 * float(values.std().detach()) / 20_000**0.5
    )
    batches = [sampled_kl(logps()[each], REFERENCE.log()[each]).mean() for each in drawn.split(200)]
    gradients = torch.stack([torch.autograd.grad(each, theta)[0] for each in batches])
    error = gradients.std(0) / len(batches) ** 0.5
    assert bool(((gradients.mean(0) - expected).abs() < 3.5 * error).all())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=2, max_size=5), st.floats(0, 1))
def test_hypo_value_is_the_estimate_and_its_gradient_sums_to_nothing(logps, lam):
    parts = {f"sampled_{i}": side(value, -3.0, 4) for i, value in enumerate(logps)}
    pairs = make_pairs(-10.0, -12.0, -11.0, -11.5, parts=parts)
    loss, gradients = loss_and_gradients(HyPO(lam=lam, samples=len(logps)), pairs)
    expected = float(DPO().losses(pairs).loss) + lam * (sum(logps) / len(logps) + 3)
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    if lam:
        assert sum(float(gradients[name]) for name in parts) == pytest.approx(0, abs=1e-9)
        worst = max(range(len(logps)), key=lambda i: logps[i])
        assert float(gradients[f"sampled_{worst}"]) >= 0
