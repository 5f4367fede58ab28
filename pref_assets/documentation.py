"""Writes ``docs/methods.md`` from the code: every method of every stage, its source and its settings.

Run ``python -m pref_assets.documentation docs/methods.md``; a test fails when the page is out of date.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pref_assets.pipeline.spec import BLOCKS, PipelineSpec
from pref_assets.settings import Settings

HEAD = """# Methods

Generated from the code by `python -m pref_assets.documentation docs/methods.md`. One section a block of the pipeline
file, one entry a `type`; the settings are what YAML may say, with their defaults.
"""


def methods_page() -> str:
    """The whole page, Markdown."""
    parts = [HEAD, *_section("pairs", [type(PipelineSpec.model_fields["pairs"].default)])]
    for block in BLOCKS:
        parts += _section(block, list(_classes(PipelineSpec.model_fields[block].annotation)))
    return "\n".join(parts).rstrip() + "\n"


def _section(block: str, classes: list[type[Settings]]) -> Iterator[str]:
    yield f"\n## {block}\n\n{PipelineSpec.model_fields[block].description or ''}"
    for each in classes:
        name = each.model_fields["type"].default if "type" in each.model_fields else each.__name__
        yield f"\n### `{name}`\n\n{inspect.getdoc(each) or ''}\n"
        yield "| setting | default | what it is |\n| --- | --- | --- |"
        for field, info in each.model_fields.items():
            if field == "type":
                continue
            default = "required" if info.is_required() else f"`{_shown(info.get_default(call_default_factory=True))}`"
            yield f"| `{field}` | {default} | {' '.join((info.description or '').split())} |"


def _shown(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Settings) else value


def _classes(annotation: Any) -> Iterator[type[Settings]]:
    """Settings classes inside ``dict[Name, Annotated[A | B, ...]]``, in the order of the union."""
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _classes(argument)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(methods_page())
