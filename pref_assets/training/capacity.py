"""What a run needs of disk and memory against what there is, and how well it uses the device."""

import json
import math
import os
import re
import resource
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.training.errors import DiskSpaceError, OutOfMemoryError

if TYPE_CHECKING:
    import torch

MIB = 2**20
SMALL_FILES_BYTES = 32 * MIB
"""Room for what a checkpoint holds beside weights: tokenizer, manifest, log of the steps."""

PEAK_BF16_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10G": 70,
    "A10": 125,
    "RTX 4090": 165,
    "RTX 3090": 71,
}
"""Dense bfloat16 tensor-core peak of a GPU by words of its name, from the makers' data sheets; the first that fits."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of what a run keeps: trained weights, and the values that steps carry beside them."""

    trained: int
    carried: int = 0

    @classmethod
    def of(cls, parameters: Iterable["torch.Tensor"], carried: Iterable["torch.Tensor"] = ()) -> "Sizes":
        return cls(*(sum(t.numel() * t.element_size() for t in tensors) for tensors in (parameters, carried)))

    def state(self, keeps_best: bool) -> int:
        """Of the state file: weights, two moments, and the best weights where early stopping keeps them."""
        return self.trained * (4 if keeps_best else 3) + self.carried


def check_disk(folder: Path, sizes: Sizes, keeps_best: bool, existing: int = 0) -> None:
    """Raises ``DiskSpaceError`` when state (old and new side by side) and checkpoint do not fit on the disk.

    Args:
        folder: where they will be; it exists.
        sizes: of the run.
        keeps_best: whether the best weights are kept too.
        existing: bytes of the saved state that is there already.
    """
    state, free = sizes.state(keeps_best), shutil.disk_usage(folder).free
    needed = max(0, 2 * state - existing) + sizes.trained + SMALL_FILES_BYTES
    if needed > free:
        raise DiskSpaceError(
            f"{folder}: {free / MIB:,.0f} MiB are free, but training needs about {needed / MIB:,.0f} MiB: twice the "
            f"resumable state of {state / MIB:,.0f} MiB, and the checkpoint. Free some space, move the state folder, "
            "or train fewer weights"
        )


def check_memory(sizes: Sizes, device: str, processes: int = 1) -> None:
    """Raises ``OutOfMemoryError`` when gradients and moments cannot fit beside the weights that are loaded.

    Activations are not counted, so a run that passes may still run out.

    Args:
        sizes: of the run.
        device: kind of device that trains, ``cuda`` or ``cpu``.
        processes: how many share the memory of the host.
    """
    needed = 3 * sizes.trained * (1 if device == "cuda" else processes)
    free = free_memory(device)
    if needed > free:
        raise OutOfMemoryError(
            f"gradients and optimiser moments of the trained weights take {needed / MIB:,.0f} MiB, but only "
            f"{free / MIB:,.0f} MiB of {device} memory are free beside the model. Train fewer weights "
            "(lora, lora.last_layers, last_layers), or use a larger device"
        )


def check_weights(folder: Path, device: str, processes: int = 1) -> None:
    """Raises ``OutOfMemoryError`` when the weights of the base model alone are larger than the free memory.

    They are counted in bfloat16 on a GPU and in float32 on a CPU.
    """
    numbers = sum(_numbers(file) for file in folder.glob("*.safetensors"))
    needed = numbers * (2 if device == "cuda" else 4 * processes)
    free = free_memory(device)
    if needed > free:
        raise OutOfMemoryError(
            f"the base model has {numbers:,} weights, which take {needed / MIB:,.0f} MiB, but only {free / MIB:,.0f} "
            f"MiB of {device} memory are free. Use a smaller base model or a larger device"
        )


def _numbers(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def free_memory(device: str) -> int:
    """Bytes that this process could still get, on its GPU or on the host (within its control group)."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free


def flops_per_token(model: "torch.nn.Module") -> float:
    """Floating-point operations of a step a token: 2 a weight forward, 2 where a gradient passes, 2 where one is kept.

    The count of Kaplan et al. 2020 (arXiv:2001.08361, section 2.1) for partly frozen models; a gradient passes through
    whatever comes after the first trained weight. Attention's own products and table look-ups do not count.
    """
    import torch

    heads = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Linear)}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    # A matrix that is table and head at once is listed first, but multiplies last.
    listed = sorted(model.parameters(), key=lambda parameter: id(parameter) in tables & heads)
    total, passes = 0.0, False
    for parameter in listed:
        passes = passes or parameter.requires_grad
        if id(parameter) not in tables - heads:
            total += parameter.numel() * (2 + 2 * passes + 2 * parameter.requires_grad)
    return total


def peak_flops() -> float | None:
    """Of this process's GPU in bfloat16, a second; None on a CPU, or where the GPU is not known here."""
    import torch

    if not torch.cuda.is_available():
        return None
    return known_peak(torch.cuda.get_device_name())


def known_peak(name: str) -> float | None:
    """Operations a second of the GPU with this name, or None."""
    fits = (peak * 1e12 for words, peak in PEAK_BF16_TFLOPS.items() if re.search(rf"\b{re.escape(words)}\b", name))
    return next(fits, None)


def memory_used() -> dict[str, float]:
    """Peak memory of this process and of its GPU so far, in MiB."""
    import torch

    # Linux counts in KiB.
    found = {"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if torch.cuda.is_available():
        found["peak_cuda_mib"] = torch.cuda.max_memory_allocated() / MIB
    return found


def environment() -> dict[str, Any]:
    """Peak memory of this process and of its GPU, in MiB, and where it ran."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        **memory_used(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "host": os.uname().nodename,
    }
