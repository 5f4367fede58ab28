"""Ranking accuracies by hand, and both policy evaluations on a real (tiny) policy."""

import polars as pl
import pytest

from pref_assets.evaluation import RankingAccuracy, Verifier
from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.heldout import held_out
from pref_assets.evaluation.policy import evaluate_policy
from pref_assets.evaluation.ranking import POLICY_LOGPS, logps_key, pair_margins
from pref_assets.evaluation.verifier import GENERATIONS, generations_key
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.models.tiny import tiny_llama
from pref_assets.selection.base import decisions
from pref_assets.training.checkpoint import Pinned, read_manifest
from pref_assets.training.data import training_rows, with_shown
from pref_assets.training.job import Job
from pref_assets.training.jobs import policy_job
from pref_assets.training.policy import PolicyCheckpoint, train_policy
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows
from pref_assets_tests.evaluation.conftest import Quiet
from pref_assets_tests.training.conftest import Recorder


def logps(**values):
    rows = [(name, logp, n) for name, (logp, n) in values.items()]
    return pl.DataFrame(rows, schema={"id": pl.String, "logp": pl.Float64, "n_tokens": pl.Int64}, orient="row")


def test_margins_of_one_pair_by_hand():
    test = pl.DataFrame({"pair_id": ["p"], "chosen_id": ["c"], "rejected_id": ["r"]})
    # Chosen: -20 nats over 10 tokens, was -23; rejected: -18 over 6, was -18.5.
    policy, reference = logps(c=(-20.0, 10), r=(-18.0, 6)), logps(c=(-23.0, 10), r=(-18.5, 6))
    assert pair_margins(test, policy, reference).row(0, named=True) == {
        "pair_id": "p",
        "ranking_accuracy": -2.0,  # still less likely
        "ranking_accuracy_normalised": pytest.approx(-2.0 + 3.0),  # likelier per token
        "implicit_reward_accuracy": pytest.approx(3.0 - 0.5),  # and moved towards
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return ReferenceLogps(model=str(tiny_llama(tmp_path_factory.mktemp("tiny"))), max_length=64, batch_tokens=256)


def train(inputs, home, reference):
    """A policy trained on p7 for a step, as the pipeline would."""
    chosen = decisions(inputs.pairs.select("pair_id", selected=pl.col("split") == "train", reason=pl.lit("all")))
    rows = training_rows(chosen, inputs.pairs, inputs.prompts, inputs.completions)
    home.root.mkdir(parents=True, exist_ok=True)
    path = home.root / "texts.parquet"
    asked = with_shown(inputs.prompts).select("prompt_id", prompt="messages")
    texts = inputs.completions.join(asked, on="prompt_id")
    trained = texts.filter(pl.col("completion_id").is_in(["d1", "d2"]))
    trained.select("completion_id", "prompt", "messages").write_parquet(path)
    settings, files = reference.model_dump(mode="json"), {"completions": str(path)}
    reference_logps(Job(task="reference_logps", home=str(home.root), config=settings, inputs=files), Recorder())
    pin = Pinned(key=["p", "subsets", "all"], delta_version=0, data_version="d")
    config = PolicyCheckpoint(subset="all", base="tiny", learning_rate=0.05, warmup=0.0)
    known = reference_rows(Store(home.store), reference, ["d1", "d2"])
    result = train_policy(policy_job(home.root, "p", "dpo", config, rows, reference, known, pin, {}), Recorder())
    return CheckpointRef.of(read_manifest(result["folder"]), result["folder"])


@pytest.fixture
def asked(inputs, tmp_path, reference):
    home = Home(tmp_path / "home")
    checkpoint = train(inputs, home, reference)
    return Inputs(inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[checkpoint]), home


def value(rows, name, metric):
    return rows.filter(checkpoint=name, metric=metric, subset="all").row(0, named=True)


def test_ranking_of_a_trained_policy(asked):
    inputs, home = asked
    [checkpoint] = inputs.checkpoints
    assert (checkpoint.base, checkpoint.kind) == ("tiny", "policy")
    config, counted = RankingAccuracy(save_every=3), []

    def run(job):
        counted.append(evaluate_policy(job, Quiet()))

    rows = evaluate(config, inputs, home, run)
    assert rows.equals(evaluate(config, inputs, home, run))
    # Seven held-out completions under the reference, which knew only training ones, and under the policy.
    assert counted == [{"computed": 14, "reused": 0}, {"computed": 0, "reused": 14}]

    store, test = Store(home.store), held_out(inputs.pairs, inputs.completions)
    policy = dict(
        store.read(POLICY_LOGPS, logps_key(checkpoint.version, checkpoint.reference)).select("id", "logp").rows()
    )
    right = [policy[c] > policy[r] for c, r in test.select("chosen_id", "rejected_id").rows()]
    assert value(rows, "dpo", "ranking_accuracy")["value"] == sum(right) / 5
    assert value(rows, "dpo", "ranking_accuracy")["version"] == checkpoint.version
    assert value(rows, "untrained tiny", "ranking_accuracy")["baseline"]
    assert rows.filter(checkpoint="untrained tiny", metric="implicit_reward_accuracy").is_empty()
    assert value(rows, "random choice", "implicit_reward_accuracy")["value"] == 0.5


def test_a_policy_that_did_not_move_has_no_implicit_preference(asked):
    inputs, home = asked
    [checkpoint] = inputs.checkpoints
    config = RankingAccuracy()
    evaluate(config, inputs, home, lambda job: evaluate_policy(job, Quiet()))
    settings = ReferenceLogps.model_validate(checkpoint.reference)
    test = held_out(inputs.pairs, inputs.completions)
    ids = sorted({*test["chosen_id"], *test["rejected_id"]})
    same = reference_rows(Store(home.store), settings, ids).select("logp", "n_tokens", "truncated", id="completion_id")
    Store(home.store).append(POLICY_LOGPS, logps_key("v0", checkpoint.reference), same)
    still = CheckpointRef("still", "v0", "policy", home.root, "tiny", checkpoint.reference)
    rows = config.rows(Inputs(inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[still]), home)
    assert value(rows, "still", "implicit_reward_accuracy")["value"] == 0.5
    ours, untrained = value(rows, "still", "ranking_accuracy"), value(rows, "untrained tiny", "ranking_accuracy")
    assert ours["value"] == untrained["value"]


def test_pairs_are_sampled_by_seed(inputs):
    drawn = [RankingAccuracy(max_pairs=2, seed=seed).test_pairs(inputs)["pair_id"].to_list() for seed in range(5)]
    assert all(len(each) == 2 for each in drawn)
    assert len({tuple(each) for each in drawn}) > 1
    assert RankingAccuracy(max_pairs=2, seed=3).test_pairs(inputs)["pair_id"].to_list() == drawn[3]


def test_answers_are_generated_once_and_kept_readable(asked):
    inputs, home = asked
    [checkpoint] = inputs.checkpoints
    config, counted = Verifier(sampling=Sampling(temperature=0.0, max_new_tokens=4), save_every=2), []

    def run(job):
        counted.append(evaluate_policy(job, Quiet()))

    rows = evaluate(config, inputs, home, run)
    assert rows.equals(evaluate(config, inputs, home, run))
    assert counted == [{"computed": 6, "reused": 0}, {"computed": 0, "reused": 6}]
    answers = Store(home.store).read(GENERATIONS, generations_key(checkpoint.version, config.sampling))
    assert answers["prompt"].to_list() == ["question q1", "question q2", "question q3"]
    assert set(answers["model"]) == {"dpo"}
    assert answers["text"].null_count() == 0
    assert {"dpo", "untrained tiny"} < set(rows["checkpoint"])


def test_the_ideal_is_above_what_was_reached(asked):
    inputs, home = asked
    [checkpoint] = inputs.checkpoints
    assert checkpoint.beta == PolicyCheckpoint(subset="all", base="tiny").objective.beta
    rows = evaluate(RankingAccuracy(), inputs, home, lambda job: evaluate_policy(job, Quiet()))
    ideal, own = value(rows, "dpo", "ranking_accuracy_ideal"), value(rows, "dpo", "ranking_accuracy")
    assert ideal["value"] >= own["value"]
    assert value(rows, "dpo", "ranking_gap")["value"] == pytest.approx(ideal["value"] - own["value"])

    def ideal_at(beta):
        found = RankingAccuracy(beta=beta).rows(inputs, home)
        return found.filter(metric="ranking_accuracy_ideal", subset="all")["value"].item()

    # Odds of 3 to 1 and better mend any mistake where beta is small, and none where it is large.
    assert ideal_at(1e-3) == 1.0
    assert ideal_at(1e6) == value(rows, "untrained tiny", "ranking_accuracy")["value"]
