"""The component: a pipeline file in, a graph of assets, checks, jobs and sensors out."""

import dagster as dg
from dagster.components.core.component_tree import ComponentTreeException
from pydantic import BaseModel

from pref_assets.pipeline.attributes import PipelineAttributes, ProvingAttributes, read_spec
from pref_assets.pipeline.graph import pipeline_definitions
from pref_assets.pipeline.proving import proving_definitions
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.spec_errors import SpecError
from pref_assets.proving.ground import ProvingSpec


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
            return cls(read_spec(PipelineSpec, attributes, context))
        except SpecError as error:
            # Any other exception would be hidden below a tree of components, as the cause of that.
            raise ComponentTreeException(str(error)) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return pipeline_definitions(self.spec)


class ProvingGround(dg.Component):
    """Which selectors work: each tried on worlds with planted truth, against random of the same size."""

    def __init__(self, spec: ProvingSpec) -> None:
        self.spec = spec

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        return dg.ComponentTypeSpec(owners=["team:curation"], produces=["asset", "asset_check", "job"])

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return ProvingAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "ProvingGround":
        assert attributes is None or isinstance(attributes, ProvingAttributes)
        try:
            return cls(read_spec(ProvingSpec, attributes, context))
        except SpecError as error:
            raise ComponentTreeException(str(error)) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return proving_definitions(self.spec)
