"""Policies on a tiny Llama: learning, resuming, publishing, and every way it can refuse."""

import fcntl
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.models.tiny import tiny_llama
from pref_assets.training import worker
from pref_assets.training.checkpoint import pair_ids, read_manifest
from pref_assets.training.data import TRAINING_ROWS, encode
from pref_assets.training.errors import (
    NonFiniteLossError,
    OutOfMemoryError,
    TrainingDataError,
    WorkFolderLockedError,
)
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.loop import memory_advice
from pref_assets.training.objectives import DPO
from pref_assets.training.policy import Lora, PolicyCheckpoint, adapted, load_policy, starting_policy, train_policy
from pref_assets.training.run import training_folder
from pref_assets_tests.training.conftest import SUBSET, Recorder, make_job


class Killed(BaseException):
    """Ends a run the way a signal does."""


class KilledAfter(Recorder):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def metrics(self, step, values):
        super().metrics(step, values)
        if step == self.step:
            raise Killed


def work_of(job):
    return training_folder(job.home, "p", "dpo", job.params["version"])


def adapter(result):
    return load_file(Path(result["folder"]) / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, reference, logps):
    """An uninterrupted run: job, result, reporter."""
    from pref_assets_tests.training.conftest import make_rows

    home = tmp_path_factory.mktemp("home")
    job, report = make_job(home, make_rows(), reference, logps), Recorder()
    return job, worker.run(job, report), report


def test_training_lowers_the_loss_from_log_two_and_reports_it(trained):
    _, result, report = trained
    first, last = report.steps[0][1], report.steps[-1][1]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert last["loss"] < 0.65
    assert last["rewards/margins"] > 0.1
    assert last["rewards/accuracies"] == 1
    assert set(first) >= {"grad_norm", "lr", "tokens_per_second", "rewards/chosen", "rewards/rejected"}
    assert report.done[-1] == (6, 6, "steps")
    assert (result["steps"], result["pairs"], result["reused"], result["resumed_from"]) == (6, 6, False, 0)
    assert result["metrics"] == last
    assert result["tokens"] > 0
    assert result["peak_rss_mib"] > 100


def test_checkpoint_folder_is_complete_and_says_what_it_is(trained, reference):
    job, result, _ = trained
    folder = Path(result["folder"])
    assert folder == Path(job.home) / "checkpoints" / "p" / "dpo" / result["version"]
    manifest = read_manifest(folder)
    assert (manifest.kind, manifest.base, manifest.n_pairs) == ("policy", reference.model, 6)
    assert manifest.subset == SUBSET
    assert manifest.config == job.config
    assert pair_ids(folder) == [f"pair{i}" for i in range(6)]
    assert {"adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "tokenizer.json"} <= set(
        manifest.files
    )
    for name, sha in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [f.name for f in folder.parent.iterdir()] == [result["version"]]
    assert not work_of(job).exists()


def test_a_changed_pair_list_is_noticed(trained, tmp_path):
    import shutil

    copy = shutil.copytree(trained[1]["folder"], tmp_path / "copy")
    (copy / "pair_ids.txt").write_text("pair0\n")
    with pytest.raises(ValueError, match="not the list"):
        pair_ids(copy)


def test_loaded_policy_prefers_what_it_was_taught(trained, rows, logps):
    model, tokenizer = load_policy(trained[1]["folder"], "cpu")
    known = dict(logps.select("completion_id", "logp").iter_rows())
    for side, sign in (("chosen", 1), ("rejected", -1)):
        encoded = [encode(tokenizer, p, c, 96) for p, c in rows.select("prompt", side).iter_rows()]
        gained = completion_logps(model, encoded, 256)[0] - [known[i] for i in rows[f"{side}_id"]]
        assert (sign * gained > 0).all()


def test_a_second_run_finds_the_checkpoint(trained, rows, reference, logps):
    job, first, _ = trained
    again, report = make_job(Path(job.home), rows, reference, logps), Recorder()
    result = train_policy(again, report)
    assert result == {**first, "reused": True}
    assert report.steps == []
    assert not work_of(again).exists()


@pytest.mark.parametrize("step", [1, 4, 5])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(trained, tmp_path, rows, reference, logps, step):
    job = make_job(tmp_path, rows, reference, logps)
    with pytest.raises(Killed):
        train_policy(job, KilledAfter(step))
    assert not (tmp_path / "checkpoints").exists()
    job, report = make_job(tmp_path, rows, reference, logps), Recorder()
    result = train_policy(job, report)
    resumed_from = step // 2 * 2 if step > 1 else 0
    # The state after an even step is saved after its metrics are reported.
    assert result["resumed_from"] == (resumed_from - 2 if step % 2 == 0 else resumed_from)
    expected = adapter(trained[1])
    found = adapter(result)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    metrics = [Path(r["folder"], "metrics.jsonl").read_text().splitlines() for r in (result, trained[1])]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in metrics]
    assert losses[0] == losses[1]


def test_dropout_resumes_exactly_too(tmp_path, rows, reference, logps):
    results = []
    for name, kill in (("whole", None), ("parts", 5)):
        job = make_job(tmp_path / name, rows, reference, logps, lora={"dropout": 0.3})
        if kill:
            with pytest.raises(Killed):
                train_policy(job, KilledAfter(kill))
        results.append(adapter(train_policy(job, Recorder())))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_gradient_does_not_depend_on_micro_batches(trained, tmp_path, rows, reference, logps):
    job = make_job(tmp_path, rows, reference, logps, batch_tokens=100_000)
    found, expected = adapter(train_policy(job, Recorder())), adapter(trained[1])
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0.02, atol=1e-3)


def test_version_is_content_not_names(tmp_path, rows, reference, logps):
    def version(frame=rows, **settings):
        return make_job(tmp_path, frame, reference, logps, **settings).params["version"]

    first = version()
    assert version(rows.sort("pair_id", descending=True)) == first
    assert version(subset="other", save_every=7) == first
    assert version(seed=1) != first
    assert version(rows.head(5)) != first
    assert version(rows.with_columns(weight=pl.lit(0.5))) != first


def test_weights_scale_the_loss(tmp_path, rows, reference, logps):
    job = make_job(tmp_path, rows.with_columns(weight=pl.lit(0.5)), reference, logps)
    report = Recorder()
    train_policy(job, report)
    assert report.steps[0][1]["loss"] == pytest.approx(0.5 * np.log(2), abs=1e-4)


def test_margins_raise_the_loss_and_are_refused_by_ipo(tmp_path, rows, reference, logps):
    demanding = rows.with_columns(margin=pl.lit(8.0))
    recorder = Recorder()
    worker.run(make_job(tmp_path, demanding, reference, logps, epochs=1, batch_pairs=6), recorder)
    # The untrained policy is the reference: every reward is zero, so the loss is log(1 + e^8).
    assert recorder.steps[0][1]["loss"] == pytest.approx(8.000335, abs=1e-4)
    job = make_job(tmp_path, demanding, reference, logps, objective={"type": "dpo", "loss_type": "ipo"})
    with pytest.raises(TrainingDataError, match=r"6 pairs cannot train: they bring a margin: `ipo` is no function"):
        worker.run(job, Recorder())


def test_only_the_last_layers_learn(tiny):
    model = adapted(load_causal_lm(tiny, "cpu"), Lora(last_layers=1, target_modules=("q_proj",)))
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 2
    assert all(".layers.1.self_attn.q_proj." in name for name in names)


def test_unknown_target_module_is_named(tiny):
    with pytest.raises(ValueError, match="query"):
        adapted(load_causal_lm(tiny, "cpu"), Lora(target_modules=("q_proj", "query")))


def test_a_start_of_another_base_is_refused(trained, tiny, tmp_path):
    """Its adapters would fit the other model's layers, and nothing else would tell."""
    _, result, _ = trained
    config = PolicyCheckpoint.model_validate(read_manifest(result["folder"]).config)
    other = str(tiny_llama(tmp_path, seed=9))
    with pytest.raises(ValueError, match=r"trained on the model .*, which is not .*; use one model"):
        starting_policy(config, other, "cpu", Path(result["folder"]))
    starting_policy(config, tiny, "cpu", Path(result["folder"]))


def refused(tmp_path, rows, reference, logps, match, **settings):
    with pytest.raises(TrainingDataError, match=match):
        train_policy(make_job(tmp_path, rows, reference, logps, **settings), Recorder())


def test_no_pairs(tmp_path, rows, reference, logps):
    refused(tmp_path, rows.head(0), reference, logps, "subset 's' selected no pairs")


def test_missing_reference_names_the_pair(tmp_path, rows, reference, logps):
    refused(tmp_path, rows, reference, logps.filter(pl.col("completion_id") != "r3"), "no reference .*: pair3$")


def test_same_tokens_after_truncation_name_the_pair(tmp_path, rows, reference, logps):
    same = rows.with_columns(rejected=pl.when(pl.col("pair_id") == "pair2").then("chosen").otherwise("rejected"))
    refused(tmp_path, same, reference, logps, "same 96 tokens: pair2$")


def test_a_reference_of_another_length_is_refused(tmp_path, rows, reference, logps):
    short = reference.model_copy(update={"max_length": 32})
    refused(tmp_path, rows, short, logps, "counted other tokens")


def test_a_reference_of_another_model_is_refused(tmp_path, rows, reference, logps):
    refused(tmp_path, rows, reference, logps.with_columns(logp=pl.col("logp") - 30), "another model")


def test_inputs_that_changed_after_the_job_was_made(tmp_path, rows, reference, logps):
    job = make_job(tmp_path, rows, reference, logps)
    rows.head(3).write_parquet(job.inputs["rows"])
    with pytest.raises(TrainingDataError, match="changed after the job was made"):
        train_policy(job, Recorder())


def test_a_loss_that_is_no_number_names_its_pairs(tmp_path, rows, reference, logps, monkeypatch):
    losses = DPO.losses

    def poisoned(self, pairs):
        result = losses(self, pairs)
        return type(result)(torch.full_like(result.loss, torch.nan), result.reward_chosen, result.reward_rejected)

    monkeypatch.setattr(DPO, "losses", poisoned)
    job = make_job(tmp_path, rows, reference, logps, batch_pairs=6)
    with pytest.raises(NonFiniteLossError, match=r"not finite.*Pairs of the batch: (pair\d, ){5}pair\d"):
        train_policy(job, Recorder())
    assert not (tmp_path / "checkpoints").exists()


def test_a_second_process_is_kept_out(tmp_path, rows, reference, logps):
    job = make_job(tmp_path, rows, reference, logps)
    with (work_of(job) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WorkFolderLockedError, match="another process"):
            train_policy(job, Recorder())


def test_what_a_killed_process_staged_is_removed(tmp_path, rows, reference, logps):
    job = make_job(tmp_path, rows, reference, logps)
    version = job.params["version"]
    half = tmp_path / "checkpoints" / "p" / "dpo" / f".{version}.1.tmp"
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    train_policy(job, Recorder())
    assert [f.name for f in half.parent.iterdir()] == [version]


def test_running_out_of_memory_says_what_to_lower():
    with pytest.raises(OutOfMemoryError, match=r"batch_tokens \(now 4096\)"), memory_advice(4096):
        torch.empty(2**46)
    with pytest.raises(RuntimeError, match="size"), memory_advice(4096):
        torch.ones(2) @ torch.ones(3)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="rank"):
        PolicyCheckpoint.model_validate({"subset": "s", "base": "b", "lora": {"rank": 8}})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_run_learns_and_loads(tmp_path, rows, reference, logps):
    result = train_policy(make_job(tmp_path, rows, reference, logps), Recorder())
    assert result["metrics"]["rewards/margins"] > 0.1
    assert result["peak_cuda_mib"] > 0
    model, tokenizer = load_policy(result["folder"])
    assert next(model.parameters()).is_cuda
    assert tokenizer.chat_template == load_tokenizer(reference.model).chat_template


def test_how_each_pair_counted_is_kept(tmp_path, rows, reference, logps):
    values = pl.Series("columns", [[{"name": "delta", "value": float(i)}] for i in range(len(rows))])
    weighed = rows.with_columns(values.cast(TRAINING_ROWS["columns"]), weight=pl.lit(0.5))
    objective = {"type": "mm_dpo", "delta": "rewards", "w": 0.5, "k": 0.5}
    result = train_policy(make_job(tmp_path, weighed, reference, logps, objective=objective), Recorder())
    table = pl.read_parquet(Path(result["folder"]) / "pairs.parquet")
    assert table["pair_id"].to_list() == rows["pair_id"].to_list()
    assert table["weight"].to_list() == [0.5] * 6
    assert table["delta"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert table["beta"][:2].to_list() == pytest.approx([0.1, 0.11967346701436835], abs=1e-7)
