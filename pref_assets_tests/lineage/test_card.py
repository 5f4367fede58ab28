"""The data card: it says what the tables say, is the same every time, and keeps no secrets."""

import pytest

from pref_assets.lineage.about import about_file, card_folder, describe, read_about, written
from pref_assets.lineage.card import markdown, stages
from pref_assets.lineage.facts import File, Use, collect
from pref_assets.lineage.folder import write_card
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.uses import uses
from pref_assets.pairs.curation import PairsBlock
from pref_assets.pairs.readers import CompletionsSource
from pref_assets.pairs.schema import BIAS, COMPARISONS, FLAGS
from pref_assets.tables import MissingTableError
from pref_assets_tests.lineage.conftest import URI

FILE = File("answers", "b1", URI, "ab" * 32, 123, f"sha256 {'ab' * 32}", "2026-01-02T03:04:05.000+00:00")
SOURCE = CompletionsSource(
    location="https://me:secret@host/answers.jsonl?token=abc", licence="CC-BY-4.0", homepage="https://example.org/d"
)
ABOUT = describe("p", "What is a colour?", {"answers": SOURCE}, PairsBlock())


@pytest.fixture(scope="module")
def home(small):
    flag = {"pair_id": small.blue, "code": "refusal", "severity": "info", "detail": "a refusal"}
    small.write(("pairs", "comparisons"), small.merged.comparisons, COMPARISONS)
    small.write(("pairs", "flags"), FLAGS.frame([flag]), FLAGS)
    return small.home


@pytest.fixture(scope="module")
def facts(home):
    return collect(home, ABOUT, [FILE, File("answers", "never_read", "x", None, None, "", "")])


def test_every_stage_is_counted(facts) -> None:
    # Six rows with content: one answer of the tree row is empty, and the bird row holds a number.
    assert dict(stages(facts)) == {
        "rows read": 6,
        "rows in quarantine": 2,
        "prompts": 4,
        "completions": 7,
        "votes": 0,
        "comparisons": 3,
        "comparisons taken out": 1,
        "pairs": 2,
    }
    assert facts.files == [FILE]
    assert facts.quarantine.rows() == [("answers", "empty_side", 1), ("answers", "wrong_type", 1)]
    assert facts.drops.rows() == [("tie", "drop", 1)]
    assert facts.undecided.rows() == [("tie", 1)]
    assert facts.splits.rows() == [("train", 4, 2)]
    assert facts.flags == {"refusal": 1}


def test_the_card_says_where_the_data_are_from_and_what_was_done(facts, home) -> None:
    text = markdown(facts)
    assert text == markdown(collect(home, ABOUT, [FILE]))
    assert text.startswith("# Data card: p\n\nWhat is a colour?\n")
    assert "- Licence: CC-BY-4.0\n- Described at: https://example.org/d\n" in text
    assert f"| {URI} | b1 | 6 | 123 | `sha256 {'ab' * 32}` | 2026-01-02T03:04:05.000+00:00 |" in text
    assert "| answers | `wrong_type` | 1 |" in text
    assert "| `refusal` | info | keep | 1 | An answer declines" in text
    assert f"| `pairs` | 0 | 2 | `{facts.tables['pairs'].content_hash}` |" in text
    assert "| `p_chosen` | `float64` | Share of vote weight" in text
    assert "Used by" not in text


def test_no_secret_is_in_the_card(facts) -> None:
    text = markdown(facts)
    assert "https://***@host/answers.jsonl?token=***" in text
    assert "secret@" not in text


def test_the_snippet_of_the_card_reads_the_pairs(facts, home, monkeypatch: pytest.MonkeyPatch) -> None:
    code = markdown(facts).split("```python\n")[1].split("```")[0].rstrip()
    head, last = code.rsplit("\n", 1)
    monkeypatch.chdir(home.root)
    names: dict[str, object] = {}
    exec(f"{head}\nfound = {last}", names)
    assert sorted(names["found"]["chosen"]) == ["An oak tree.", "Blue is a colour."]


def test_uses_are_subsets_checkpoints_and_evaluations(home) -> None:
    found = uses(home, "p")
    assert [(use.kind, use.name, use.pairs) for use in found] == [
        ("subset", "all", 2),
        ("subset", "few", 1),
        ("checkpoint", "rm_all", 2),
        ("checkpoint", "rm_few", 1),
        ("evaluation", "rewards", None),
    ]
    assert found[3].made_from == "reward model of base on subset few, version 0"
    assert found[4].made_from == "rm_all aaaa1111"
    text = markdown(collect(home, ABOUT, [FILE], [Use("subset", "few", "0", 1, "chosen from 2 pairs", "ff")]))
    assert "| subset | few | `0` | 1 | chosen from 2 pairs | ff |" in text


def test_what_the_pipeline_file_said_is_kept(home) -> None:
    with pytest.raises(UnknownQueryError, match=r"p has no data card .*reports/data_card"):
        read_about(home, "p")
    card_folder(home, "p").mkdir(parents=True)
    about_file(home, "p").write_text(written(ABOUT))
    assert read_about(home, "p") == ABOUT


def test_a_folder_holds_card_croissant_and_bias_sheet(home, small, tmp_path) -> None:
    with pytest.raises(MissingTableError, match=r"reports/bias: no such table; materialize"):
        write_card(home, ABOUT, [FILE], tmp_path)
    row = {"data": "pairs", "metric": "trait_preferred", "group": "list", "value": 0.5, "lo": 0.1, "hi": 0.9, "n": 4}
    small.write(("reports", "bias"), BIAS.frame([row]), BIAS)
    names = [path.name for path in write_card(home, ABOUT, [FILE], tmp_path / "card")]
    assert names == ["README.md", "croissant.json", "bias.md", "bias_form.png"]
    assert sorted(path.name for path in (tmp_path / "card").iterdir()) == sorted(names)
    assert "| checkpoint | rm_few |" in (tmp_path / "card" / "README.md").read_text()
    assert "![Form](bias_form.png)" in (tmp_path / "card" / "bias.md").read_text()


def test_licence_and_homepage_change_no_version() -> None:
    plain = CompletionsSource(location="x")
    assert plain.model_copy(update={"licence": "MIT", "homepage": "y"}).digest() == plain.digest()
    assert plain.model_copy(update={"max_bad_share": 0.5}).digest() != plain.digest()
