from typing import Literal

import pytest
from pydantic import Field, ValidationError

from pref_assets.settings import EmbeddingsName, Reference, ScoresName, Settings, digest


class Example(Settings):
    type: Literal["example"] = "example"
    quality: ScoresName
    embeddings: EmbeddingsName | None = None
    threshold: float = Field(default=0.9, ge=0, le=1)
    """Largest cosine similarity to what was already kept."""


class Sibling(Example):
    pass


def test_references_name_the_field_the_stage_and_the_entry() -> None:
    assert Example(quality="strength").references() == [Reference(("quality",), "scores", "strength")]
    assert Example(quality="strength", embeddings="minilm").references() == [
        Reference(("quality",), "scores", "strength"),
        Reference(("embeddings",), "embeddings", "minilm"),
    ]


def test_digest_follows_every_field_and_the_class() -> None:
    base = Example(quality="strength")
    assert base.digest() == Example(quality="strength", threshold=0.9).digest()
    assert base.digest() != Example(quality="strength", threshold=0.8).digest()
    assert base.digest() != Sibling(quality="strength").digest()


def test_digest_does_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_settings_are_closed_and_bounded() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Example(quality="strength", threshold=3)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Example.model_validate({"quality": "strength", "treshold": 0.5})


def test_the_string_under_a_field_is_its_description() -> None:
    assert Example.descriptions()["threshold"] == "Largest cosine similarity to what was already kept."


class Documented(Settings):
    """Fields with and without a sentence."""

    first: int = 1
    """The first, in
    two lines."""
    second: int = 2
    third: int = Field(default=3, ge=0)
    """The third."""


class Heir(Documented):
    second: int = 5
    """Told by the heir."""


def test_the_sentence_under_a_field_describes_it_for_people_and_for_editors() -> None:
    assert Documented.descriptions() == {"first": "The first, in\ntwo lines.", "second": "", "third": "The third."}
    assert Heir.descriptions() == {**Documented.descriptions(), "second": "Told by the heir."}
    properties = Heir.model_json_schema()["properties"]
    assert properties["second"]["description"] == "Told by the heir."
    assert (properties["third"]["description"], properties["third"]["minimum"]) == ("The third.", 0)
