"""Withdrawals and what they taint, as text."""

from collections.abc import Iterable, Iterator

from pref_assets.lineage.hits import Hits
from pref_assets.lineage.impact import Affected, Impact, Use

SHOWN = 6
"""Names that a line lists."""
_NAMES = {"subsets": "subset", "checkpoints": "checkpoint", "evaluations": "evaluation"}
_SAYS = {
    "clean": "clean now",
    "tainted": "tainted, must be rebuilt",
    "replaced": "tainted for good, no longer the current version",
    "unknown": "not known",
}


def render_impact(found: Impact) -> str:
    """A line for each subset, version of a checkpoint and evaluation that is tainted; the others are named."""
    lines = [f"Tainted in {found.pipeline} by {listed(found.selectors)}:"]
    for each in found.all:
        if each.state != "unaffected":
            lines += _lines(each)
    if len(lines) == 1:
        lines = [f"Nothing in {found.pipeline} is tainted by {listed(found.selectors)}."]
    if untouched := [_name(each) for each in found.all if each.state == "unaffected"]:
        lines.append(f"  unaffected: {listed(untouched)}")
    rebuild = [_name(each) for each in found.all if each.state == "tainted"]
    if rebuild:
        lines.append(f"  {len(rebuild)} must be rebuilt: pref-assets run {found.pipeline}")
    return "\n".join(lines)


def render_hits(hits: Hits) -> str:
    """What a withdrawal takes, in a sentence or two."""
    counts = {
        "votes": hits.votes,
        "ratings": hits.ratings,
        "completions": hits.completions,
        "prompts": hits.prompts,
    }
    gone = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no vote, text or rating"
    return (
        f"It hits {hits.rows:,} rows of {len(hits.batches)} batches ({listed(hits.batches) or 'none'}): {gone} go.\n"
        f"{hits.comparisons:,} comparisons hold any of it, {hits.pairs:,} of them pairs."
    )


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def _lines(each: Affected) -> Iterator[str]:
    yield f"  {_name(each)}: {_SAYS[each.state]}"
    if each.before is not None:
        yield f"    before  {_use(each.before)}"
    if each.now is not None and each.now != each.before:
        yield f"    now     {_use(each.now)}"


def _name(each: Affected) -> str:
    return f"{_NAMES[each.stage]} {each.name}" + (f"@{each.version}" if each.version else "")


def _use(use: Use) -> str:
    through = f"; through {listed(use.through)}" if use.through else ""
    unknown = f"; {use.unknown}" if use.unknown else ""
    counts = "" if use.pairs is None else f": {use.pairs:,} pairs used, {use.tainted:,} tainted"
    return f"{use.at}{counts}{through}{unknown}"
