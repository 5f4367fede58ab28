"""A method is its configuration: the base of every configured thing, and references between them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Ref:
    """Marks a field as the name of another entry of the same pipeline file.

    The pipeline's spec resolves every marked field: an unknown name is an error with the YAML line, and a
    known one becomes an edge of the asset graph.
    """

    stage: str


EmbeddingsName = Annotated[str, Ref("embeddings")]
ClustersName = Annotated[str, Ref("clusters")]
RewardModelName = Annotated[str, Ref("reward_models")]
ScoresName = Annotated[str, Ref("scores")]
SubsetName = Annotated[str, Ref("subsets")]
ReferenceName = Annotated[str, Ref("reference_logps")]
CheckpointName = Annotated[str, Ref("checkpoints")]


class Settings(BaseModel):
    """Immutable, closed configuration. Its fields are a method's hyper-parameters, documented and bounded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def digest(self) -> str:
        """Content hash (16 hex characters) of the type and every field, for versions and store keys."""
        return digest({"class": type(self).__name__, **self.model_dump(mode="json")})

    def references(self) -> "list[Reference]":
        """Names of other entries that this one reads, those of settings inside it included."""
        found = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            marks = [*(mark for mark in field.metadata if isinstance(mark, Ref)), *_nested_refs(field.annotation)]
            for place, each in _places(value):
                if isinstance(each, Settings):
                    found += [Reference((name, *place, *ref.path), ref.stage, ref.name) for ref in each.references()]
                elif each is not None:
                    found += [Reference((name,), mark.stage, each) for mark in marks]
        return found


@dataclass(frozen=True)
class Reference:
    """The name of another entry, and the field (and place in it) that holds it."""

    path: tuple[str | int, ...]
    stage: str
    name: str


def _places(value: Any) -> list[tuple[tuple[int, ...], Any]]:
    """A field's value, or each of its values with its place in the list."""
    if isinstance(value, (list, tuple)):
        return [((place,), each) for place, each in enumerate(value)]
    return [((), value)]


def _nested_refs(annotation: Any) -> list[Ref]:
    """Marks inside ``list[...]`` and ``... | None``, which Pydantic leaves in the annotation."""
    marks = [mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Ref)]
    return marks + [ref for argument in get_args(annotation) for ref in _nested_refs(argument)]


def digest(value: Any) -> str:
    """Content hash (16 hex characters) of any JSON-serialisable value; key order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
