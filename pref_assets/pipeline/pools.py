"""The pool that scorers, clusterers and selectors look at, from the tables that their asset reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from pref_assets.features import Store
from pref_assets.features.embeddings import load_vectors
from pref_assets.heads import load_reward_model
from pref_assets.home import Home
from pref_assets.pipeline.assets.common import named_inputs, pairs_inputs, taken
from pref_assets.pipeline.spec import POOLED, PipelineSpec
from pref_assets.pool import Pool
from pref_assets.settings import Settings

_TABLES = ("pairs", "prompts", "completions")


def pool_inputs(spec: PipelineSpec, settings: Settings) -> dict[str, dg.AssetIn]:
    """Inputs of an asset whose entry looks at a pool: the pairs, their texts, and what the entry refers to."""
    ins = pairs_inputs(spec.name, *_TABLES)
    for stage, names in spec.reads(settings).items():
        ins |= named_inputs(spec.name, stage, names)
    return ins


def read_of(spec: PipelineSpec, settings: Settings) -> str:
    """The same in words, for the asset's description."""
    named = [f"{stage} `{each}`" for stage, names in spec.reads(settings).items() for each in names]
    return ", ".join(["`pairs` and their texts", *named])


def pool_of(home: Home, inputs: Mapping[str, Any]) -> Pool:
    """The pool in the inputs that ``pool_inputs`` made."""
    store = Store(home.store)
    named = {stage: taken(inputs, stage) for stage in POOLED}
    return Pool(
        **{name: inputs[name] for name in _TABLES},
        scores=named["scores"],
        embeddings={name: load_vectors(store, frame) for name, frame in named["embeddings"].items()},
        clusters=named["clusters"],
        reward_models={name: load_reward_model(Path(folder.path)) for name, folder in named["reward_models"].items()},
        reference_logps=named["reference_logps"],
        store=store,
        critiques=named["critiques"],
        checkpoints={name: folder.path for name, folder in named["checkpoints"].items()},
    )
