"""The code location: it loads light, the tools accept it, and a broken pipeline file says what to mend."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTreeException

import pref_assets
from pref_assets.home import Home
from pref_assets.pipeline.component import PreferencePipeline
from pref_assets.pipeline.jobs import VERBS
from pref_assets.pipeline.naming import GROUPS
from pref_assets.pipeline.run import project_definitions

PROJECT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "datasets", "mlflow", "sklearn", "sentence_transformers", "peft", "matplotlib")
HH_RLHF = PROJECT.parent / "shared" / "data" / "hh_rlhf"


@pytest.fixture(scope="module")
def location() -> dg.Definitions:
    from pref_assets.definitions import defs

    loaded = defs()
    assert isinstance(loaded, dg.Definitions)
    return loaded


def run(*command: str, cwd: Path = PROJECT, **env: str) -> "subprocess.CompletedProcess[str]":
    bin_folder = str(Path(sys.executable).parent)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path, **env}, capture_output=True, text=True, check=False
    )


def test_loading_the_definitions_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pref_assets.definitions import defs; defs().get_repository_def(); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = run(sys.executable, "-W", "ignore", "-c", code)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_functional_core_does_not_import_dagster() -> None:
    code = (
        "import sys, pref_assets, pref_assets.pairs.merge, pref_assets.selection, pref_assets.training, "
        "pref_assets.evaluation, pref_assets.scoring, pref_assets.clustering, pref_assets.features; "
        "print('dagster' in sys.modules)"
    )
    assert run(sys.executable, "-c", code).stdout.strip() == "False"


def test_the_shipped_pipelines_are_whole(location: dg.Definitions) -> None:
    location.validate_loadable(location)
    graph = location.resolve_asset_graph()
    pipelines = {key.path[0] for key in graph.materializable_asset_keys}
    assert pipelines == {"demo", "hh_rlhf", "language", "mm_rlhf", "proving_ground"}
    # Nothing in it trains on its own answers, or on critiques.
    expected = set(GROUPS) - {"samples", "critiques"}
    assert {key.path[1] for key in graph.materializable_asset_keys if key.path[0] == "hh_rlhf"} == expected
    jobs = {job.name for job in location.resolve_all_job_defs()}
    for name in pipelines - {"proving_ground"}:
        assert {f"{name}_{verb}" for verb in VERBS} <= jobs


def test_training_waits_in_the_gpu_pool(location: dg.Definitions) -> None:
    training = {"checkpoints", "reference_logps", "evaluations"}
    measured = {"scores"}
    executable = [asset for asset in location.resolve_asset_graph().assets_defs if asset.keys and asset.is_executable]
    pools = {(key.path[1], asset.op.pool) for asset in executable for key in asset.keys}
    assert {each for each in pools if each[1] is not None} == {(stage, "gpu") for stage in training | measured}
    assert {stage for stage, pool in pools if pool is None} == set(GROUPS) - training - {"samples"}


def test_checkpoints_and_evaluations_are_not_automated(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    automated = {
        key.path[1] for key in graph.materializable_asset_keys if graph.get(key).automation_condition is not None
    }
    assert automated == {
        "pairs",
        "critiques",
        "embeddings",
        "clusters",
        "reward_models",
        "scores",
        "subsets",
        "reports",
    }
    assert graph.get(dg.AssetKey(["demo", "reports", "leaderboard"])).automation_condition is None


def test_each_policy_has_a_random_control_of_its_size(location: dg.Definitions) -> None:
    import yaml

    for name in ("demo", "hh_rlhf"):
        attributes = yaml.safe_load(shipped(name))["attributes"]
        subsets, checkpoints = attributes["subsets"], attributes["checkpoints"]
        random = [each for each in subsets.values() if each["type"] == "random"]
        for checkpoint in checkpoints.values():
            if checkpoint["type"] == "policy":
                assert subsets[checkpoint["subset"]]["budget"] in {each["budget"] for each in random}


@pytest.fixture
def located(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dg.Definitions]]:
    """Loads a project of its own whose only pipeline file has the given text."""
    package = tmp_path / "a_project"
    (package / "defs" / "one").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "a_project"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(text: str) -> dg.Definitions:
        (package / "defs" / "one" / "defs.yaml").write_text(text)
        return dg.load_from_defs_folder(path_within_project=tmp_path)

    yield load
    for name in [name for name in sys.modules if name.split(".")[0] == "a_project"]:
        del sys.modules[name]


def shipped(name: str) -> str:
    return (PROJECT / "pref_assets" / "defs" / name / "defs.yaml").read_text()


def test_the_source_of_hh_rlhf_is_the_hub_unless_a_path_is_given(
    located: Callable[[str], dg.Definitions], monkeypatch: pytest.MonkeyPatch
) -> None:
    def location() -> str:
        from pref_assets.definitions import resources

        home = dg.Definitions(resources=resources(Home.default()))
        graph = dg.Definitions.merge(located(shipped("hh_rlhf")), home).resolve_asset_graph()
        return str(graph.get(dg.AssetKey(["hh_rlhf", "raw", "anthropic"])).metadata["location"])

    monkeypatch.delenv("PREF_ASSETS_HH_RLHF", raising=False)
    assert location().startswith("hf://Anthropic/hh-rlhf")
    monkeypatch.setenv("PREF_ASSETS_HH_RLHF", "/somewhere/else")
    assert location() == "/somewhere/else"


def test_a_broken_file_fails_to_load_with_its_lines(located: Callable[[str], dg.Definitions]) -> None:
    text = (
        shipped("demo").replace("threshold: 0.9", "threshold: 3").replace("subset: random_96", "subset: randon_96", 1)
    )
    lines = text.splitlines()
    at, used = (next(n for n, line in enumerate(lines, 1) if each in line) for each in ("threshold: 3", "randon_96"))
    with pytest.raises(Exception, match="errors in the pipeline file") as caught:
        located(text)
    found = str(caught.value)
    assert re.search(rf"defs\.yaml:{at}: subsets\.deita_96\.threshold: .* less than or equal to 1 \(got 3\)", found)
    assert re.search(rf"defs\.yaml:{used}: checkpoints\.\w+\.subset: no subsets named 'randon_96'; known: .*", found)


def test_the_command_line_gets_a_broken_files_errors_and_nothing_else(
    located: Callable[[str], dg.Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ComponentTreeException):
        located(shipped("demo").replace("threshold: 0.9", "threshold: 3").replace("k: 16", "k: 0"))
    monkeypatch.setattr("pref_assets.definitions.PROJECT", tmp_path)
    with pytest.raises(ValueError, match=r"^2 errors in the pipeline file:\n[^\n]+\n[^\n]+$"):
        project_definitions()


def test_a_template_that_cannot_be_rendered_says_where(located: Callable[[str], dg.Definitions]) -> None:
    broken = re.sub(r"env\('PREF_ASSETS_HH_RLHF', '[^']*'\)", "env('PREF_ASSETS_NOT_SET')", shipped("hh_rlhf"))
    assert broken != shipped("hh_rlhf")
    with pytest.raises(Exception, match=r"sources\.anthropic\.location: .*PREF_ASSETS_NOT_SET is not set"):
        located(broken)


def test_the_json_schema_is_that_of_the_blocks() -> None:
    schema = PreferencePipeline.get_model_cls().model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "sources"}
    (subset,) = schema["properties"]["subsets"]["patternProperties"].values()
    assert {"all", "random", "top_margin", "deita", "flip_filter"} <= set(subset["properties"]["type"]["enum"])
    assert {"$ref": "#/$defs/Deita"} in [each["then"] for each in subset["allOf"]]
    json.dumps(schema)


def test_the_yaml_check_names_the_field(
    located: Callable[[str], dg.Definitions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match="threshold"):
        located(shipped("demo").replace("threshold: 0.9", "threshold: 3"))
    result = run("dg", "check", "yaml", cwd=tmp_path, PYTHONPATH=str(tmp_path), DAGSTER_HOME="")
    assert result.returncode != 0
    assert "attributes.subsets.deita_96.threshold 3 is greater than the maximum of 1" in result.stdout + result.stderr


def test_the_component_is_exported() -> None:
    assert pref_assets.PreferencePipeline is PreferencePipeline
    assert "PreferencePipeline" in dir(pref_assets)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = pref_assets.Nothing


@pytest.mark.parametrize(
    "command",
    [
        ("dg", "check", "defs"),
        ("dg", "check", "yaml"),
        ("dg", "list", "defs"),
        ("dagster", "definitions", "validate"),
    ],
)
def test_the_tools_accept_the_project(command: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    result = run(*command, DAGSTER_HOME=str(home), PREF_ASSETS_HOME=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "does not match the name" not in result.stdout + result.stderr


def test_the_real_pairs_are_read(
    tmp_path: Path, located: Callable[[str], dg.Definitions], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HH_RLHF.is_dir():
        pytest.skip(f"no real pairs at {HH_RLHF}")
    from pref_assets.definitions import resources
    from pref_assets.pipeline.run import run_pipeline
    from pref_assets.tables import TableStore

    monkeypatch.setenv("PREF_ASSETS_HH_RLHF", str(HH_RLHF))
    home = Home(tmp_path / "home")
    definitions = dg.Definitions.merge(located(shipped("hh_rlhf")), dg.Definitions(resources=resources(home)))
    instance = dg.DagsterInstance.ephemeral()
    select = "group:hh_rlhf_1_raw or group:hh_rlhf_2_pairs or key:hh_rlhf/subsets/all"
    report = run_pipeline(instance, "hh_rlhf", select, definitions=definitions, home=home)
    assert report.ok, report.failures
    tables = TableStore(home.tables)
    assert tables.read(["hh_rlhf", "raw", "anthropic"]).height == 2312
    pairs, drops = (tables.read(["hh_rlhf", "pairs", name]) for name in ("pairs", "pair_drops"))
    quarantine = tables.read(["hh_rlhf", "records", "anthropic_quarantine"])
    read = pairs["provenance"].list.len().sum() + drops["provenance"].list.len().sum() + quarantine.height
    assert read == 2312
