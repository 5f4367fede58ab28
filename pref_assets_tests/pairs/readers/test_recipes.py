"""The recipes in ``docs/recipes``: each is a valid pipeline, and reads the real data to the numbers it should."""

import gzip
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl
import pytest
import yaml

from pref_assets.pairs.locations import find_files
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.merge import Merged, merge
from pref_assets.pairs.readers import HhRlhfSource
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.reading import read_rows
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import parse_spec

PROJECT = Path(__file__).parents[3]
RECIPES = PROJECT / "docs" / "recipes"
DATA = PROJECT.parent / "shared" / "data"
ALL = sorted(path.stem for path in RECIPES.glob("*.yaml"))
NAMES = [name for name in ALL if "type: columns" in (RECIPES / f"{name}.yaml").read_text()]
"""Recipes for data sets; the others are for methods."""
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared preference data are not on this machine")


def recipe(name: str) -> PipelineSpec:
    """The recipe with its environment variable pointing to the shared data."""
    text = (RECIPES / f"{name}.yaml").read_text()
    text = re.sub(r"\{\{ env\('\w+', '(\w+)'\) \}\}", lambda match: str(DATA / match[1]), text)
    text = re.sub(r"\{\{ env\('\w+', '(hf://[^']+)'\) \}\}", r"\1", text)
    # A model's id.
    text = re.sub(r"\{\{ env\('\w+', '([\w.-]+/[\w.-]+)'\) \}\}", r"\1", text)
    assert "{{" not in text
    return parse_spec(yaml.safe_load(text)["attributes"])


@dataclass
class Read:
    """What a recipe makes of its data."""

    rows: int
    records: Records
    merged: Merged

    def counts(self) -> dict[str, int]:
        return {
            "rows": self.rows,
            "prompts": self.merged.prompts.height,
            "answers": self.merged.completions.height,
            "votes": self.records.votes.height,
            "pairs": self.merged.pairs.height,
            "undecided": self.merged.drops.height,
            "quarantine": self.records.quarantine.height,
        }

    def refused(self) -> list[tuple[int, str]]:
        return self.records.quarantine.select("row", "code").sort("row").rows()


@cache
def read(name: str, media: MediaStore | None = None) -> Read:
    spec = recipe(name)
    ((source_name, source),) = spec.sources.items()
    raws = [read_rows(path, uri, source_name, uri) for uri, path in find_files(source.location)]
    parts = [source.read(raw, media) for raw in raws]
    tables = ("prompts", "completions", "votes", "quarantine")
    records = Records(*(pl.concat([getattr(part, table) for part in parts]) for table in tables))
    merged = merge(records.prompts, records.completions, records.votes, spec.pairs)
    return Read(sum(raw.height for raw in raws), records, merged)


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_is_a_pipeline(name: str) -> None:
    assert recipe(name).sources


def table() -> dict[str, dict[str, int]]:
    """The table of counts in the guide."""
    lines = [line for line in (RECIPES / "README.md").read_text().splitlines() if line.startswith(("| recipe", "| ["))]
    head, *rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {
        row[0].split("]")[0].removeprefix("["): {
            title: int(cell.replace(",", "")) for title, cell in zip(head[2:], row[2:], strict=True)
        }
        for row in rows
    }


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_the_guide_says_what_is_read(name: str) -> None:
    assert read(name).counts() == table()[name]


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_read_or_refused(name: str) -> None:
    found = read(name)
    read_rows_, refused = (
        frame.select("uri", "row").unique() for frame in (found.records.prompts, found.records.quarantine)
    )
    assert pl.concat([read_rows_, refused]).unique().height == found.rows


@needs_data
def test_crowdrag25_has_every_vote_of_every_worker() -> None:
    votes = read("crowdrag25").records.votes
    assert votes.height == 1352 * 7 * 5 == 47_320
    assert votes["annotator"].n_unique() == 420
    assert dict(votes.group_by("dimension").len().rows()) == dict.fromkeys(
        ["correctness_topical", "coherence_logical", "coherence_stylistic", "coverage_broad", "coverage_deep",
         "consistency_internal", "quality_overall"], 6760
    )  # fmt: skip
    # Counted in the file: 16,514 A, 17,441 B, 13,365 N; ids decide which side of the table is `a`.
    assert votes.filter(choice="tie").height == 13_365


@needs_data
def test_crowdrag25_first_vote_by_hand() -> None:
    found = read("crowdrag25")
    first = found.records.votes.filter(pl.col("row") == 1, pl.col("dimension") == "quality_overall")
    texts = dict(
        found.merged.completions.select("completion_id", pl.col("messages").list.first().struct.field("content")).rows()
    )
    left = next(id_ for id_, text in texts.items() if text.startswith("- Local journalism plays an essential role in"))
    said = {vote["annotator"][:8]: vote[f"completion_{vote['choice']}"] == left for vote in first.rows(named=True)}
    # In the file: worker 61fd722e…, dc17afd1…, 0794567f…, 0a58809f…, af97a18e…, quality_overall_vote A B B A B.
    assert said == {"61fd722e": True, "dc17afd1": False, "0794567f": False, "0a58809f": True, "af97a18e": False}


@needs_data
def test_fine_grained_rlhf_labels() -> None:
    """Of 3,000 labels the file has 384 ties."""
    found = read("fine_grained_rlhf")
    assert found.records.votes.filter(choice="tie").height == 384
    assert found.merged.drops["code"].unique().to_list() == ["tie"]
    # The file's first row says [0, 1, 2, 1, 0, 2] of 1-2, 1-3, 1-4, 2-3, 2-4, 3-4; answers count from 0 here.
    votes = found.records.votes.filter(pl.col("row") == 1)
    answers = found.records.completions.filter(pl.col("row") == 1).sort("position")["completion_id"].to_list()
    won = {
        (answers.index(vote["completion_a"]), answers.index(vote["completion_b"])): vote["choice"]
        for vote in votes.rows(named=True)
    }
    winners = {frozenset(pair): pair["ab".index(choice)] for pair, choice in won.items() if choice != "tie"}
    assert winners == {frozenset({0, 2}): 0, frozenset({0, 3}): 3, frozenset({1, 2}): 1, frozenset({2, 3}): 3}


@needs_data
def test_oasst_ranks() -> None:
    """Rank 0 is the best reply: it is chosen in all of its pairs."""
    found = read("oasst")
    rated = found.merged.completions.select("completion_id", rank=-pl.col("ratings").list.first().struct.field("value"))
    ranks = dict(rated.rows())
    pairs = found.merged.pairs.select("chosen_id", "rejected_id").rows()
    assert all(ranks[chosen] < ranks[rejected] for chosen, rejected in pairs)
    assert found.merged.completions.filter(pl.col("model") == "chip20b").height == 17


@needs_data
def test_hh_rlhf_without_its_reader_reads_the_same() -> None:
    found = read("hh_rlhf")
    raw = read_rows(next(DATA.glob("hh_rlhf/*.gz")), "x", "anthropic", "x")
    own = HhRlhfSource(location="x", dimension="harmless").read(raw)
    columns = ["prompt_id", "completion_a", "completion_b", "choice", "dimension", "row"]
    assert own.votes.select(columns).sort(columns).equals(found.records.votes.select(columns).sort(columns))
    assert found.refused() == own.quarantine.select("row", "code").sort("row").rows()
    by_code = {code: [row for row, each in found.refused() if each == code] for _, code in found.refused()}
    assert by_code["prompts_differ"] == [1255, 1689, 1951, 1953, 2037]
    assert by_code["empty_side"] == [87, 517, 926, 1104]


@needs_data
def test_llmbar_quarantine_by_row() -> None:
    found = read("llmbar").records.quarantine.select("uri", "row", "code").rows()
    assert [(Path(uri).name, row, code) for uri, row, code in found] == [
        ("Processed.LLMEval2.json", 58, "identical_sides"),
        ("Processed.LLMEval2.json", 170, "empty_side"),
    ]


@needs_data
def test_nlvr_images_come_out_of_the_archive(tmp_path: Path) -> None:
    media = MediaStore(tmp_path)
    found = read("nlvr", media)
    images = found.merged.prompts["images"].list.first()
    assert images.n_unique() == 986  # 989 pictures, three of which are drawn twice
    assert found.merged.prompts["images"].list.len().unique().to_list() == [1]
    assert all(media.path(image).read_bytes().startswith(b"\x89PNG") for image in images.head(20))
    assert found.records.quarantine.height == 0


@needs_data
def test_nlvr_votes_of_ten_raters() -> None:
    votes = read("nlvr").records.votes
    assert votes.height == 989 * 5 - 63 == 4882
    assert votes["annotator"].n_unique() == 10


@needs_data
def test_nlvr_raters_agree_with_each_other() -> None:
    """The ceiling of any reward model: how often a rater says what most of the others say; halves where they tie."""
    votes = read("nlvr").records.votes.select("prompt_id", "annotator", "completion_a", "completion_b", "choice")
    counted = votes.with_columns(says=(pl.col("choice") == "a").cast(pl.Float64))
    of = pl.col("says").count().over("prompt_id") - 1
    others = (pl.col("says").sum().over("prompt_id") - pl.col("says")) / of
    agrees = pl.when(others == 0.5).then(0.5).otherwise(((others > 0.5) == (pl.col("says") == 1)).cast(pl.Float64))
    found = counted.select(agrees.alias("agrees"))["agrees"]
    assert (found.len(), float(found.mean())) == (4882, pytest.approx(0.960, abs=1e-3))


@needs_data
def test_nlvr_reasons_say_what_is_seen() -> None:
    said = read("nlvr").merged.completions.explode("ratings").unnest("ratings")
    reasons = said.filter(pl.col("dimension") == "reason")
    assert reasons.height == 2 * 989
    assert reasons["value"].null_count() == reasons.height
    right = reasons["rationale"].str.ends_with("The answer is right.").sum()
    assert right == 989
    assert reasons["rationale"].str.contains(r"^The boxes hold \d+, \d+, \d+ things: \d+ black, \d+ yellow, ").all()


@needs_data
def test_nlvr_images_are_compared_where_raters_disagree_about_them() -> None:
    """Counted anew from the rows: a sentence's images, one called true by most raters and one called false."""
    lines = gzip.decompress((DATA / "nlvr" / "dev.json.gz").read_bytes()).splitlines()
    won: dict[str, list[int]] = defaultdict(list)
    for row in map(json.loads, lines):
        said = list(row["evals"].values())
        won[row["sentence"]].append(said.count("true") - said.count("false"))
    expected = sum(min(16, 2 * sum(w > 0 for w in each) * sum(w < 0 for w in each)) for each in won.values())
    votes = read("nlvr_images").records.votes
    between = votes.filter(pl.col("prompt_id").is_null())
    # Six sentences were shown with one image twice, or more; an image is not compared with itself.
    assert expected - 20 < between.height <= expected
    assert between.height > 900
    assert votes.height - between.height == 4882
