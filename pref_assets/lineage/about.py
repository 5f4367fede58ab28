"""What a pipeline file says of its data: where it comes from, how it becomes pairs, what is checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pref_assets.home import Home
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.pairs.curation import PairsBlock
from pref_assets.pairs.readers.base import Source
from pref_assets.settings import Settings

_COMMON = ("type", "location", "licence", "homepage")


class SourceAbout(Settings):
    """A source."""

    type: str
    """Its format."""
    location: str
    licence: str | None
    homepage: str | None
    settings: dict[str, Any]
    """What the file sets beside these."""
    beside: tuple[tuple[str, str], ...] = ()
    """Uri and SHA-256 of files read beside the rows."""


class RuleAbout(Settings):
    """An audit rule."""

    code: str
    severity: str
    action: str
    """What becomes of a pair with its flag."""
    what: str
    """What it finds, in a sentence."""


class About(Settings):
    """A pipeline's data, as the file describes it."""

    pipeline: str
    description: str
    sources: dict[str, SourceAbout]
    pairs: dict[str, Any]
    """The ``pairs`` block, without the audit: pairing, votes, splits, duplicates, decontamination."""
    votes: str
    """Which votes count, in words."""
    rules: tuple[RuleAbout, ...]
    """The audit, in the order in which rules give reasons."""


def describe(pipeline: str, description: str, sources: Mapping[str, Source], pairs: PairsBlock) -> About:
    """What these settings say."""
    rules = [
        RuleAbout(code=rule.type, severity=rule.severity, action=pairs.audit.action(rule.type), what=_first(rule))
        for rule in pairs.audit.all_rules()
    ]
    return About(
        pipeline=pipeline,
        description=description,
        sources={name: _source(source) for name, source in sources.items()},
        pairs=pairs.model_dump(mode="json", exclude={"audit"}),
        votes=pairs.votes.says(),
        rules=tuple(rules),
    )


def about_file(home: Home, pipeline: str) -> Path:
    """Where the last data card keeps what the pipeline file said."""
    return card_folder(home, pipeline) / "about.json"


def card_folder(home: Home, pipeline: str) -> Path:
    return home.root / "reports" / pipeline / "data_card"


def written(about: About) -> str:
    """The same as JSON, for ``about_file``."""
    return json.dumps(about.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read_about(home: Home, pipeline: str) -> About:
    """What the pipeline file said when its data card was made last.

    Raises:
        UnknownQueryError: there is no data card of the pipeline in this home.
    """
    file = about_file(home, pipeline)
    if not file.exists():
        raise UnknownQueryError(
            f"{pipeline} has no data card in {home.root}; run it first: `pref-assets run {pipeline}`, or only "
            f"`pref-assets run {pipeline} --select 'key:{pipeline}/reports/data_card or key:{pipeline}/reports/bias'`"
        )
    return About.model_validate_json(file.read_text())


def _source(source: Source) -> SourceAbout:
    given = source.model_dump(mode="json", exclude_defaults=True)
    return SourceAbout(
        type=source.model_dump()["type"],
        location=source.location,
        licence=source.licence,
        homepage=source.homepage,
        settings={name: value for name, value in given.items() if name not in _COMMON},
        beside=tuple(source.beside()),
    )


def _first(method: Settings) -> str:
    """The first paragraph of its documentation."""
    return " ".join((type(method).__doc__ or "").strip().split("\n\n")[0].split())
