"""Critiques: what is good and bad about each answer, in words. Reward models learn to write them before they score."""

from typing import Annotated

from pydantic import Field

from pref_assets.synthesis.critiques.expanded import ExpandedCritiques
from pref_assets.synthesis.critiques.human import HumanCritiques
from pref_assets.synthesis.critiques.template import TemplateCritiques

CritiqueConfig = Annotated[HumanCritiques | TemplateCritiques | ExpandedCritiques, Field(discriminator="type")]
"""Every kind of critique, by ``type``."""
