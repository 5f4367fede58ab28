"""Reward heads on cached embeddings."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pref_assets.heads.base import Arrays, CrossFit, Fitted, Head, Predictions
from pref_assets.heads.bt import Bt
from pref_assets.heads.classification import ClassifierMlp, ClassifierTrees
from pref_assets.heads.collaborative import Collaborative
from pref_assets.heads.context import Context
from pref_assets.heads.contrastive import ContrastiveBt
from pref_assets.heads.crossfit import CONFIG_FILE, CrossFitted
from pref_assets.heads.feature_bt import FeatureBt
from pref_assets.heads.gaussian import GaussianMulti
from pref_assets.heads.gpm import Gpm
from pref_assets.heads.meta import MetaBt
from pref_assets.heads.orchestrated import Orchestrated
from pref_assets.heads.pal import Pal
from pref_assets.heads.quantile import Quantile
from pref_assets.heads.regression import RegressionMulti
from pref_assets.heads.regret import Regret
from pref_assets.heads.scaled_bt import ScaledBt
from pref_assets.heads.token_rm import TokenRm
from pref_assets.scoring.bradley_terry import BradleyTerry, Ensemble

RewardModelConfig = Annotated[
    BradleyTerry
    | Bt
    | ClassifierMlp
    | ClassifierTrees
    | GaussianMulti
    | Gpm
    | Pal
    | Quantile
    | RegressionMulti
    | ScaledBt
    | Orchestrated
    | FeatureBt
    | Context
    | Regret
    | Collaborative
    | ContrastiveBt
    | MetaBt
    | TokenRm,
    Field(discriminator="type"),
]


def load_reward_model(folder: Path) -> Ensemble | CrossFitted:
    """The reward model that was saved into a folder, whatever its type.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    file = folder / CONFIG_FILE
    if not file.exists():
        return Ensemble.load(folder)
    config: Any = TypeAdapter(RewardModelConfig).validate_python(json.loads(file.read_text())["config"])
    return CrossFitted.load(folder, config)


__all__ = [
    "Arrays",
    "BradleyTerry",
    "Bt",
    "ClassifierMlp",
    "ClassifierTrees",
    "Collaborative",
    "Context",
    "ContrastiveBt",
    "CrossFit",
    "CrossFitted",
    "FeatureBt",
    "Fitted",
    "GaussianMulti",
    "Gpm",
    "Head",
    "MetaBt",
    "Orchestrated",
    "Pal",
    "Predictions",
    "Quantile",
    "RegressionMulti",
    "Regret",
    "RewardModelConfig",
    "ScaledBt",
    "TokenRm",
    "load_reward_model",
]
