"""What is said of answers: critiques of entries, and those that reward models wrote before they scored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.lineage.model import Critique, Judgement
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pairs.schema import COMPLETIONS, CRITIQUES, PAIRS, PROMPTS
from pref_assets.pool import Pool

if TYPE_CHECKING:
    from pref_assets.scoring.reward.critique import CritiqueReward


def critiques(tables: PipelineTables, completions: list[str]) -> dict[str, list[Critique]]:
    """Critiques of answers by their ids, one for each entry of `critiques` that has the answer."""
    found: dict[str, list[Critique]] = {}
    for name in tables.names("critiques"):
        rows = tables.scan("critiques", name, CRITIQUES).filter(pl.col("completion_id").is_in(completions)).collect()
        for row in rows.to_dicts():
            about = Critique(name, row["critique"], row["reasons"], row["writer"], row["category"])
            found.setdefault(row["completion_id"], []).append(about)
    return found


def remember(home: Home, pipeline: str, name: str, scorer: "CritiqueReward", checkpoints: Mapping[str, str]) -> None:
    """Writes down what an entry of `scores` measured with, so that ``judgements`` finds its words in the store.

    Args:
        home, pipeline, name: the entry.
        scorer: its settings.
        checkpoints: folders of the checkpoints that it read, by name.
    """
    file = _file(home, pipeline, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    said = {"scorer": scorer.model_dump(mode="json"), "checkpoints": dict(checkpoints)}
    temporary.write_text(json.dumps(said, indent=1) + "\n")
    temporary.replace(file)


def judgements(tables: PipelineTables, pairs: list[str]) -> dict[str, list[Judgement]]:
    """What reward models that criticise said of both sides of pairs, by completion id, for each entry of `scores` that
    measured with one whose checkpoint is still there."""
    found: dict[str, list[Judgement]] = {}
    for name in tables.names("scores"):
        file = _file(tables.home, tables.pipeline, name)
        known = json.loads(file.read_text()) if file.exists() else {"checkpoints": {}}
        folders = known["checkpoints"]
        if not folders or not all(Path(folder).is_dir() for folder in folders.values()):
            continue
        from pref_assets.scoring.reward.critique import CritiqueReward

        scorer = CritiqueReward.model_validate(known["scorer"])
        for row in scorer.said(_pool(tables, pairs, scorer, folders), Store(tables.home.store)).to_dicts():
            about = Judgement(name, row["reward"], row["critiques"], row["rewards"], row["truncated"])
            found.setdefault(row["completion_id"], []).append(about)
    return found


def _pool(tables: PipelineTables, ids: list[str], scorer: "CritiqueReward", folders: Mapping[str, str]) -> Pool:
    """What the scorer looks at, of these pairs; all prompts where it shows one's images to another."""
    pairs = tables.scan("pairs", "pairs", PAIRS).filter(pl.col("pair_id").is_in(ids)).collect()
    sides = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique().to_list()
    answers = tables.scan("pairs", "completions", COMPLETIONS).filter(pl.col("completion_id").is_in(sides)).collect()
    prompts = tables.scan("pairs", "prompts", PROMPTS)
    if scorer.images != "shuffled":
        prompts = prompts.filter(pl.col("prompt_id").is_in(answers["prompt_id"].unique().to_list()))
    read = [scorer.critiques] if scorer.critiques is not None else []
    given = {name: tables.scan("critiques", name, CRITIQUES).collect() for name in read}
    return Pool(pairs, answers, prompts=prompts.collect(), checkpoints=dict(folders), critiques=given)


def _file(home: Home, pipeline: str, name: str) -> Path:
    return home.root / "reports" / pipeline / "scorers" / f"{name}.json"
