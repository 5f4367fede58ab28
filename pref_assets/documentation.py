"""Writes ``docs/methods.md`` and ``docs/formats.md`` from the code: every method of every stage with its source,
settings and what trials said of it, and every format with an example, what is kept of it and whether there is a way
back; and ``docs/proving_ground.md``, the results of trials, from ``docs/measured``.

Run ``python -m pref_assets.documentation docs``; a test fails when a page is out of date.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pref_assets.evidence import HEADER, evidence, trials_page
from pref_assets.pairs.readers import Source, SourceConfig
from pref_assets.pipeline.spec import BLOCKS, PipelineSpec
from pref_assets.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
"""Where results of trials lie beside the pages."""
METHODS = """# Methods

Generated from the code by `python -m pref_assets.documentation docs`. One section a block of the pipeline file, one
entry a `type`; the settings are what YAML may say, with their defaults.
"""
FORMATS = """# Formats

Generated from the code by `python -m pref_assets.documentation docs`. A source of the pipeline file names one of these
formats as its `type`; every row of it becomes prompts, answers with ratings, and votes, or goes to quarantine with its
file, row and reason. A format with a way back can write what it reads: reading the written row again gives the same
conversations, ratings and votes, which is tested on the examples below and on random rows. A record that a format
cannot hold is an error that says why, never a row with less in it.
"""
SHARED = """
## Settings of every format

| setting | default | what it is |
| --- | --- | --- |"""
_TABLE = "| setting | default | what it is |\n| --- | --- | --- |"
_BLOCKS_ELSEWHERE = {"sources": "The formats and their settings: [formats.md](formats.md)."}


def methods_page() -> str:
    """The whole page of methods, Markdown."""
    measured = evidence(DOCS)
    parts = [METHODS, *_section("pairs", [type(PipelineSpec.model_fields["pairs"].default)], measured)]
    for block in BLOCKS:
        classes = [] if block in _BLOCKS_ELSEWHERE else list(_classes(PipelineSpec.model_fields[block].annotation))
        parts += _section(block, classes, measured)
    return "\n".join(parts).rstrip() + "\n"


def formats_page() -> str:
    """The whole page of formats, Markdown."""
    formats: list[type[Source]] = [each for each in _classes(SourceConfig) if issubclass(each, Source)]
    parts = [FORMATS, "| format | what is kept | way back |\n| --- | --- | --- |"]
    for each in formats:
        name = _name(each)
        parts.append(f"| [`{name}`](#{name}) | {_cell(each.keeps)} | {'yes' if _has_way_back(each) else 'no'} |")
    parts += [SHARED, *_rows(Source, ()), *_inner(Source, {Source})]
    for each in formats:
        parts += _format(each)
    return "\n".join(parts).rstrip() + "\n"


def _format(each: type[Source]) -> Iterator[str]:
    yield f"\n## `{_name(each)}`\n\n{inspect.getdoc(each) or ''}"
    settings = {"type": _name(each), "location": "file.jsonl", **each.example_settings}
    source = each.model_validate(settings)
    if each.example_settings:
        yield f"\nRead with `{json.dumps(each.example_settings)}`:"
    for row in each.example:
        yield f"\n```json\n{_shown_row(row)}\n```\n\n{_read_as(source, row)}"
    yield f"\n**Kept.** {each.keeps}\n\n**Way back.** {'Yes.' if _has_way_back(each) else 'No.'}"
    own = list(_rows(each, Source.model_fields))
    if own:
        yield "\n" + _TABLE
        yield from own
    yield from _inner(each, {*_reachable(Source), each})


def _shown_row(row: dict[str, Any]) -> str:
    """A row as JSON, one field a line."""
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in row.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _read_as(source: Source, row: dict[str, Any]) -> str:
    records = source.records(row, source.location)
    answers = [answer for record in records for answer in record.answers]
    counts = {
        "prompt": len(records),
        "image": sum(len(record.images) for record in records),
        "answer": len(answers),
        "rating": sum(len(answer.ratings) for answer in answers),
        "vote": sum(len(record.votes) for record in records),
    }
    said = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count]
    return f"Read as {', '.join(said)}."


def _has_way_back(each: type[Source]) -> bool:
    return each.row is not Source.row


def _section(block: str, classes: list[type[Settings]], measured: Mapping[tuple[str, str], list[str]]) -> Iterator[str]:
    yield f"\n## {block}\n\n{PipelineSpec.descriptions()[block]}"
    if block in _BLOCKS_ELSEWHERE:
        yield f"\n{_BLOCKS_ELSEWHERE[block]}"
    for each in classes:
        yield f"\n### `{_name(each)}`\n\n{inspect.getdoc(each) or ''}\n\n{_TABLE}"
        yield from _rows(each, ())
        yield from _tests(each)
        yield from _inner(each, {each, *classes})
        if (block, _name(each)) in measured:
            yield f"\n**On trial** (see [proving_ground.md](proving_ground.md)):\n\n{HEADER}"
            yield from measured[(block, _name(each))]


def _inner(each: type[Settings], known: set[type[Settings]]) -> Iterator[str]:
    """Tables of the settings inside settings, each once."""
    for inner in _reachable(each, set(known)):
        if inner not in known:
            known.add(inner)
            yield f"\n#### `{_name(inner)}`\n\n{inspect.getdoc(inner) or ''}\n\n{_TABLE}"
            yield from _rows(inner, ())
            yield from _tests(inner)


def _tests(each: type[Settings]) -> Iterator[str]:
    """What the tests of a method's own file say, where it has one: each test's name is a claim."""
    _, *folders, module = each.__module__.split(".")
    file = Path("pref_assets_tests", *folders, f"test_{module}.py")
    if not (DOCS.parent / file).exists():
        return
    tree = ast.parse((DOCS.parent / file).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    claims = "; ".join(name.removeprefix("test_").replace("_", " ") for name in names)
    yield f"\n**Tested** in `{file}`: {claims}."


def _reachable(each: type[Settings], known: Iterable[type[Settings]] = ()) -> list[type[Settings]]:
    """Settings classes inside the fields of one, in order, with those inside them, but for the known ones."""
    found: dict[type[Settings], None] = {}

    def visit(settings: type[Settings]) -> None:
        for info in settings.model_fields.values():
            for inner in _classes(info.annotation):
                if inner not in found and inner not in known:
                    found[inner] = None
                    visit(inner)

    visit(each)
    return list(found)


def _rows(each: type[Settings], left_out: Iterable[str]) -> Iterator[str]:
    told = each.descriptions()
    for field, info in each.model_fields.items():
        if field == "type" or field in left_out:
            continue
        default = "required" if info.is_required() else f"`{_shown(info.get_default(call_default_factory=True))}`"
        yield f"| `{field}` | {_cell(default)} | {_cell(told[field])} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _name(each: type[Settings]) -> str:
    field = each.model_fields.get("type")
    return each.__name__ if field is None or field.default is None else str(field.default)


def _shown(value: Any) -> Any:
    """A default on one line of a table, settings inside others by name alone."""
    if isinstance(value, Settings):
        return _name(type(value))
    if isinstance(value, (tuple, list)) and value and all(isinstance(item, Settings) for item in value):
        return ", ".join(_name(type(item)) for item in value)
    return value


def _classes(annotation: Any) -> Iterator[type[Settings]]:
    """Settings classes inside ``dict[Name, Annotated[A | B, ...]]``, in the order of the union."""
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _classes(argument)


if __name__ == "__main__":
    pages = {"methods.md": methods_page(), "formats.md": formats_page(), "proving_ground.md": trials_page(DOCS)}
    for name, page in pages.items():
        (Path(sys.argv[1]) / name).write_text(page)
