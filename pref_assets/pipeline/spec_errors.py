"""Errors of a pipeline file that a person can act on: file, line, field, what was found, what is allowed."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from pref_assets.pipeline.curricula import made_names
from pref_assets.pipeline.fits import misfits, written_at
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.yaml_marks import Mark, PathPart
from pref_assets.proving.ground import ProvingSpec
from pref_assets.settings import Ref, Reference, Settings


class SpecError(ValueError):
    """The pipeline file is wrong. The message has one line for every error of the file."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(errors)
        heading = [] if len(self.errors) == 1 else [f"{len(self.errors)} errors in the pipeline file:"]
        super().__init__("\n".join([*heading, *self.errors]))


AnySpec = TypeVar("AnySpec", PipelineSpec, ProvingSpec)


def parse_spec(attributes: Any, mark: Mark | None = None, file: Path | None = None) -> PipelineSpec:
    """The pipeline behind the ``attributes`` of a file; as ``parse_as``."""
    return parse_as(PipelineSpec, attributes, mark, file)


def parse_as(model: type[AnySpec], attributes: Any, mark: Mark | None = None, file: Path | None = None) -> AnySpec:
    """The spec behind the ``attributes`` of a file.

    Args:
        model: what the file describes.
        attributes: the block as plain data, templates already resolved.
        mark: positions of the block in the file; without it errors carry no line.
        file: the file, for messages.

    Raises:
        SpecError: with every error of the file at once.
    """
    found: list[tuple[tuple[PathPart, ...], str]] = []
    spec: AnySpec | None = None
    try:
        spec = model.model_validate(attributes)
    except ValidationError as error:
        found = [_explain(each, attributes, model) for each in error.errors()]
    found += _wrong_references(attributes, model)
    if spec is not None and not found:
        found = _circle(spec) or (misfits(spec) if isinstance(spec, PipelineSpec) else [])
    if spec is None or found:
        lines = sorted((mark.line_of(path) if mark else 0, _text(path, message)) for path, message in found)
        place = _shown(file)
        raise SpecError([f"{place}:{line}: {text}" if place and line else text for line, text in lines])
    return spec


def repeated_keys(repeated: Iterable[tuple[tuple[PathPart, ...], int]], file: Path) -> None:
    """Refuses keys written twice, of which YAML would silently keep the last. Raises ``SpecError``."""
    errors = [
        f"{_shown(file)}:{line}: {'.'.join(map(str, path[1:]))}: this name is used twice in the same block"
        for path, line in repeated
    ]
    if errors:
        raise SpecError(errors)


def _text(path: tuple[PathPart, ...], message: str) -> str:
    return f"{'.'.join(map(str, path))}: {message}" if path else message


def _shown(file: Path | None) -> str:
    if file is None:
        return ""
    file = file.absolute()
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _explain(error: Any, attributes: Any, root: type[BaseModel]) -> tuple[tuple[PathPart, ...], str]:
    """Path in the file and message of one Pydantic error."""
    path, model, value = _walk(error["loc"], attributes, root)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "union_tag_invalid" or (kind == "literal_error" and error["loc"][-1] == "type"):
        allowed = context.get("expected_tags") or context.get("expected", "")
        names = [name.strip().strip("'") for name in allowed.replace(" or ", ",").split(",")]
        tag = context.get("tag", error["input"])
        where = path if path and path[-1] == "type" else (*path, "type")
        return where, f"unknown type {tag!r}; allowed: {', '.join(names)}{_hint(str(tag), names)}"
    if kind == "union_tag_not_found":
        allowed_types = ", ".join(_types_of(path[0], root)) if path else ""
        return path, f"`type` is missing; allowed: {allowed_types}"
    if kind == "missing":
        return path, f"this field is required{_description(model, path[-1])}"
    if kind == "extra_forbidden":
        names = sorted(model.model_fields) if model else []
        return path, f"unknown field; allowed: {', '.join(names)}{_hint(str(path[-1]), names)}"
    message = error["msg"].removeprefix("Value error, ")
    if kind in {"value_error", "assertion_error"} or value is None:
        return path, message
    return path, f"{message} (got {_short(value)})"


def _walk(
    loc: Sequence[PathPart], attributes: Any, root: type[BaseModel]
) -> tuple[tuple[PathPart, ...], type[BaseModel] | None, Any]:
    """Follows a Pydantic location through the file.

    Pydantic inserts union tags and ``[key]`` into locations, which are not in the file. Returns the path that is, the
    settings class that owns the last field, and the value there.
    """
    path: list[PathPart] = []
    model: type[BaseModel] | None = root
    node, annotation = attributes, None
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, dict) and part in node):
            node = node[part]
        elif not (last and isinstance(node, dict) and model and part in model.model_fields):
            model = _member(annotation, part) or model
            continue
        path.append(part)
        if model and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
        members = _models_in(annotation)
        if len(members) == 1 and not last:
            model = members[0]
    return tuple(path), model, node if path and len(path) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _member(annotation: Any, tag: PathPart) -> type[BaseModel] | None:
    return next((model for model in _models_in(annotation) if tag in _tags(model)), None)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["type"].annotation) if "type" in model.model_fields else ()


def _annotation(block: PathPart, root: type[BaseModel]) -> Any:
    field = root.model_fields.get(str(block))
    return field.annotation if field else None


def _types_of(block: PathPart, root: type[BaseModel]) -> list[str]:
    return [tag for model in _models_in(_annotation(block, root)) for tag in _tags(model)]


def _description(model: type[BaseModel] | None, field: PathPart) -> str:
    told = model.descriptions().get(str(field)) if model and issubclass(model, Settings) else None
    return f": {told}" if told else ""


def _wrong_references(
    attributes: Any, root: type[PipelineSpec] | type[ProvingSpec]
) -> list[tuple[tuple[PathPart, ...], str]]:
    """References to what the file does not define."""
    blocks = attributes if isinstance(attributes, dict) else {}
    return [
        ((block, name, *path), problem)
        for block in root.blocks
        for name, entry in _entries(blocks, block).items()
        for path, problem in _wrong_in_entry(_alone(block, entry, root), blocks, root.given)
    ]


def _circle(spec: AnySpec) -> list[tuple[tuple[PathPart, ...], str]]:
    """An entry that needs itself to be there first, if there is one."""
    entries = {(block, name): each for block in spec.blocks for name, each in getattr(spec, block).items()}
    needs = {place: {(ref.stage, ref.name) for ref in each.references()} for place, each in entries.items()}
    if isinstance(spec, PipelineSpec):
        for name in spec.reference_logps:
            needs["reference_logps", name] |= {("subsets", subset) for subset, _ in spec.stages_read(name)}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        around = list(reversed(error.args[1]))
        first = written_at(spec, *around[0]) if isinstance(spec, PipelineSpec) else around[0]
        return [(first, f"this needs itself: {' needs '.join('.'.join(place) for place in around)}")]
    return []


def _wrong_in_entry(
    settings: Settings | None, blocks: dict[str, Any], given: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[tuple[PathPart, ...], str]]:
    for ref in settings.references() if settings else ():
        targets = {
            **dict.fromkeys(given.get(ref.stage, ())),
            **_entries(blocks, ref.stage),
            **made_names(blocks, ref.stage),
        }
        if problem := _problem(ref, targets) or _wrong_kind(settings, ref, targets):
            yield ref.path, problem


def _entries(blocks: dict[str, Any], stage: str) -> dict[str, Any]:
    found = blocks.get(stage)
    return found if isinstance(found, dict) else {}


def _problem(ref: Reference, targets: Mapping[str, Any]) -> str | None:
    known = sorted(map(str, targets))
    if ref.name in known:
        return None
    return f"no {ref.stage} named {ref.name!r}; known: {', '.join(known) or 'none'}{_hint(ref.name, known)}"


def _wrong_kind(settings: Settings | None, ref: Reference, targets: Mapping[str, Any]) -> str | None:
    """What is wrong with the type of the entry that is referred to."""
    types = {name: each.get("type") if isinstance(each, dict) else None for name, each in targets.items()}
    kind = types[ref.name]
    if kind is None:
        return None
    mark = ref.mark or Ref(ref.stage)
    # An evaluation's own checkpoints are of the kind that it measures.
    only = mark.only or (getattr(settings, "checkpoint_kind", None) if ref.path[0] == "checkpoints" else None)
    if kind != mark.but and only in (kind, None):
        return None
    fitting = [name for name, each in types.items() if each and each != mark.but and only in (each, None)]
    wanted = f"a {only}" if only else f"any but a {mark.but}"
    hint = f"; {mark.hint}" if mark.hint else ""
    return f"{ref.name!r} is a {kind}, this takes {wanted}; known: {', '.join(fitting) or 'none'}{hint}"


def _alone(block: str, entry: Any, root: type[BaseModel]) -> Settings | None:
    """The entry by itself. One with errors, which are reported elsewhere, still says what it refers to."""
    try:
        return next(iter(_adapter(block, root).validate_python({"entry": entry}).values()))
    except ValidationError:
        return _as_written(block, entry, root) if isinstance(entry, dict) else None


@cache
def _adapter(block: str, root: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(_annotation(block, root))


def _as_written(block: str, entry: dict[Any, Any], root: type[BaseModel]) -> Settings | None:
    """The entry's references and nothing else of it, unchecked; nothing when its type is not known."""
    models = [model for model in _models_in(_annotation(block, root)) if issubclass(model, Settings)]
    model = models[0] if len(models) == 1 else next((each for each in models if entry.get("type") in _tags(each)), None)
    if model is None:
        return None
    required = {name: None for name, field in model.model_fields.items() if field.is_required()}
    written = {name: value for name, value in entry.items() if name in model.model_fields and _can_name(value)}
    return model.model_construct(None, **{**required, **written})


def _can_name(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _hint(word: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
