"""Readers of preference data formats; `SourceConfig` is the whole list."""

from typing import Annotated

from pydantic import Field

from pref_assets.pairs.readers.base import Records, Source
from pref_assets.pairs.readers.completions import CompletionsSource
from pref_assets.pairs.readers.hh_rlhf import HhRlhfSource
from pref_assets.pairs.readers.trl import TrlSource

SourceConfig = Annotated[TrlSource | HhRlhfSource | CompletionsSource, Field(discriminator="type")]

__all__ = ["CompletionsSource", "HhRlhfSource", "Records", "Source", "SourceConfig", "TrlSource"]
