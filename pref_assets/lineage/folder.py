"""The data card and the bias sheet as a folder that can be published with the data."""

from collections.abc import Iterable
from pathlib import Path

from pref_assets.home import Home
from pref_assets.inspection import sheet
from pref_assets.inspection.plots import pictures
from pref_assets.lineage import card, croissant
from pref_assets.lineage.about import About
from pref_assets.lineage.facts import File, collect
from pref_assets.lineage.uses import uses
from pref_assets.pairs.schema import BIAS
from pref_assets.tables import TableStore

_SEE = "\n## Bias\n\nWhat the preferred answers have in common beside being better: [bias.md](bias.md).\n"


def write_card(home: Home, about: About, files: Iterable[File], out: Path) -> list[Path]:
    """Writes ``README.md``, ``croissant.json``, ``bias.md`` and a PNG for each of its parts; the paths.

    Raises:
        UnknownQueryError: the pipeline has no tables in this home.
        MissingTableError: its pairs or its bias sheet were not made yet.
    """
    facts = collect(home, about, files, uses(home, about.pipeline))
    bias = BIAS.conform(TableStore(home.tables).read((about.pipeline, "reports", "bias")))
    drawn = {f"bias_{name}.png": png for name, png in pictures(bias).items()}
    names = {file.removeprefix("bias_").removesuffix(".png"): file for file in drawn}
    texts = {
        "README.md": card.markdown(facts) + _SEE,
        "croissant.json": croissant.written(croissant.croissant(facts, home)),
        "bias.md": sheet.markdown(about.pipeline, bias, names),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text)
    for name, png in drawn.items():
        (out / name).write_bytes(png)
    return [out / name for name in (*texts, *drawn)]
