"""The pipeline file: one block a stage, each entry one asset, references by name."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from pref_assets.clustering import ClustererConfig
from pref_assets.evaluation import EvaluationConfig
from pref_assets.features import EmbedderConfig
from pref_assets.heads import RewardModelConfig
from pref_assets.pairs.curation import PairsBlock
from pref_assets.pairs.readers import SourceConfig
from pref_assets.pipeline.curricula import Curriculum
from pref_assets.pipeline.online import Online
from pref_assets.proving.real import Trials
from pref_assets.scoring import Measured, ScorerConfig
from pref_assets.selection import SelectorConfig
from pref_assets.settings import Settings
from pref_assets.synthesis.critiques import CritiqueConfig
from pref_assets.training import CheckpointConfig, PolicyCheckpoint
from pref_assets.training.online.sampling import OnlineSamples
from pref_assets.training.reference import ReferenceLogps

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)]
"""Small letters, digits and underscores: part of an asset key, a table path and a job name."""

ALL_CHECKPOINTS = "all"
BLOCKS = (
    "sources",
    "critiques",
    "embeddings",
    "clusters",
    "reward_models",
    "scores",
    "subsets",
    "reference_logps",
    "samples",
    "checkpoints",
    "curricula",
    "online",
    "evaluations",
    "trials",
)
"""The blocks that hold named entries, in the order in which data flows."""
SERIES = ("curricula", "online")
"""The blocks whose entries stand for entries of other blocks, and are no assets themselves."""
POOLED = ("critiques", "embeddings", "clusters", "reward_models", "scores", "reference_logps", "checkpoints")
"""The blocks whose entries a scorer, clusterer or selector may look at."""


class PipelineSpec(Settings):
    """A whole experiment, from sources to evaluations."""

    blocks: ClassVar[tuple[str, ...]] = BLOCKS
    given: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Names that entries may refer to without an entry of that name."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]
    """Name of the pipeline: the first part of every asset key."""
    description: str = ""
    """What the experiment asks, in a sentence."""
    sources: dict[Name, SourceConfig] = Field(min_length=1)
    """Where preference data comes from, and how to read it."""
    pairs: PairsBlock = PairsBlock()
    """How records become pairs: pairing rule, vote policy, splits, duplicates, audit, benches to keep out."""
    critiques: dict[Name, CritiqueConfig] = Field(default_factory=dict)
    """What is good and bad about answers, in words."""
    embeddings: dict[Name, EmbedderConfig] = Field(default_factory=dict)
    """Vectors of completions."""
    clusters: dict[Name, ClustererConfig] = Field(default_factory=dict)
    """Groups of similar completions."""
    reward_models: dict[Name, RewardModelConfig] = Field(default_factory=dict)
    """Heads fitted on the pairs themselves, to score them out of fold."""
    scores: dict[Name, ScorerConfig] = Field(default_factory=dict)
    """A number for every pair."""
    subsets: dict[Name, SelectorConfig] = Field(default_factory=dict)
    """Which pairs train."""
    reference_logps: dict[Name, ReferenceLogps] = Field(default_factory=dict)
    """Base models of policies, and the log-probabilities they give to completions."""
    samples: dict[Name, OnlineSamples] = Field(default_factory=dict)
    """Answers of policies and what they earn."""
    checkpoints: dict[Name, CheckpointConfig] = Field(default_factory=dict)
    """Models trained on a subset."""
    curricula: dict[Name, Curriculum] = Field(default_factory=dict)
    """Series of policies, each trained on one stage of a subset and going on from the one before."""
    online: dict[Name, Online] = Field(default_factory=dict)
    """Series of policies, each trained on rewarded answers of the one before."""
    evaluations: dict[Name, EvaluationConfig] = Field(default_factory=dict)
    """What training did."""
    trials: dict[Name, Trials] = Field(default_factory=dict)
    """Which selectors beat random pairs of the same number: a linear head on what each keeps, over several seeds."""

    def shows_images(self) -> bool:
        """Whether a source has images, so that what is made of images is there."""
        return any(source.shows_images() for source in self.sources.values())

    def entries(self) -> Iterator[tuple[str, str, Settings]]:
        """Every entry that is an asset as ``(block, name, settings)``, in the order in which data flows."""
        for block in BLOCKS:
            if block in SERIES:
                continue
            for name, settings in getattr(self, block).items():
                yield block, name, settings

    def reads(self, settings: Settings) -> dict[str, list[str]]:
        """What a scorer, clusterer or selector looks at: names of entries by stage, those a reward model reads too."""
        readers = [settings]
        if isinstance(settings, Trials):
            readers += settings.tried(self.subsets).values()
        named = [name for each in readers for name in self.needs(each, "reward_models")]
        readers += [self.reward_models[name] for name in named if name in self.reward_models]
        return {
            stage: list(dict.fromkeys(name for each in readers for name in self.needs(each, stage))) for stage in POOLED
        }

    def waits(self, settings: Settings) -> bool:
        """Whether an entry waits for a job, as training does: it is measured by a model or a server, or reads what
        is."""
        if isinstance(settings, Measured):
            return True
        read = self.reads(settings)
        stages = ("critiques", "embeddings", "clusters", "scores")
        inner = [getattr(self, stage)[name] for stage in stages for name in read[stage]]
        return bool(read["checkpoints"] or read["reference_logps"]) or any(self.waits(each) for each in inner)

    def needs(self, settings: Settings, stage: str) -> list[str]:
        """Names in ``stage`` that an entry reads, each once."""
        return list(dict.fromkeys(ref.name for ref in settings.references() if ref.stage == stage))

    def start_of(self, policy: PolicyCheckpoint) -> str | None:
        """The checkpoint that a policy's training goes on from: its own ``start``, or the one its reference is."""
        return policy.start or self.reference_logps[policy.base].checkpoint

    def referring(self, reference: str) -> list[PolicyCheckpoint]:
        """Policies whose pairs a `reference_logps` entry measures; those that learn from samples bring their own."""
        policies = [each for each in self.checkpoints.values() if isinstance(each, PolicyCheckpoint)]
        policies = [each for each in policies if each.base == reference]
        return [each for each in policies if not (each.objective.reference_free or each.samples)]

    def stages_read(self, reference: str) -> list[tuple[str, int | None]]:
        """The subsets, and their stages, that a `reference_logps` entry reads its pairs from, each once.

        Where scores read the entry it measures every pair, and reads only the subsets of objectives that make further
        sequences: those of every subset would close a circle.
        """
        scored = self.scored(reference)
        wanted = [each for each in self.referring(reference) if not scored or each.objective.referred_parts]
        return list(dict.fromkeys((each.subset, each.stage) for each in wanted))

    def scored(self, reference: str) -> bool:
        """Whether scores read a `reference_logps` entry, so that it measures every pair."""
        return any(reference in self.needs(each, "reference_logps") for each in self.scores.values())

    def stages_of(self, checkpoint: str) -> list[int]:
        """The stages of its subset that must have pairs before a checkpoint of one stage trains: all of its curriculum,
        or its own."""
        for series, curriculum in self.curricula.items():
            if checkpoint in curriculum.made(series, self.reference_logps)["checkpoints"]:
                return list(range(1, curriculum.stages + 1))
        stage = getattr(self.checkpoints[checkpoint], "stage", None)
        return [] if stage is None else [stage]

    def earlier(self, settings: CheckpointConfig) -> list[str]:
        """The checkpoints that a checkpoint is made from, each once."""
        named = self.needs(settings, "checkpoints")
        if isinstance(settings, PolicyCheckpoint):
            named += [
                name for name in (self.start_of(settings), self.reference_logps[settings.base].checkpoint) if name
            ]
        return list(dict.fromkeys(named))

    def checkpoints_of(self, evaluation: EvaluationConfig) -> list[str]:
        """The checkpoints an evaluation measures; ``all`` is every checkpoint of its kind."""
        named = evaluation.names()
        if named is not None:
            return list(dict.fromkeys(named))
        return [name for name, each in self.checkpoints.items() if each.type == evaluation.checkpoint_kind]

    @model_validator(mode="after")
    def _series_become_entries(self) -> Self:
        for kind in SERIES:
            for series, settings in getattr(self, kind).items():
                for block, entries in settings.made(series, self.reference_logps).items():
                    known = getattr(self, block)
                    for name, entry in entries.items():
                        if known.setdefault(name, entry) != entry:
                            raise ValueError(f"{kind}.{series}: it makes an entry {block}.{name}, which is taken")
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if ALL_CHECKPOINTS in self.checkpoints:
            raise ValueError("checkpoints.all: `all` means every checkpoint; name this one differently")
        for name in self.clusters:
            if name.removesuffix("_centroids") in self.clusters and name.endswith("_centroids"):
                raise ValueError(f"clusters.{name}: this name is taken by the centroids table of another entry")
        for name in self.trials:
            if name.removesuffix("_proven") in self.trials and name.endswith("_proven"):
                raise ValueError(f"trials.{name}: this name is taken by the verdict on another entry")
        return self
