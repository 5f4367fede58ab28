"""Both halves of the evaluations of policies by their answers, on a real (tiny) policy and a stand-in for the judge."""

import numpy as np
import pytest

from pref_assets.evaluation import BestOfN, Divergence, Diversity, WinRate, judging
from pref_assets.evaluation.answers import base, policy, stored_answers
from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.judges import RewardJudge
from pref_assets.evaluation.policy import evaluate_policy
from pref_assets.evaluation.token_logps import encode_answer
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.models.tiny import tiny_llama
from pref_assets.training.reference import ReferenceLogps
from pref_assets_tests.evaluation.conftest import Quiet
from pref_assets_tests.evaluation.fake_policies import value
from pref_assets_tests.evaluation.test_ranking import train

SAMPLING = Sampling(temperature=1.0, max_new_tokens=5)
JUDGE = RewardJudge(checkpoint="rm")


class Longest:
    """A reward model that likes long texts."""

    asked = 0

    def score(self, texts):
        Longest.asked += len(texts)
        return np.array([float(len(text)) for text in texts])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return ReferenceLogps(model=str(tiny_llama(tmp_path_factory.mktemp("tiny"))), max_length=64, batch_tokens=256)


@pytest.fixture
def asked(inputs, tmp_path, reference, monkeypatch):
    home = Home(tmp_path / "home")
    monkeypatch.setattr(judging, "load_reward_model", lambda folder: Longest())
    judge = CheckpointRef("rm", "v_rm", "reward_model", tmp_path)
    checkpoint = train(inputs, home, reference)
    return Inputs(
        inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[checkpoint], others={"rm": judge}
    ), home


def test_every_evaluation_draws_once_and_reads_the_rest(asked):
    inputs, home = asked
    [checkpoint] = inputs.checkpoints
    counted = []

    def run(job):
        counted.append(evaluate_policy(job, Quiet()))

    def twice(config):
        rows = evaluate(config, inputs, home, run)
        assert rows.equals(evaluate(config, inputs, home, run))
        assert not rows.select("checkpoint", "metric", "subset").is_duplicated().any()
        first, second = counted[-2:]
        assert second == {"computed": 0, "reused": first["computed"] + first["reused"]}
        return rows, first["computed"]

    shared = {"samples": 2, "sampling": SAMPLING, "resamples": 100, "save_every": 2}
    diversity, drawn = twice(Diversity(**shared))
    assert drawn == 2 * 2 * 3  # policy and base, two draws, three held-out prompts
    assert {"dpo", "untrained tiny"} == set(diversity["checkpoint"])
    answers = {
        who.name: stored_answers(home, who, ["q1", "q2", "q3"], Diversity(**shared).draws())
        for who in (policy(checkpoint), base(checkpoint))
    }
    assert answers["dpo"].height == 6
    assert answers["dpo"]["text"].n_unique() > 3  # draws differ

    divergence, scored = twice(Divergence(**shared))
    assert scored == 2 * answers["dpo"]["completion_id"].n_unique()
    # A step at a high rate: p and r differ, and every k3 term is at least 0.
    assert value(divergence, "dpo", "kl_k3")["value"] > 0

    won, _ = twice(WinRate(judge=JUDGE, **shared))
    lengths = {
        name: frame.sort("prompt_id", "draw")["text"].str.len_chars().to_numpy() for name, frame in answers.items()
    }
    gap = lengths["dpo"].astype(int) - lengths["untrained tiny"].astype(int)
    assert value(won, "dpo", "win_rate")["value"] == pytest.approx(np.mean((gap > 0) + 0.5 * (gap == 0)))

    best, more = twice(BestOfN(judge=JUDGE, n=[1, 3], **(shared | {"samples": 3})))
    assert more > 0  # the third draw
    assert value(best, "dpo", "best_of_3")["value"] >= value(best, "dpo", "best_of_1")["value"]


def test_answers_cut_short_have_no_end(reference):
    from pref_assets.models.loading import load_tokenizer

    tokenizer = load_tokenizer(reference.model)
    turns = [{"role": "user", "content": "hi"}]
    cut, whole = (encode_answer(tokenizer, turns, "one two", limit) for limit in (2, 3))
    assert whole.ids == (*cut.ids, tokenizer.eos_token_id)
    assert cut.n_prompt == whole.n_prompt
    assert tokenizer.decode(cut.completion_ids) == "one two"
