"""Readers of preference data formats; `SourceConfig` is the whole list."""

from typing import Annotated

from pydantic import Field

from pref_assets.pairs.readers.arena import ArenaSource
from pref_assets.pairs.readers.base import Records, Source
from pref_assets.pairs.readers.columns import ColumnsSource
from pref_assets.pairs.readers.completions import CompletionsSource
from pref_assets.pairs.readers.helpsteer2 import HelpSteer2Source
from pref_assets.pairs.readers.helpsteer3 import HelpSteer3Source
from pref_assets.pairs.readers.hh_rlhf import HhRlhfSource
from pref_assets.pairs.readers.icai import IcaiSource
from pref_assets.pairs.readers.image_contrast import ImageContrastSource
from pref_assets.pairs.readers.llama_factory import LlamaFactoryAlpacaSource
from pref_assets.pairs.readers.llama_factory_sharegpt import LlamaFactorySharegptSource
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.readers.multi_image import MultiImageSource
from pref_assets.pairs.readers.multipref import MultiPrefSource
from pref_assets.pairs.readers.openrlhf import OpenRlhfSource
from pref_assets.pairs.readers.ranked import NemoRlSource, RankedSource
from pref_assets.pairs.readers.reward_bench import RewardBench2Source, RewardBenchSource
from pref_assets.pairs.readers.rlaif_v import RlaifVSource
from pref_assets.pairs.readers.shp import ShpSource
from pref_assets.pairs.readers.skywork import SkyworkSource
from pref_assets.pairs.readers.trl import TrlSource
from pref_assets.pairs.readers.ultrafeedback import UltraFeedbackSource
from pref_assets.pairs.readers.ultrafeedback_binarized import UltraFeedbackBinarizedSource
from pref_assets.pairs.readers.unpaired import UnpairedSource

SourceConfig = Annotated[
    TrlSource
    | UnpairedSource
    | LlamaFactoryAlpacaSource
    | LlamaFactorySharegptSource
    | OpenRlhfSource
    | HhRlhfSource
    | SkyworkSource
    | UltraFeedbackBinarizedSource
    | RewardBenchSource
    | RewardBench2Source
    | UltraFeedbackSource
    | HelpSteer2Source
    | HelpSteer3Source
    | ShpSource
    | MultiPrefSource
    | RankedSource
    | NemoRlSource
    | MmRlhfSource
    | RlaifVSource
    | MultiImageSource
    | ImageContrastSource
    | IcaiSource
    | ArenaSource
    | CompletionsSource
    | ColumnsSource,
    Field(discriminator="type"),
]
"""Data sets' own formats first, then those for data of one's own."""
for _around in (MultiImageSource, ImageContrastSource):  # they read what another source reads
    _around.model_rebuild(_types_namespace={"SourceConfig": SourceConfig})

__all__ = ["CompletionsSource", "HhRlhfSource", "Records", "Source", "SourceConfig", "TrlSource"]
