"""From the YAML block of a component to a valid spec: templates, positions, errors, JSON schema."""

from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from pydantic import RootModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import AnySpec, SpecError, parse_as, repeated_keys
from pref_assets.pipeline.yaml_marks import Mark, parse
from pref_assets.proving.ground import ProvingSpec

_ATTRIBUTES = "attributes"


class _SchemaByType(GenerateJsonSchema):
    """Writes a union as "if the type is this, then that schema", so that a validator complains of the wrong field.

    Of Pydantic's own ``oneOf``, ``dg check yaml`` can only say that no schema fits.
    """

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        discriminator = super().tagged_union_schema(schema)["discriminator"]
        field, references = discriminator["propertyName"], discriminator["mapping"]
        return {
            "type": "object",
            "required": [field],
            "properties": {field: {"enum": list(references)}},
            "allOf": [
                {"if": {"properties": {field: {"const": tag}}, "required": [field]}, "then": {"$ref": reference}}
                for tag, reference in references.items()
            ],
        }


class PipelineAttributes(RootModel[dict[str, Any]]):
    """What Dagster reads from the file before we judge it: anything, so that all errors come from one place.

    Its JSON schema is the strict one of the spec, for editors and ``dg check yaml``.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return PipelineSpec.model_json_schema(*args, **{**kwargs, "schema_generator": _SchemaByType})


class ProvingAttributes(PipelineAttributes):
    """The same for a proving ground."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return ProvingSpec.model_json_schema(*args, **{**kwargs, "schema_generator": _SchemaByType})


def read_spec(model: type[AnySpec], attributes: PipelineAttributes | None, context: dg.ComponentLoadContext) -> AnySpec:
    """The spec of the component that Dagster is loading.

    Raises:
        SpecError: with file, line and field of every error.
    """
    value = attributes.root if attributes else {}
    tree = context.resolution_context.source_position_tree
    file = Path(tree.position.filename) if tree else None
    if tree is None or file is None or not file.is_file():
        return parse_as(model, _resolve(value, context, Mark(0), None, ()))
    documents = parse(file.read_text())
    document = next((each for each in documents if each.mark.line == tree.position.start.line), documents[0])
    repeated_keys(document.repeated, file)
    mark = document.mark.at([_ATTRIBUTES])
    return parse_as(model, _resolve(value, context, mark, file, ()), mark, file)


def _resolve(value: Any, context: dg.ComponentLoadContext, mark: Mark, file: Path | None, path: tuple[Any, ...]) -> Any:
    """Renders ``{{ … }}`` templates, the way Dagster's own components do; plain text stays what it is."""
    if isinstance(value, dict):
        return {key: _resolve(each, context, mark, file, (*path, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each, context, mark, file, (*path, index)) for index, each in enumerate(value)]
    if not (isinstance(value, str) and "{{" in value):
        return value
    try:
        return context.resolution_context.resolve_value(value)
    except ResolutionException as error:
        where = f"{file}:{mark.line_of(path)}: " if file else ""
        raise SpecError([f"{where}{'.'.join(map(str, path))}: {error}"]) from error
