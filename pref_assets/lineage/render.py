"""A trace as text that a newcomer can read."""

import textwrap
from collections.abc import Iterator
from typing import Any

from pref_assets.lineage.model import (
    Decision,
    Judgement,
    Membership,
    PairTrace,
    Picture,
    RowTrace,
    Side,
    Trace,
)

WIDTH = 100
PAIRS = 8
"""Pairs written out; the rest are counted (and are in the structured trace)."""
VOTES = 6
IMAGES = 4
"""Images of a pair that are written out."""
SAID = 3
"""Critiques of one answer by one reward model that are written out."""


def render(trace: Trace) -> str:
    """The trace from the source file down to the checkpoints, long texts shortened."""
    lines = [f"{trace.query!r} is a {trace.found} of pipeline {trace.pipeline}", ""]
    for row in trace.rows:
        lines += [*_row(row), ""]
    if not trace.pairs:
        refused = any(row.code for row in trace.rows)
        unvoted = "It is in no pair: nothing voted on it, or the pairs were not merged again since it was read."
        lines.append("No pair came of it." if refused else unvoted)
    for pair in trace.pairs[:PAIRS]:
        lines += [*_pair(pair), ""]
    if len(trace.pairs) > PAIRS:
        lines.append(f"... and {len(trace.pairs) - PAIRS} more pairs; ask for one by its id:")
        lines += [f"  {pair.pair_id}" for pair in trace.pairs[PAIRS:]]
    return "\n".join(lines).rstrip() + "\n"


def _row(row: RowTrace) -> Iterator[str]:
    yield f"read from {row.origin.pointer}  (source {row.origin.source}, batch {row.origin.batch})"
    if row.completions:
        yield f"  {'read in part' if row.code else 'read'}: {row.completions} completions"
    if row.code is not None:
        yield f"  quarantined: {row.code}"
        yield f"    {row.reason}"
        yield f"    as read: {shorten(row.payload)}"


def _pair(pair: PairTrace) -> Iterator[str]:
    yield f"pair {pair.pair_id}"
    yield f"  prompt    {shorten(pair.prompt)}"
    for image in pair.images[:IMAGES]:
        yield f"  image     {_picture(image)}"
    if len(pair.images) > IMAGES:
        yield f"            and {len(pair.images) - IMAGES} more images"
    yield from _side("chosen", pair.chosen)
    yield from _side("rejected", pair.rejected)
    yield f"  from      {', '.join(origin.pointer for origin in pair.origins)}"
    if pair.votes:
        yield f"  votes     {_votes(pair.votes)}"
        yield from (f"    because {shorten(reason)}" for reason in _reasons(pair.votes))
    for flag in pair.flags:
        yield f"  flag      {flag}"
    if pair.code is not None:
        yield f"  dropped   {pair.code}: {pair.reason}"
        return
    agreed = "" if pair.p_chosen is None else f" (votes for the chosen side: {pair.p_chosen:.0%})"
    yield f"  split     {pair.split}{agreed}"
    if pair.copies:
        yield f"  copies    dropped for it: {', '.join(pair.copies[:VOTES])}" + (
            " …" if len(pair.copies) > VOTES else ""
        )
    for membership in pair.clusters:
        yield f"  cluster   {_membership(membership)}"
    for name, score in pair.scores.items():
        yield f"  score     {name}: {_score(score)}"
    for decision in pair.decisions:
        yield f"  subset    {_decision(decision)}"
    for use in pair.checkpoints:
        measured = f"; measured by {', '.join(use.evaluations)}" if use.evaluations else ""
        yield f"  trained   {use.checkpoint}@{use.version} ({use.kind}, subset {use.subset}, {use.created}){measured}"
        if use.values:
            yield f"            as {', '.join(f'{name} {value:.4g}' for name, value in use.values.items())}"
    if not pair.checkpoints:
        yield "  trained   no checkpoint" + (": held out" if pair.split not in (None, "train") else "")


def _side(name: str, side: Side) -> Iterator[str]:
    by = f"  [{side.model}]" if side.model else ""
    yield f"  {name:<9} {shorten(side.text)}{by}"
    if side.ratings:
        said = ", ".join(f"{each['dimension']}{_judged(each)} ({each['annotator']})" for each in side.ratings)
        yield from textwrap.wrap(f"rated {said}", WIDTH, initial_indent=" " * 14, subsequent_indent=" " * 16)
        numbered = [each for each in side.ratings if each["value"] is not None]
        yield from (f"{' ' * 14}because {shorten(reason)}" for reason in _reasons(numbered))
    for critique in side.critiques:
        text = f": {shorten(critique.text)}" if critique.text else ""
        yield f"{' ' * 14}critique {critique.critiques} ({critique.writer}, {critique.category}){text}"
    for judgement in side.judgements:
        yield from (f"{' ' * 14}{line}" for line in _judgement(judgement))
    for membership in side.clusters:
        yield f"{' ' * 14}cluster {_membership(membership)}"


def _picture(image: Picture) -> str:
    if image.problem is not None:
        return f"{image.uri}: {shorten(image.problem)}"
    return f"{image.path}  ({image.width} x {image.height}, {image.size:,} bytes)"


def _judgement(judgement: Judgement) -> Iterator[str]:
    cut = ", truncated" if judgement.truncated else ""
    yield f"reward {judgement.scores} {judgement.reward:+.3f}{cut}"
    for text, reward in list(zip(judgement.critiques, judgement.rewards, strict=False))[:SAID]:
        yield f"  after {reward:+.3f}: {shorten(text)}" if len(judgement.critiques) > 1 else f"  after {shorten(text)}"
    if len(judgement.critiques) > SAID:
        yield f"  and {len(judgement.critiques) - SAID} more critiques"


def _reasons(said: list[dict[str, Any]]) -> list[str]:
    """Different rationales of votes or ratings, as many as votes are shown."""
    given = dict.fromkeys(each["rationale"].strip() for each in said if each["rationale"])
    return [reason for reason in given if reason][:VOTES]


def _judged(rating: dict[str, Any]) -> str:
    """The number, or the comment where there is none."""
    return f": {shorten(rating['rationale'])!r}" if rating["value"] is None else f"={rating['value']:g}"


def _votes(votes: list[dict[str, Any]]) -> str:
    shown = [f"{vote['annotator']} on {vote['dimension']}: {vote['choice']}" for vote in votes[:VOTES]]
    more = [f"{len(votes) - VOTES} more"] if len(votes) > VOTES else []
    return "; ".join(shown + more)


def _membership(membership: Membership) -> str:
    label = f" ({membership.label})" if membership.label else ""
    return f"{membership.clusters} {membership.cluster}{label}, {membership.distance:.3f} from the centre"


def _score(score: dict[str, Any]) -> str:
    parts = [f"{score['score']:+.3f}"]
    if score["spread"] is not None:
        parts.append(f"spread {score['spread']:.3f}")
    if score["p_correct"] is not None:
        parts.append(f"label right with probability {score['p_correct']:.2f}")
    if score["category"] is not None:
        parts.append(score["category"])
    return ", ".join(parts)


def _decision(decision: Decision) -> str:
    rank = f", rank {decision.rank}" if decision.rank is not None else ""
    weight = f", weight {decision.weight:g}" if decision.selected and decision.weight != 1 else ""
    label = _label(decision) if decision.selected else ""
    return f"{decision.subset}: {'kept' if decision.selected else 'not kept'} ({decision.reason}{rank}{weight}{label})"


def _label(decision: Decision) -> str:
    margin = "" if decision.margin is None else f", margin {decision.margin:g}"
    if decision.p_chosen is None:
        return margin
    if decision.p_chosen < 0.5:
        return f", trains the other way round, label {1 - decision.p_chosen:g}{margin}"
    return f", label {decision.p_chosen:g}{margin}"


def shorten(text: str, width: int = WIDTH - 20) -> str:
    """One line of at most ``width`` characters, whitespace collapsed."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
