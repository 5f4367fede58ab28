"""Withdrawing from a pipeline: what goes, what turns stale, what is tainted, before and after it runs again."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from pref_assets.cli import main
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.render_impact import render_impact
from pref_assets.pipeline import terminal
from pref_assets.pipeline.freshness import statuses
from pref_assets.pipeline.run import selected
from pref_assets.pipeline.withdraw import Withdrawn, impact_of, withdraw
from pref_assets.pipeline.withdrawn import withdrawals_key
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows
from pref_assets_tests.pipeline.test_automation import requested


def compared(question: str, *votes: str, answers: tuple[str, str] = ("one", "two")) -> dict[str, Any]:
    """A row with votes like ``ann:a``."""
    left, right = (f"{answer} for {question}" for answer in answers)
    cast = [dict(zip(("who", "choice"), vote.split(":"), strict=True)) for vote in votes]
    return {"question": f"What of {question}?", "left": left, "right": right, "cast": cast}


APPLES, BOATS, CLOUDS = (
    compared("apples", "ann:a", "bo:a", "cy:b"),
    compared("boats", "ann:a", "bo:b", "cy:b"),
    compared("clouds", "bo:b", "cy:b"),
)
"""Without cy: apples is a for sure, boats a tie, clouds b by one vote."""


def voted(root: Path, *files: list[dict[str, Any]], **blocks: Any) -> Lab:
    """A pipeline of votes, run once, with a subset of all pairs; files are ``0.jsonl``, ``1.jsonl`` …"""
    for number, content in enumerate(files):
        write_rows(root / "data" / f"{number}.jsonl", content)
    source = {
        "type": "columns",
        "location": str(root / "data"),
        "max_bad_share": 0.5,
        "prompt": "question",
        "answers": [{"text": "left"}, {"text": "right"}],
        "votes": [{"each": {"vote": "cast"}, "choice": "vote.choice", "annotator": "vote.who"}],
    }
    attributes = {
        "name": "voted",
        "sources": {"rows": source},
        "pairs": {"splits": {"validation": 0, "test": 0}},
        "subsets": {"all": {"type": "all"}},
        **blocks,
    }
    lab = Lab(root, attributes)
    report = lab.run()
    assert report.ok, report.failures
    return lab


def take(lab: Lab, *selectors: str) -> Withdrawn:
    graph = lab.definitions().resolve_asset_graph()
    return withdraw(lab.instance, graph, lab.home, lab.name, selectors, "asked to")


def statuses_of(lab: Lab) -> dict[str, str]:
    graph = lab.definitions().resolve_asset_graph()
    found = statuses(lab.instance, graph, selected(graph, lab.name))
    return {"/".join(each.key.path[1:]): each.status for each in found}


def run(lab: Lab) -> list[str]:
    report = lab.run()
    assert report.ok, report.failures
    assert lab.run().materialized == []
    return [name.removeprefix(f"{lab.name}/") for name in report.materialized]


def questions(lab: Lab, name: str = "pairs") -> dict[str, float]:
    """What each pair (or dropped one) asks, with the share of votes for its chosen side."""
    rows = lab.read("pairs", name).join(lab.read("pairs", "prompts"), on="prompt_id")
    asked = rows.select(pl.col("messages").list.last().struct.field("content"), "p_chosen").rows()
    return {text.removeprefix("What of ").removesuffix("?"): share for text, share in asked}


def counts(lab: Lab, *selectors: str) -> dict[str, tuple[Any, ...]]:
    """For each subset, checkpoint and evaluation: pairs and tainted before, pairs and tainted now, state."""
    found = impact_of(lab.instance, lab.home, lab.name, selectors)
    return {
        each.name: (*((use.pairs, use.tainted) if use else () for use in (each.before, each.now)), each.state)
        for each in found.all
    }


def test_an_annotator_goes_and_what_his_votes_decided(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES, BOATS], [CLOUDS])
    assert questions(lab) == {"apples": pytest.approx(2 / 3), "boats": pytest.approx(2 / 3), "clouds": 1}
    done = take(lab, "annotator:cy")
    hits = done.hits
    assert (hits.rows, hits.votes, hits.ratings, hits.completions, hits.prompts) == (3, 3, 0, 0, 0)
    assert (hits.comparisons, hits.pairs, len(hits.batches)) == (3, 3, 2)
    assert [(each.name, each.state) for each in done.impact.all] == [("all", "tainted")]
    assert done.stale[0].startswith("voted/pairs/")
    assert done.stale[-1] == "voted/subsets/all"
    assert not any("records" in name or "raw" in name for name in done.stale)
    assert counts(lab) == {"all": ((3, 3), (3, 3), "tainted")}

    ran = run(lab)
    assert not any(name.startswith("raw/") for name in ran)
    assert sum(name.startswith("records/rows_votes@") for name in ran) == 2
    assert questions(lab) == {"apples": 1, "clouds": 1}
    assert lab.read("pairs", "pair_drops")["code"].to_list() == ["tie"]
    assert set(lab.read("records", "rows_votes")["annotator"]) == {"ann", "bo"}
    assert counts(lab) == {"all": ((3, 3), (2, 0), "clean")}
    assert "subset all: clean now" in render_impact(impact_of(lab.instance, lab.home, "voted", []))


def test_dagster_says_what_is_stale_and_why_and_nothing_without_tombstones(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES, BOATS])
    assert set(statuses_of(lab).values()) == {"fresh"}
    assert lab.instance.get_latest_materialization_event(withdrawals_key("voted")) is None
    assert run(lab) == []
    take(lab, "annotator:ann")
    graph = lab.definitions().resolve_asset_graph()
    (found,) = statuses(lab.instance, graph, [lab.key("pairs", "comparisons")])
    assert found.status == "stale"
    assert found.causes == ["has a new dependency data version (voted/pairs/withdrawals)"]
    assert statuses_of(lab)["records/rows_votes"] == "fresh"
    run(lab)
    assert set(statuses_of(lab).values()) == {"fresh"}


def test_only_batches_that_hold_it_are_read_again(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES], [compared("drums", "ann:a")])
    done = take(lab, "annotator:bo")
    assert [name.split("-")[0] for name in done.hits.batches] == ["rows/0"]
    again = [name for name in run(lab) if "@" in name]
    assert len(again) == 4
    assert all("@0-" in name for name in again)


def test_later_batches_are_read_without_what_was_withdrawn(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES])
    take(lab, "annotator:cy", "file:0.jsonl")
    write_rows(tmp_path / "data" / "1.jsonl", [compared("drums", "cy:a", "ann:b")])
    run(lab)
    assert questions(lab) == {"drums": 1}
    assert lab.read("records", "rows_votes")["annotator"].to_list() == ["ann"]


@pytest.mark.parametrize("selector", ["source:rows", "file:0.jsonl", "row:0.jsonl:2"])
def test_rows_go_from_raw_and_records_though_their_file_is_gone(tmp_path: Path, selector: str) -> None:
    lab = voted(tmp_path, [APPLES, BOATS], [CLOUDS, BOATS])
    (tmp_path / "data" / "0.jsonl").unlink()
    done = take(lab, selector)
    run(lab)
    rows_hit, prompts, votes, remaining = {
        "source:rows": (4, 3, 11, []),
        "file:0.jsonl": (2, 1, 6, [("1", 1), ("1", 2)]),
        "row:0.jsonl:2": (1, 0, 3, [("0", 1), ("1", 1), ("1", 2)]),
    }[selector]
    # 3 votes on apples, 3 on boats in each file, 2 on clouds; boats is still held by the other file
    assert (done.hits.rows, done.hits.prompts, done.hits.votes) == (rows_hit, prompts, votes)
    for stage, name in (("raw", "rows"), ("records", "rows_prompts")):
        found = lab.read(stage, name).select(pl.col("uri").str.extract(r"(\d)\.jsonl"), "row").sort("uri", "row")
        assert found.rows() == remaining
    assert set(questions(lab)) == {"source:rows": set(), "file:0.jsonl": {"boats", "clouds"}}.get(
        selector, {"apples", "boats", "clouds"}
    )


@pytest.mark.parametrize("kind", ["prompt", "completion", "pair"])
def test_ids_go_with_the_votes_on_them(tmp_path: Path, kind: str) -> None:
    lab = voted(tmp_path, [APPLES, BOATS])
    pairs = lab.read("pairs", "pairs").join(lab.read("pairs", "prompts"), on="prompt_id")
    boats = pairs.filter(pl.col("messages").list.last().struct.field("content").str.contains("boats"))
    value = boats[{"prompt": "prompt_id", "completion": "rejected_id", "pair": "pair_id"}[kind]].item()
    done = take(lab, f"{kind}:{value[:8]}")
    assert str(done.new[0]) == f"{kind}:{value}"
    gone = {"prompt": (1, 2), "completion": (0, 1), "pair": (0, 0)}[kind]
    assert (done.hits.prompts, done.hits.completions, done.hits.votes, done.hits.pairs) == (*gone, 3, 1)
    run(lab)
    assert questions(lab) == {"apples": pytest.approx(2 / 3)}
    assert lab.read("pairs", "pair_drops").is_empty()
    assert lab.read("pairs", "prompts").height == 2 - gone[0]
    assert lab.read("pairs", "completions").height == 4 - gone[1]
    assert lab.read("records", "rows_votes").height == 3
    assert lab.read("raw", "rows").height == 2
    assert counts(lab) == {"all": ((2, 1), (1, 0), "clean")}


def test_a_pair_that_ratings_imply_goes_and_its_ratings_stay(light: Lab) -> None:
    light.run()
    pair = light.read("pairs", "pairs")["pair_id"][0]
    before = light.read("pairs", "pairs").height
    hits = take(light, f"pair:{pair}").hits
    assert (hits.rows, hits.comparisons, hits.pairs) == (0, 1, 1)
    ran = run(light)
    assert not any("@" in name for name in ran)
    assert light.read("pairs", "pairs").height == before - 1
    assert pair not in light.read("pairs", "comparisons")["pair_id"]
    assert light.read("records", "made_up_completions")["ratings"].list.len().sum() == 72


def test_ratings_of_an_annotator_go(light: Lab) -> None:
    del light.attributes["subsets"]["random_8"]  # which would rightly fail for want of pairs
    light.run()
    hits = take(light, "annotator:annotator_1").hits
    assert (hits.rows, hits.ratings, hits.completions, hits.comparisons) == (24, 72, 0, 72)
    run(light)
    assert light.read("pairs", "completions").height == 72
    assert light.read("pairs", "comparisons").is_empty()


def test_a_pair_that_was_dropped_for_a_withdrawn_one_comes_back(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    first, second = (compared(f"{words} {end}", "ann:a", answers=(words, f"not {words}")) for end in ("x", "y"))
    lab = voted(tmp_path, [first], [second])
    (drop,) = lab.read("pairs", "pair_drops").rows(named=True)
    kept = lab.read("pairs", "pairs")["pair_id"].item()
    take(lab, f"pair:{kept}")
    run(lab)
    assert lab.read("pairs", "pairs")["pair_id"].to_list() == [drop["pair_id"]]
    assert lab.read("pairs", "pair_drops").is_empty()


def test_the_same_again_changes_nothing_whether_its_rows_are_gone_or_not(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES, BOATS])
    assert len(take(lab, "annotator:cy", "annotator:cy").new) == 1
    version = lab.tables.snapshot(["voted", "pairs", "withdrawals"]).version
    for _ in range(2):
        again = take(lab, "annotator:cy")
        assert (again.new, again.stale, [str(each) for each in again.known]) == ((), (), ["annotator:cy"])
        assert lab.tables.snapshot(["voted", "pairs", "withdrawals"]).version == version
        lab.run()
    assert lab.run().materialized == []
    assert counts(lab, "annotator:cy")["all"][-1] == "clean"


def test_what_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES])
    for selector, says in (
        ("annotator:bob", "no annotator 'bob'; did you mean bo"),
        ("source:rosw", "no source 'rosw'; did you mean rows"),
        ("file:9.jsonl", "no file '9.jsonl'"),
        ("row:0.jsonl:9", "has no row 9 .its last row is 1."),
        ("pair:ffffffff", "the nearest are"),
    ):
        with pytest.raises(UnknownQueryError, match=says):
            take(lab, "annotator:ann", selector)
    for selector, says in (
        ("annotatr:bo", "did you mean annotator:"),
        ("annotator:", "is no selector; write source:NAME"),
        ("pair:xyz", "'xyz' is no pair id"),
        ("row:0.jsonl", "write row:URI:NUMBER"),
    ):
        with pytest.raises(ValueError, match=says):
            take(lab, selector)
    with pytest.raises(UnknownQueryError, match="nothing was withdrawn"):
        impact_of(lab.instance, lab.home, "voted", [])
    assert not lab.tables.exists(["voted", "pairs", "withdrawals"])
    assert run(lab) == []


def test_a_tombstone_that_dagster_was_not_told_of_is_told_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = voted(tmp_path, [APPLES, BOATS])
    with monkeypatch.context() as patched:
        patched.setattr("pref_assets.pipeline.withdraw.report", lambda *_: None)
        take(lab, "annotator:cy")
    assert statuses_of(lab)["pairs/comparisons"] == "fresh"
    run(lab)
    assert questions(lab) == {"apples": 1}


def test_automation_follows_a_withdrawal(light: Lab) -> None:
    light.run()
    write_rows(light.data / "second.jsonl", rows(6, start=24))
    light.run()
    _, cursor = requested(light, None)
    take(light, "file:second.jsonl")
    asked, _ = requested(light, cursor)
    assert {"pairs/comparisons", "pairs/pairs", "subsets/all"} <= asked


def test_checkpoints_and_evaluations_before_and_after(lab: Lab) -> None:
    for block in ("reference_logps", "embeddings", "clusters", "reward_models", "scores", "evaluations", "trials"):
        lab.attributes[block] = {}
    lab.attributes["subsets"] = {"all": {"type": "all"}}
    lab.attributes["checkpoints"] = {
        "reward": {"type": "reward_model", "subset": "all", "max_length": 64, "last_layers": 0}
    }
    lab.attributes["evaluations"] = {"accuracy": {"type": "reward_accuracy", "checkpoints": ["reward"]}}
    assert lab.run().ok
    pairs = lab.read("pairs", "pairs")
    train, test = (pairs.filter(split=split) for split in ("train", "test"))
    prompt = train["prompt_id"][0]
    mine = train.filter(prompt_id=prompt).height
    done = take(lab, f"prompt:{prompt}")
    by = {each.stage: each for each in done.impact.all}
    assert {each.state for each in by.values()} == {"tainted"}
    (version,) = lab.home.checkpoints.glob("tiny/reward/*")
    used = by["evaluations"].before
    assert used is not None
    assert (used.pairs, used.tainted, used.through) == (test.height, 0, (f"checkpoints/reward@{version.name}",))
    assert counts(lab)["reward"] == ((train.height, mine), (train.height, mine), "tainted")

    run(lab)
    found = impact_of(lab.instance, lab.home, "tiny", [])
    assert [each.state for each in found.subsets] == ["clean"]
    states = {each.version: each.state for each in found.checkpoints}
    assert states.pop(version.name) == "replaced"
    assert list(states.values()) == ["unaffected"]
    (evaluation,) = found.evaluations
    assert (evaluation.state, evaluation.now and evaluation.now.through) == ("clean", ())


def test_a_subset_that_a_fitted_model_ranked_is_tainted_through_it(done: Lab) -> None:
    pairs = done.read("pairs", "pairs")
    chosen = done.read("subsets", "random_8").filter("selected")["pair_id"]
    outside = pairs.filter(pl.col("split") == "train", ~pl.col("pair_id").is_in(chosen.implode()))["pair_id"][0]
    found = {each.name: each for each in impact_of(done.instance, done.home, "tiny", [f"pair:{outside}"]).all}
    assert found["random_8"].state == "unaffected"
    assert found["deita_8"].state == "tainted"
    assert found["deita_8"].before is not None
    assert found["deita_8"].before.through == ("reward_models/ensemble",)
    assert found["dpo_deita"].before is not None
    assert found["dpo_deita"].before.through == ("reward_models/ensemble",)
    assert found["dpo_random"].state == "unaffected"


def test_versions_that_were_vacuumed_are_not_known(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    lab = voted(tmp_path, [APPLES, BOATS])
    take(lab, "annotator:cy")
    run(lab)
    table = DeltaTable(str(lab.tables.path(["voted", "pairs", "pairs"])))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    (found,) = impact_of(lab.instance, lab.home, "voted", []).subsets
    assert found.state == "unknown"
    assert found.before is not None
    assert "cannot be read any more" in (found.before.unknown or "")
    assert found.now is not None
    assert (found.now.pairs, found.now.tainted) == (1, 0)


def test_the_asset_explains_itself(tmp_path: Path) -> None:
    lab = voted(tmp_path, [APPLES])
    take(lab, "annotator:cy")
    node = lab.definitions().resolve_asset_graph().get(withdrawals_key("voted"))
    assert node.is_external
    assert "pref-assets withdraw" in (node.description or "")
    event = lab.instance.get_latest_materialization_event(withdrawals_key("voted"))
    assert event is not None
    assert event.asset_materialization is not None
    latest = event.asset_materialization.metadata["latest"]
    assert isinstance(latest, dg.TableMetadataValue)
    assert latest.records[0].data["value"] == "cy"


def test_what_the_command_line_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = voted(tmp_path, [APPLES, BOATS])
    monkeypatch.setenv("PREF_ASSETS_HOME", str(lab.home.root))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv("PREF_ASSETS_DEBUG", raising=False)
    monkeypatch.setattr(terminal, "project_definitions", lab.definitions)
    monkeypatch.setattr(terminal, "_instance", lambda: nullcontext(lab.instance))

    def ask(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--pipeline", "voted"])
        return f"{result.exit_code} {result.output}"

    assert ask("impact").startswith("1 Error: nothing was withdrawn from pipeline 'voted'; name what to look at")
    assert "no annotator 'cyy'; did you mean cy?" in ask("withdraw", "annotator:cyy", "--reason", "asked")
    assert "subset all: tainted, must be rebuilt" in ask("impact", "annotator:cy")
    said = ask("withdraw", "annotator:cy", "--reason", "asked")
    assert said.startswith("0 annotator:cy is withdrawn from voted: asked\nIt hits 2 rows of 1 batches (rows/0-")
    for expected in (
        ": 2 votes go.",
        "2 comparisons hold any of it, 2 of them pairs.",
        "2 pairs used, 2 tainted",
        " assets turned stale:\n",
        "  pairs            agreement, annotators,",
        "  subsets          all\n",
        "Run `pref-assets run voted`",
    ):
        assert expected in said
    assert ask("withdraw", "annotator:cy", "--reason", "asked").endswith("was withdrawn before; nothing changes\n")
    lab.run()
    assert "  subset all: clean now\n    before  " in ask("impact")
    found = json.loads(ask("impact", "--json").removeprefix("0 "))
    (subset,) = found["subsets"]
    assert (subset["state"], subset["before"]["tainted"], subset["now"]["tainted"]) == ("clean", 2, 0)
