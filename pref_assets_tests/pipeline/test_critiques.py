"""From annotators' reasons to what a policy made of them: critiques, rewards, beta; and all of it seen of one pair."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image

from pref_assets.cli import main
from pref_assets.lineage.export import export_subset
from pref_assets.lineage.model import PairTrace
from pref_assets.lineage.render import render
from pref_assets.lineage.trace import trace
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers import TrlSource
from pref_assets.pairs.reading import read_rows
from pref_assets.training.checkpoint import PAIR_TABLE
from pref_assets_tests.pipeline.conftest import Lab, write_rows
from pref_assets_tests.pipeline.test_withdraw import statuses_of, take
from pref_assets_tests.scoring.judging.server import Fake, endpoint, serving

COLOURS = ("red", "green", "blue", "white", "black")
GREYS = ("silver", "gainsboro")
WRITERS = ("own", "told", "wide")


def rows(folder: Path, colours: tuple[str, ...]) -> list[dict[str, Any]]:
    """The right colour of a picture against another one, each with a reason."""
    folder.mkdir(parents=True)
    found = []
    for number, colour in enumerate(colours):
        stream = io.BytesIO()
        Image.new("RGB", (40 + number, 24), colour).save(stream, "PNG")
        (folder / f"{number}.png").write_bytes(stream.getvalue())
        found.append(
            {
                "id": str(number),
                "image": f"{number}.png",
                "prompt": f"Which colour is it, {colours[0]} {number}?",
                "chosen": colour,
                "rejected": "brown",
                "chosen_reason": f"Names {colour}.",
                "rejected_reason": "Brown is wrong here.",
            }
        )
    return found


def expands(question: Any, number: int) -> str:
    """What the judge says of the notes; of one answer it says nothing."""
    assert [part["type"] for part in question] == ["image_url", "text"]
    notes = question[1]["text"].split("<notes>\n")[1].split("\n</notes>")[0]
    return "" if notes == "Names red." else f"An assessment: {notes}"


def source(root: Path, name: str) -> dict[str, Any]:
    return {"type": "mm_rlhf", "location": str(root / name), "image_folder": str(root / f"{name}_images")}


def attributes(root: Path, url: str) -> dict[str, Any]:
    llava = str(tiny_llava(root / "llava"))
    judge = {"type": "expanded", "endpoint": endpoint(url, retries=0), "longest_side": 16}
    return {
        "name": "seen",
        "sources": {name: source(root, name) for name in ("colours", "greys")},
        "pairs": {"splits": {"test": 0.0, "validation": 0.0}},
        "critiques": {"own": {"type": "human"}, "told": {"type": "template"}, "wide": judge},
        "subsets": {"all": {"type": "all"}},
        "reference_logps": {"llava": {"model": llava, "max_length": 64}},
        "checkpoints": {
            "critic": {
                "type": "critique_reward_model",
                "model": llava,
                "subset": "all",
                "critiques": "wide",
                "batch_pairs": 8,
                "max_length": 160,
                "learning_rate": 0.02,
            },
            "aligned": {"type": "policy", "subset": "all", "base": "llava", "batch_pairs": 8, "objective": mm_dpo()},
        },
        "scores": {
            "gap": {"type": "critique_reward", "checkpoint": "critic", "sampling": {"max_new_tokens": 4}},
        },
    }


def mm_dpo(**more: Any) -> dict[str, Any]:
    return {"type": "mm_dpo", "delta": "gap", **more}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Fake]]:
    root = tmp_path_factory.mktemp("seen")
    write_rows(root / "colours" / "dpo_pairs.jsonl", rows(root / "colours_images", COLOURS))
    write_rows(root / "greys" / "dpo_pairs.jsonl", rows(root / "greys_images", GREYS))
    with serving(expands) as server:
        lab = Lab(root, attributes(root, server.url))
        report = lab.run()
        assert report.ok, report.failures
        yield lab, server


def traced(lab: Lab, text: str) -> PairTrace:
    [pair] = trace(lab.home, "seen", text).pairs
    return pair


def columns(lab: Lab, checkpoint: str) -> pl.DataFrame:
    return pl.read_parquet(Path(lab.metadata("checkpoints", checkpoint)["folder"].value) / PAIR_TABLE)


def materialized(lab: Lab) -> list[str]:
    report = lab.run()
    assert report.ok, report.failures
    return [name.removeprefix("seen/") for name in report.materialized]


def test_every_kind_of_critique_is_an_asset(ran: tuple[Lab, Fake]) -> None:
    lab, server = ran
    compared = 2 * (len(COLOURS) + len(GREYS))
    for name, categories in (("own", {"said"}), ("told", {"reasons"}), ("wide", {"expanded", "empty"})):
        found = lab.read("critiques", name)
        assert found.height == compared
        assert set(found["category"]) == categories
    told = lab.metadata("critiques", "wide")
    assert (told["measured"].value, told["hit_rate"].value, len(server.bodies)) == (compared, 0.0, compared)
    assert f"requests {compared}" in str(told["measuring"].value)


def test_a_rule_is_changed_without_asking_again(ran: tuple[Lab, Fake]) -> None:
    lab, server = ran
    asked = len(server.bodies)
    judge = {**lab.attributes["critiques"]["wide"], "most_words": 300}
    lab.attributes["critiques"] = {**lab.attributes["critiques"], "wide": judge}
    assert lab.run("key:seen/critiques/wide").materialized == ["seen/critiques/wide"]
    assert len(server.bodies) == asked
    assert set(statuses_of(lab).values()) == {"fresh"}
    told = lab.metadata("critiques", "wide")
    assert (told["measured"].value, told["hit_rate"].value) == (0, 1.0)


def test_all_of_a_pair_is_shown(ran: tuple[Lab, Fake]) -> None:
    lab, _ = ran
    pair = traced(lab, "red")
    [image] = pair.images
    assert (image.width, image.height) == (40, 24)
    assert image.path is not None
    assert Path(image.path).stat().st_size == image.size
    assert {each.critiques: (each.writer, each.category) for each in pair.chosen.critiques} == {
        "own": ("human", "said"),
        "told": ("template", "reasons"),
        "wide": ("human", "empty"),
    }
    assert [each.text for each in pair.rejected.critiques][2] == "An assessment: Brown is wrong here."
    scores = pair.scores["gap"]
    judged = {each.scores: each for each in pair.chosen.judgements}
    assert set(judged) == {"gap"}
    assert judged["gap"].reward == pytest.approx(scores["score_chosen"])
    assert len(judged["gap"].critiques) == len(judged["gap"].rewards) == 1
    aligned = {use.checkpoint: use.values for use in pair.checkpoints}["aligned"]
    assert aligned["delta"] == pytest.approx(scores["score"])
    said = render(trace(lab.home, "seen", pair.pair_id))
    for expected in (
        f"  image     {image.path}  (40 x 24, {image.size} bytes)",
        "critique own (human, said): Names red.",
        "critique wide (human, empty): Names red.",
        "critique wide (fake, expanded): An assessment: Brown is wrong here.",
        f"reward gap {scores['score_chosen']:+.3f}",
        f"delta {aligned['delta']:.4g}, beta {aligned['beta']:.4g}",
    ):
        assert expected in said
    assert len(said) < 6000


def test_the_command_shows_it_as_json(ran: tuple[Lab, Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, _ = ran
    monkeypatch.setenv("PREF_ASSETS_HOME", str(lab.home.root))
    done = CliRunner().invoke(main, ["trace", "green", "--json"])
    assert done.exit_code == 0, done.output
    [pair] = json.loads(done.output)["pairs"]
    assert pair["images"][0]["width"] == 41
    assert pair["chosen"]["judgements"][0]["scores"] == "gap"


def scaled(delta: float, w: float, k: float) -> float:
    """The paper's formula, in the open."""
    from math import exp

    return 0.1 * (1 + w * (1 - exp(-k * max(delta, 0.0))))


def test_w_and_k_are_changed_without_measuring_a_reward(ran: tuple[Lab, Fake]) -> None:
    lab, _ = ran
    before, gaps = columns(lab, "aligned"), lab.read("scores", "gap")
    measured = lab.metadata("scores", "gap")["measured"].value
    assert measured > 0
    for pair, delta, beta in before.select("pair_id", "delta", "beta").iter_rows():
        assert delta == pytest.approx(gaps.filter(pair_id=pair)["score"].item())
        assert beta == pytest.approx(scaled(delta, 0.5, 0.5), abs=1e-9)
    policy = {**lab.attributes["checkpoints"]["aligned"], "objective": mm_dpo(w=0.25, k=3.0)}
    lab.attributes["checkpoints"] = {**lab.attributes["checkpoints"], "aligned": policy}
    graph = statuses_of(lab)
    assert graph["scores/gap"] == graph["checkpoints/critic"] == "fresh"
    assert graph["checkpoints/aligned"] == "stale"
    assert materialized(lab) == ["checkpoints/aligned"]
    assert lab.metadata("scores", "gap")["measured"].value == measured
    after = columns(lab, "aligned")
    assert after["delta"].to_list() == before["delta"].to_list()
    assert after["beta"].to_list() == pytest.approx([scaled(each, 0.25, 3.0) for each in after["delta"]], abs=1e-9)
    assert len([use for use in traced(lab, "red").checkpoints if use.checkpoint == "aligned"]) == 2


def test_an_export_carries_the_numbers_of_a_checkpoint_and_reads_back(ran: tuple[Lab, Fake], tmp_path: Path) -> None:
    lab, _ = ran
    file = tmp_path / "all.jsonl"
    assert export_subset(lab.home, "seen", "all", file, checkpoint="aligned") == len(COLOURS) + len(GREYS)
    written = [json.loads(line) for line in file.read_text().splitlines()]
    known = {row["pair_id"]: row for row in columns(lab, "aligned").to_dicts()}
    for row in written:
        numbers = known[row["pair_id"]]
        assert {name: row[name] for name in ("beta", "delta", "weight", "p_chosen")} == {
            name: numbers[name] for name in ("beta", "delta", "weight", "p_chosen")
        }
        assert "margin" not in row
        [image] = row["images"]
        assert Path(image).is_file()
    assert len({row["beta"] for row in written}) > 1
    reader = TrlSource(location=str(file), image_folder=str(lab.home.media))
    records = reader.read(read_rows(file, "all.jsonl", "again", "b"), MediaStore(lab.home.media))
    assert records.quarantine.is_empty()
    pairs = lab.read("pairs", "pairs")
    votes = records.votes.select(pl.concat_list("completion_a", "completion_b").list.sort()).to_series().to_list()
    sides = pairs.select(pl.concat_list("chosen_id", "rejected_id").list.sort()).to_series().to_list()
    assert sorted(votes) == sorted(sides)
    assert {json.loads(each)["beta"] for each in records.prompts["metadata"]} == {row["beta"] for row in written}


def test_what_an_export_of_a_checkpoint_refuses(ran: tuple[Lab, Fake], tmp_path: Path) -> None:
    lab, _ = ran
    with pytest.raises(LookupError, match="no checkpoint 'nobody'"):
        export_subset(lab.home, "seen", "all", tmp_path / "a.jsonl", checkpoint="nobody")


def test_a_withdrawn_source_takes_its_critiques_out_and_its_images_train_no_more(
    ran: tuple[Lab, Fake], tmp_path: Path
) -> None:
    lab, server = ran
    asked = len(server.bodies)
    gone = {name: traced(lab, name) for name in GREYS}
    assert take(lab, "source:greys").hits.pairs == len(GREYS)
    assert lab.run(
        " or ".join(f"+key:seen/{each}" for each in ("subsets/all", *(f"critiques/{n}" for n in WRITERS)))
    ).ok
    assert len(server.bodies) == asked
    left = {each for name in WRITERS for each in lab.read("critiques", name)["completion_id"]}
    for pair in gone.values():
        assert not {pair.chosen.completion_id, pair.rejected.completion_id} & left
    assert lab.read("subsets", "all")["selected"].sum() == len(COLOURS)
    assert statuses_of(lab)["checkpoints/critic"] == "stale"
    with pytest.raises(ValueError, match=r"checkpoint aligned@.* was trained on other decisions than there are now"):
        export_subset(lab.home, "seen", "all", tmp_path / "all.jsonl", checkpoint="aligned")
    [image] = gone["silver"].images
    assert Path(str(image.path)).is_file()
