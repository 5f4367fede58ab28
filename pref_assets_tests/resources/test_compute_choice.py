"""Where heavy work runs is one variable: a mode, a mapping, or a file."""

from pathlib import Path

import pytest

from pref_assets.resources.compute import Compute, compute_from


def chosen(text: str) -> Compute:
    return compute_from({"PREF_ASSETS_COMPUTE": text})


def test_a_child_unless_said_otherwise() -> None:
    assert compute_from({}).mode == chosen(" ").mode == "subprocess"


def test_a_mode_a_mapping_or_a_file(tmp_path: Path) -> None:
    assert chosen("ray").mode == "ray"
    inline = chosen("{mode: accelerate, processes: 2, cpu: true}")
    assert (inline.mode, inline.processes, inline.cpu) == ("accelerate", 2, True)
    file = tmp_path / "compute.yaml"
    file.write_text("mode: ray\nprocesses: 4\nray:\n  address: auto\n  num_gpus: 4\n")
    found = chosen(str(file))
    assert (found.mode, found.ray.address, found.ray.num_gpus, found.ray.num_cpus) == ("ray", "auto", 4, 1)
    file.write_text("mode: kubernetes\nkubernetes:\n  image: i\n  volume: {hostPath: {path: /data}}\n")
    pod = chosen(str(file)).kubernetes
    assert pod is not None
    assert (pod.image, pod.volume) == ("i", {"hostPath": {"path": "/data"}})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("slurm", r"'slurm' is neither a mode \(subprocess, in_process, accelerate, ray, kubernetes\) nor a file"),
        ("[ray]", "holds no mapping"),
        ("{mode: slurm}", "mode"),
        ("{mode: accelerate, process: 2}", "no such setting: process; there are mode, command, processes"),
        ("{mode: ray, ray: {adress: auto}}", "adress"),
        ("{mode: accelerate, processes: 0}", "processes"),
        ("{processes: 2}", "mode `subprocess` has one process; use `accelerate` for 2"),
        ("kubernetes", "needs `kubernetes:` with the image"),
    ],
)
def test_what_cannot_be_is_refused_when_the_definitions_load(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=rf"PREF_ASSETS_COMPUTE: [\s\S]*{match}"):
        chosen(text)
