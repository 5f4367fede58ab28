"""Estimates of disk, memory and operations against numbers worked out by hand."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from pref_assets.models.loading import load_causal_lm
from pref_assets.training import capacity
from pref_assets.training.capacity import MIB, Sizes, check_disk, check_memory, check_weights, flops_per_token
from pref_assets.training.errors import DiskSpaceError, OutOfMemoryError


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_sizes_are_bytes_of_what_is_kept() -> None:
    sizes = Sizes.of([torch.zeros(3, 4), torch.zeros(2, dtype=torch.bfloat16)], [torch.zeros(5, dtype=torch.float64)])
    assert (sizes.trained, sizes.carried) == (52, 40)
    assert sizes.state(keeps_best=False) == 3 * 52 + 40
    assert sizes.state(keeps_best=True) == 4 * 52 + 40


@pytest.mark.parametrize(("free", "enough"), [(731, False), (732, True)])
def test_two_states_and_a_checkpoint_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, enough: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 0, free * MIB))
    # 2 x 300 + 100 + 32 for small files.
    if enough:
        check_disk(tmp_path, Sizes(100 * MIB), keeps_best=False)
    else:
        with pytest.raises(
            DiskSpaceError, match=r"731 MiB are free, but training needs about 732 MiB.*state of 300 MiB"
        ):
            check_disk(tmp_path, Sizes(100 * MIB), keeps_best=False)
        check_disk(tmp_path, Sizes(100 * MIB), keeps_best=False, existing=300 * MIB)


@pytest.mark.parametrize(("processes", "free", "enough"), [(1, 299, False), (1, 300, True), (2, 599, False)])
def test_gradients_and_moments_must_fit(
    monkeypatch: pytest.MonkeyPatch, processes: int, free: int, enough: bool
) -> None:
    monkeypatch.setattr(capacity, "free_memory", lambda device: free * MIB)
    if enough:
        check_memory(Sizes(100 * MIB), "cpu", processes)
    else:
        with pytest.raises(OutOfMemoryError, match=rf"take {300 * processes} MiB, but only {free} MiB of cpu memory"):
            check_memory(Sizes(100 * MIB), "cpu", processes)


def test_the_base_model_is_counted_from_its_files_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": torch.zeros(3, 4), "b": torch.tensor(1.0)}, tmp_path / "one.safetensors", metadata={"x": "y"})
    save_file({"c": torch.zeros(7, dtype=torch.bfloat16)}, tmp_path / "two.safetensors")
    monkeypatch.setattr(capacity, "free_memory", lambda device: 79)
    with pytest.raises(OutOfMemoryError, match="has 20 weights"):
        check_weights(tmp_path, "cpu")
    check_weights(tmp_path, "cuda")
    monkeypatch.setattr(capacity, "free_memory", lambda device: 80)
    check_weights(tmp_path, "cpu")


def test_free_memory_of_the_host_is_some_of_it() -> None:
    assert 2**20 < capacity.free_memory("cpu") < 2**50


@pytest.mark.parametrize("tied", [False, True])
def test_operations_are_two_a_weight_and_pass(tied: bool) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)
            self.first = torch.nn.Linear(4, 4, bias=False)
            self.second = torch.nn.Linear(4, 4, bias=False)
            self.head = torch.nn.Linear(4, 10, bias=False)
            if tied:
                self.head.weight = self.table.weight

    model = Model()
    head = 40
    assert flops_per_token(model) == 6 * (16 + 16 + head)
    model.requires_grad_(False)
    assert flops_per_token(model) == 2 * (16 + 16 + head)
    model.second.requires_grad_(True)
    # Nothing passes through the first; the head lets pass, but learns nothing.
    assert flops_per_token(model) == 2 * 16 + 6 * 16 + 4 * head


def test_a_language_model_takes_six_a_weight(tiny: str) -> None:
    model = load_causal_lm(tiny, "cpu")
    weights = sum(p.numel() for p in model.parameters())
    table = model.get_input_embeddings().weight.numel()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.requires_grad_(True)
    assert flops_per_token(model) == 6 * (weights if tied else weights - table)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_peaks_go_by_whole_words(name: str, tflops: float | None) -> None:
    assert capacity.known_peak(name) == (None if tflops is None else tflops * 1e12)
