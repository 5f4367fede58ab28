"""A real checkpoint, logged to MLflow and loaded back from there, answers and scores as it does here."""

from pathlib import Path

import pandas
import polars as pl
import pytest

from pref_assets.models.generation import Sampling, generate
from pref_assets.resources.mlflow_run import MlflowRun
from pref_assets.resources.tracking import Tracking
from pref_assets.training.jobs import reward_model_job
from pref_assets.training.policy import load_policy, train_policy
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.reward_model import (
    RewardModelCheckpoint,
    load_reward_model,
    reward_text,
    train_reward_model,
)
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_job, message


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MlflowRun:
    home = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(home=str(home), uri=f"sqlite:///{home / 'mlflow.db'}")
    return MlflowRun.begin(tracking.client(), "demo", tracking.artifacts("demo"), "serving", {"test": "serving"})


def load(run: MlflowRun, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The newest logged model."""
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", run.client.tracking_uri)
    outputs = run.client.get_run(run.run_id).outputs.model_outputs
    newest = max(outputs, key=lambda each: run.client.get_logged_model(each.model_id).creation_timestamp)
    return mlflow.pyfunc.load_model(f"models:/{newest.model_id}")


def test_a_policy_answers(
    run: MlflowRun,
    rows: pl.DataFrame,
    reference: ReferenceLogps,
    logps: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(train_policy(make_job(tmp_path, rows, reference, logps), Recorder())["folder"])
    run.model(folder, "policy")
    prompts = ["Count to 3, please.", "Count to 5, please."]
    sampling = Sampling(max_new_tokens=6, temperature=0)
    here = generate(*load_policy(folder), [message("user", text) for text in prompts], sampling)
    assert load(run, monkeypatch).predict(pandas.DataFrame({"prompt": prompts}), params={"max_new_tokens": 6}) == here


def test_a_reward_model_scores(
    run: MlflowRun, rows: pl.DataFrame, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RewardModelCheckpoint(subset="s", model=tiny, max_length=64, batch_pairs=3, epochs=1)
    job = reward_model_job(tmp_path, "p", "rm", config, rows, SUBSET, {})
    folder = Path(train_reward_model(job, Recorder())["folder"])
    run.model(folder, "reward_model")
    asked = {"prompt": ["Count."] * 2, "completion": ["1 2 3", "No."]}
    texts = [reward_text(message("user", "Count."), message("assistant", text)) for text in asked["completion"]]
    scores = load(run, monkeypatch).predict(pandas.DataFrame(asked))
    assert scores == pytest.approx(load_reward_model(folder).score(texts), abs=1e-5)
    assert scores[0] != pytest.approx(scores[1], abs=1e-4)
