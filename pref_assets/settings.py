"""A method is its configuration: the base of every configured thing, and references between them."""

import ast
import hashlib
import inspect
import json
import re
import sys
import textwrap
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema


@dataclass(frozen=True)
class Ref:
    """Marks a field as the name of another entry of the same pipeline file.

    The pipeline's spec resolves every marked field: an unknown name is an error with the YAML line, and a
    known one becomes an edge of the asset graph. So is an entry of the wrong type.

    Attributes:
        stage: the block of the entry.
        only: the `type` that it must have, if any will not do.
        but: the `type` that it must not have.
        hint: what to do with an entry of the wrong type.
    """

    stage: str
    only: str | None = None
    but: str | None = None
    hint: str = ""


EmbeddingsName = Annotated[str, Ref("embeddings")]
CountedName = Annotated[str, Ref("embeddings", but="image", hint="only texts have tokens to count")]
ClustersName = Annotated[str, Ref("clusters")]
EnsembleName = Annotated[str, Ref("reward_models", only="bradley_terry", hint="`reward_head` scores with every other")]
HeadName = Annotated[str, Ref("reward_models", but="bradley_terry", hint="`reward_ensemble` scores with that")]
ScoresName = Annotated[str, Ref("scores")]
SubsetName = Annotated[str, Ref("subsets")]
ReferenceName = Annotated[str, Ref("reference_logps")]
CheckpointName = Annotated[str, Ref("checkpoints")]
PolicyName = Annotated[str, Ref("checkpoints", only="policy")]
RewardModelName = Annotated[str, Ref("checkpoints", only="reward_model")]
CritiqueRewardName = Annotated[str, Ref("checkpoints", only="critique_reward_model")]
CritiquesName = Annotated[str, Ref("critiques")]
SamplesName = Annotated[str, Ref("samples")]


class Settings(BaseModel):
    """Immutable, closed configuration. Its fields are a method's hyper-parameters, documented and bounded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """The sentence under each field, by field name; inherited fields have that of the class that wrote it.

        Read from the source when asked for: Pydantic's own ``use_attribute_docstrings`` reads it for every class as
        it is made, which is most of the time that importing them takes.
        """
        written = [_field_docs(base) for base in reversed(cls.__mro__) if issubclass(base, Settings)]
        found = {name: text for docs in written for name, text in docs.items()}
        return {name: found.get(name, "") for name in cls.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in cls.descriptions().items():
            if text and name in properties:
                properties[name]["description"] = text
        return schema

    def digest(self) -> str:
        """Content hash (16 hex characters) of the type and every field, for versions and store keys."""
        return digest({"class": type(self).__name__, **self.model_dump(mode="json")})

    def references(self) -> "list[Reference]":
        """Names of other entries that this one reads, those of settings inside it included."""
        found = []
        for name, marks in _marks(type(self)).items():
            for place, each in _places(getattr(self, name)):
                if isinstance(each, Settings):
                    found += [replace(ref, path=(name, *place, *ref.path)) for ref in each.references()]
                elif each is not None:
                    found += [Reference((name,), mark.stage, each, mark) for mark in marks]
        return found


@dataclass(frozen=True)
class Reference:
    """The name of another entry, the field (and place in it) that holds it, and what may stand there."""

    path: tuple[str | int, ...]
    stage: str
    name: str
    mark: Ref | None = field(default=None, compare=False)


def _places(value: Any) -> list[tuple[tuple[int, ...], Any]]:
    """A field's value, or each of its values with its place in the list."""
    if isinstance(value, (list, tuple)):
        return [((place,), each) for place, each in enumerate(value)]
    return [((), value)]


@cache
def _marks(cls: type[Settings]) -> dict[str, list[Ref]]:
    """The marks of every field of a class."""
    return {
        name: [*(mark for mark in info.metadata if isinstance(mark, Ref)), *_nested_refs(info.annotation)]
        for name, info in cls.model_fields.items()
    }


def _nested_refs(annotation: Any) -> list[Ref]:
    """Marks inside ``list[...]`` and ``... | None``, which Pydantic leaves in the annotation."""
    marks = [mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Ref)]
    return marks + [ref for argument in get_args(annotation) for ref in _nested_refs(argument)]


@cache
def _field_docs(cls: type) -> dict[str, str]:
    """Texts under the fields that a class itself writes down."""
    tree = ast.parse(_class_source(cls))
    bodies = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    body = next(bodies, [])
    return {
        line.target.id: inspect.cleandoc(text.value.value)
        for line, text in pairwise(body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _class_source(cls: type) -> str:
    """The lines of a class, empty for one that no module has; parsing them alone is several times faster than parsing
    all of the module."""
    lines = _lines(cls.__module__)
    start = re.compile(rf"( *)class {re.escape(cls.__name__)}\b")
    for number, line in enumerate(lines):
        if found := start.match(line):
            inside = found.group(1) + " "
            rest = lines[number + 1 :]
            # The lines of a signature that is broken end at the margin again, with the bracket that closes it.
            own = (inside, found.group(1) + ")")
            end = next((i for i, each in enumerate(rest) if each.strip() and not each.startswith(own)), len(rest))
            return textwrap.dedent("".join(lines[number : number + 1 + end]))
    return ""


@cache
def _lines(module: str) -> list[str]:
    return inspect.getsource(sys.modules[module]).splitlines(keepends=True)


def digest(value: Any) -> str:
    """Content hash (16 hex characters) of any JSON-serialisable value; key order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
