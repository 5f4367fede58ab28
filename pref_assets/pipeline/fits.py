"""Entries of a pipeline file that are right by themselves and do not go together."""

from collections.abc import Iterator

from pref_assets.pipeline.spec import SERIES, PipelineSpec
from pref_assets.scoring import CritiqueReward
from pref_assets.training import CritiqueRewardCheckpoint, PolicyCheckpoint
from pref_assets.training.data import MIN_PROMPT_TOKENS
from pref_assets.training.objectives import SELM, PolicyGradient
from pref_assets.training.online.sampling import OnlineSamples

Place = tuple[str | int, ...]
Misfit = tuple[Place, str]
"""Place in the file, and what is wrong there."""


def misfits(spec: PipelineSpec) -> list[Misfit]:
    """What an entry asks of those that it names and they do not give, found before anything runs. All names are known
    and of the right type."""
    found: list[Misfit] = []
    for name, each in spec.checkpoints.items():
        if isinstance(each, PolicyCheckpoint):
            problems = (*_samples(each), *_reference(spec, each), *_start(spec, each))
            found += [_at(spec, ("checkpoints", name), field, message) for field, message in problems]
        if isinstance(each, CritiqueRewardCheckpoint):
            found += [_at(spec, ("checkpoints", name), field, message) for field, message in _begins(spec, each)]
    for name, scorer in spec.scores.items():
        if isinstance(scorer, CritiqueReward):
            found += [_at(spec, ("scores", name), field, message) for field, message in _criticises(spec, scorer)]
    for name, drawn in spec.samples.items():
        found += [_at(spec, ("samples", name), field, message) for field, message in _answers(spec, drawn)]
    return list(dict.fromkeys(found))


def written_at(spec: PipelineSpec, block: str, name: str) -> Place:
    """Where the file says what an entry is: the entry of a series for those that it makes."""
    for kind in SERIES:
        for series, settings in getattr(spec, kind).items():
            if name in settings.made(series, spec.reference_logps).get(block, {}):
                return kind, series
    return block, name


def _at(spec: PipelineSpec, entry: tuple[str, str], field: str, message: str) -> Misfit:
    place = written_at(spec, *entry)
    if place != entry:
        return place, f"{'.'.join(entry)}.{field}: {message}"
    return (*place, field), message


def _samples(policy: PolicyCheckpoint) -> Iterator[tuple[str, str]]:
    if (policy.samples is None) != (policy.update is None):
        yield "samples", "`samples` and `update` belong together; say both or neither"
    elif isinstance(policy.objective, PolicyGradient) and policy.samples is None:
        yield "objective", "objective `policy_gradient` learns from rewarded samples; use `online`"
    elif _lacks_answers(policy):
        yield (
            "objective",
            "objective `selm` needs an answer of the reference to each prompt, which only rows of `online` bring; set "
            "its `samples` to draw them",
        )


def _lacks_answers(policy: PolicyCheckpoint) -> bool:
    objective = policy.objective
    return isinstance(objective, SELM) and objective.alpha > 0 and not (objective.samples or policy.samples)


def _reference(spec: PipelineSpec, policy: PolicyCheckpoint) -> Iterator[tuple[str, str]]:
    reference, objective = spec.reference_logps[policy.base], policy.objective
    if objective.reference_tokens and not (objective.reference_free or reference.tokens):
        or_else = ", or `kl: 0` in its update" if policy.samples else ""
        yield (
            "objective",
            f"objective `{objective.type}` needs the reference's log-probability of each token; set `tokens: true` in "
            f"reference_logps.{policy.base}{or_else}",
        )
    if objective.live is not None and reference.checkpoint is not None:
        yield (
            "base",
            f"objective `{objective.type}`: the reference of answers drawn while training is the base model, and "
            f"reference_logps.{policy.base} is checkpoint {reference.checkpoint!r}; use a reference without one",
        )


def _start(spec: PipelineSpec, policy: PolicyCheckpoint) -> Iterator[tuple[str, str]]:
    """What must be one and the same in a stage and the one that it goes on from, or is held close to."""
    reference, first = spec.reference_logps[policy.base], spec.start_of(policy)
    for earlier in spec.earlier(policy):
        before = spec.checkpoints[earlier]
        if earlier not in (first, reference.checkpoint) or not isinstance(before, PolicyCheckpoint):
            continue
        model = spec.reference_logps[before.base].model
        if model != reference.model:
            yield (
                "start" if policy.start == earlier else "base",
                f"checkpoint {earlier!r} was trained on the model {model}, and the model of "
                f"reference_logps.{policy.base} is {reference.model}; use one model",
            )
    if first is None:
        return
    before = spec.checkpoints[first]
    assert isinstance(before, PolicyCheckpoint)
    had, wants = (each.lora and each.lora.model_dump(exclude={"dropout"}) for each in (before, policy))
    if had != wants:
        yield (
            "lora",
            f"checkpoint {first!r}, where training starts, has lora {had}, and this entry {wants}; a stage goes on "
            "training the same weights",
        )


def _begins(spec: PipelineSpec, settings: CritiqueRewardCheckpoint) -> Iterator[tuple[str, str]]:
    """A reward model goes on with weights of its own model."""
    policy = spec.checkpoints.get(settings.start or "")
    if isinstance(policy, PolicyCheckpoint) and (model := spec.reference_logps[policy.base].model) != settings.model:
        yield (
            "start",
            f"checkpoint {settings.start!r} was trained on the model {model}, and this entry's is {settings.model}; "
            "use one model",
        )


def _criticises(spec: PipelineSpec, scorer: CritiqueReward) -> Iterator[tuple[str, str]]:
    """The reward is read where the checkpoint learned to put it."""
    checkpoint = spec.checkpoints[scorer.checkpoint]
    assert isinstance(checkpoint, CritiqueRewardCheckpoint)
    if (checkpoint.critiques is None) != (scorer.mode == "none"):
        has, use = ("no critiques", "`mode: none`") if checkpoint.critiques is None else ("critiques", "another mode")
        yield (
            "mode",
            f"checkpoint {scorer.checkpoint!r} was trained with {has}, and its reward is read elsewhere than `mode: "
            f"{scorer.mode}` reads it; use {use}",
        )


def _answers(spec: PipelineSpec, samples: OnlineSamples) -> Iterator[tuple[str, str]]:
    longest, room = samples.sampling.max_new_tokens, spec.reference_logps[samples.base].max_length
    if longest + MIN_PROMPT_TOKENS >= room:
        yield (
            "sampling",
            f"answers of {longest} tokens leave no room for a prompt in the {room} tokens of "
            f"reference_logps.{samples.base}; lower sampling.max_new_tokens or raise max_length",
        )
