import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from pref_assets.documentation import formats_page, methods_page, parity_page
from pref_assets.evidence import trials_page
from pref_assets.training.objectives.dpo_losses import LossType
from pref_assets.training_evidence import results_page

DOCS = Path(__file__).parent.parent / "docs"


PAGES = [
    ("methods.md", methods_page),
    ("formats.md", formats_page),
    ("proving_ground.md", lambda: trials_page(DOCS)),
    ("trl_parity.md", lambda: parity_page(DOCS)),
    ("training_results.md", lambda: results_page(DOCS)),
]


@pytest.mark.parametrize(("name", "page"), PAGES)
def test_the_pages_are_what_the_code_says(name: str, page: Callable[[], str]) -> None:
    assert (DOCS / name).read_text() == page(), "run `python -m pref_assets.documentation docs`"


def test_every_loss_of_trl_is_compared_and_its_largest_difference_is_shown() -> None:
    rows = [line.strip("| ").split(" | ") for line in parity_page(DOCS).splitlines() if line.startswith("| DPO |")]
    assert {row[1].strip("`") for row in rows} >= set(get_args(LossType))
    for *_, loss, rewards, gradient, largest in rows:
        assert float(largest.strip("*")) == max(map(float, (loss, rewards, gradient))) < 2e-5
    overall = max(re.findall(r"\*\*(.*)\*\*", parity_page(DOCS)), key=float).replace("e-0", "e-")
    assert f"difference of any loss, reward or gradient is\n{overall} " in (DOCS.parent / "README.md").read_text()


@pytest.mark.parametrize("method", ["deita", "flip_filter", "bradley_terry", "kmeans", "policy", "ranking_accuracy"])
def test_methods_are_listed_by_the_name_that_yaml_uses(method: str) -> None:
    assert f"### `{method}`" in methods_page()


def test_settings_that_several_methods_share_are_described_once() -> None:
    names = [line.partition(" ")[2] for line in methods_page().splitlines() if line.startswith("###")]
    for name in ("CrossFit", "Sampling", "token_dpo", "grpo", "bt"):
        assert names.count(f"`{name}`") == 1, name


@pytest.mark.parametrize("page", [methods_page, formats_page])
def test_every_setting_is_explained(page: Callable[[], str]) -> None:
    settings = [line for line in page().splitlines() if line.startswith("| `")]
    unexplained = [line for line in settings if line.rstrip().endswith("|  |")]
    assert not unexplained


def test_every_format_has_an_example_and_says_what_it_keeps() -> None:
    page = formats_page()
    for section in page.split("\n## `")[1:]:
        name = section.partition("`")[0]
        assert re.search(r"```json\n\{.*?\n```\n\nRead as 1 prompt, ", section, re.DOTALL), f"{name} has no example"
        assert re.search(r"\*\*Kept\.\*\* \S", section), f"{name} does not say what it keeps"


def test_cells_of_a_table_do_not_end_early() -> None:
    for line in formats_page().splitlines():
        if line.startswith("| "):
            assert len(line.replace("\\|", "").strip("|").split("|")) == 3, line
