"""The proving ground and a pipeline's trials, through Dagster."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pref_assets.definitions import resources
from pref_assets.home import Home
from pref_assets.pipeline.proving import proving_definitions
from pref_assets.pipeline.spec_errors import SpecError, parse_as
from pref_assets.proving.ground import ProvingSpec, spec_digest
from pref_assets.tables import TableStore

GROUND: dict[str, Any] = {
    "name": "ground",
    "worlds": {"points": {"train": 200, "validation": 20, "test": 100}},
    "flips": [0.2],
    "seeds": [0, 1, 2],
    "budgets": ["25%"],
    "reward_models": {"ensemble": {"type": "bradley_terry", "embeddings": "planted", "members": 3, "folds": 3}},
    "scores": {"strength": {"type": "reward_ensemble", "reward_model": "ensemble"}},
    "subsets": {
        "random": {"type": "random", "budget": 5},
        "top_margin": {"type": "top_margin", "scores": "strength", "budget": 5},
        "picky": {"type": "flip_filter", "scores": "strength", "min_p_correct": 0.999, "budget": 5},
    },
}


def ground(**changes: Any) -> ProvingSpec:
    return parse_as(ProvingSpec, {**GROUND, **changes})


def test_every_method_is_an_asset_and_the_verdict_reads_them_all(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    definitions = dg.Definitions.merge(proving_definitions(ground()), dg.Definitions(resources=resources(home)))
    job = definitions.resolve_job_def("ground_everything")
    result = job.execute_in_process(instance=dg.DagsterInstance.ephemeral())
    assert result.success
    found = TableStore(home.tables).scan(("ground", "reports", "proven")).collect()
    gains = found.filter(world="every", metric="vs_random")
    assert set(gains["method"]) == {"random", "top_margin"}
    assert gains["n"].to_list() == [3, 3]
    text = (home.root / "reports" / "ground" / "proven.md").read_text()
    assert "`picky` at 25%: 3 trials; budget of 50 pairs, but only" in text
    assert (home.root / "reports" / "ground" / "proven.png").read_bytes().startswith(b"\x89PNG")
    events = result.asset_materializations_for_node("ground__reports__proven")
    assert events[0].metadata["comparisons"].value == 2
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {"every_trial_is_told"}
    assert all(check.passed for check in checks)


def test_a_method_depends_on_no_other_method() -> None:
    alone = ground().of_method("random")
    assert (list(alone.subsets), alone.scores, alone.reward_models) == (["random"], {}, {})
    needs = ground().of_method("top_margin")
    assert (list(needs.scores), list(needs.reward_models)) == (["strength"], ["ensemble"])


def test_an_entry_is_known_by_what_it_is_made_of() -> None:
    deeper = {"ensemble": {**GROUND["reward_models"]["ensemble"], "members": 4}}
    before, after = ground(), ground(reward_models=deeper)
    assert before.scores["strength"].digest() == after.scores["strength"].digest()
    assert spec_digest(before, before.scores["strength"]) != spec_digest(after, after.scores["strength"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"subsets": {"a": {"type": "top_margin", "scores": "nothing", "budget": 5}}}, "no scores named 'nothing'"),
        (
            {"subsets": {"a": {"type": "deita", "quality": "strength", "embeddings": "minilm", "budget": 5}}},
            "known: planted",
        ),
        ({"worlds": {"w": {"flps": 0.1}}}, "worlds.w.flps: unknown field"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        ground(**changes)


def test_trials_of_equal_settings_are_equal() -> None:
    from pref_assets.proving.ground import trials

    spec = ground(seeds=[0])
    again = trials(spec.of_method("top_margin"), "top_margin")
    seconds = pl.col("metric") != "seconds"
    assert again.filter(seconds).equals(trials(spec.of_method("top_margin"), "top_margin").filter(seconds))


def test_a_method_whose_scores_cannot_be_had_is_told_not_fatal() -> None:
    from pref_assets.proving.ground import trials

    never = {"type": "criteria_vote", "voters": {"links": {"type": "trait", "trait": "links"}}}
    spec = ground(
        seeds=[0], scores={"never": never}, subsets={"a": {"type": "top_k", "scores": "never", "budget": "25%"}}
    )
    rows = trials(spec.of_method("a"), "a")
    assert rows["value"].null_count() == rows.height == 1
    assert "no criterion" in rows["problem"].item()
