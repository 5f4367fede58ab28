"""From a valid spec to everything Dagster runs."""

import dagster as dg

from pref_assets.pipeline.assets import (
    checkpoints,
    clusters,
    critiques,
    curation,
    data_reports,
    evaluations,
    features,
    galleries,
    maps,
    pairs,
    raw,
    reports,
    samples,
    scores,
    subsets,
    trials,
)
from pref_assets.pipeline.checks import data_checks
from pref_assets.pipeline.jobs import jobs
from pref_assets.pipeline.sensors import sensors
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.training_checks import training_checks
from pref_assets.pipeline.withdrawn import withdrawals_spec

STAGES = (
    raw,
    pairs,
    curation,
    data_reports,
    critiques,
    features,
    clusters,
    scores,
    subsets,
    maps,
    galleries,
    samples,
    checkpoints,
    evaluations,
    reports,
    trials,
)


def pipeline_definitions(spec: PipelineSpec) -> dg.Definitions:
    """Assets, checks, jobs and sensors of one pipeline; resources come from the code location."""
    return dg.Definitions(
        assets=[withdrawals_spec(spec.name), *(asset for stage in STAGES for asset in stage.build(spec))],
        asset_checks=[*data_checks(spec), *training_checks(spec)],
        jobs=jobs(spec),
        sensors=sensors(spec),
    )
