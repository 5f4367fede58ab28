"""The component: a pipeline file in, a graph of assets, checks, jobs and sensors out."""

import dagster as dg
from dagster.components.core.component_tree import ComponentTreeException
from pydantic import BaseModel

from pref_assets.pipeline.attributes import PipelineAttributes, read_spec
from pref_assets.pipeline.graph import pipeline_definitions
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import SpecError


class PreferencePipeline(dg.Component):
    """Preference data from raw pairs to evaluated checkpoints: one block a stage, each entry one asset."""

    def __init__(self, spec: PipelineSpec) -> None:
        self.spec = spec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(
            owners=["team:curation", "team:training"], produces=["asset", "asset_check", "job", "sensor"]
        )

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return PipelineAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "PreferencePipeline":
        assert attributes is None or isinstance(attributes, PipelineAttributes)
        try:
            return cls(read_spec(attributes, context))
        except SpecError as error:
            # Any other exception would be hidden below a tree of components, as the cause of that.
            raise ComponentTreeException(str(error)) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return pipeline_definitions(self.spec)
