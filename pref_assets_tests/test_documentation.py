from pathlib import Path

import pytest

from pref_assets.documentation import methods_page

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"


def test_the_methods_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == methods_page(), "run `python -m pref_assets.documentation docs/methods.md`"


@pytest.mark.parametrize("method", ["deita", "flip_filter", "bradley_terry", "kmeans", "policy", "ranking_accuracy"])
def test_methods_are_listed_by_the_name_that_yaml_uses(method: str) -> None:
    assert f"### `{method}`" in methods_page()


def test_every_setting_is_explained() -> None:
    settings = [line for line in methods_page().splitlines() if line.startswith("| `")]
    unexplained = [line for line in settings if line.rstrip().endswith("|  |")]
    assert not unexplained
