"""A small home as a pipeline leaves it: files read by the real readers, stages written by hand."""

import json

import polars as pl
import pytest

from pref_assets.home import Home
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers import CompletionsSource
from pref_assets.pairs.reading import read_rows
from pref_assets.pairs.schema import (
    CENTROIDS,
    CLUSTERS,
    COMPLETIONS,
    DECISIONS,
    EVALUATIONS,
    PAIR_DROPS,
    PAIR_SCORES,
    PAIRS,
    PROMPTS,
    QUARANTINE,
    RAW,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
)
from pref_assets.pairs.splits import Splits
from pref_assets.tables import TableStore
from pref_assets.training.checkpoint import CheckpointInfo, Pinned, publish, staging, write_manifest
from pref_assets.training.reward_model import RewardModelCheckpoint

URI = "data/answers.jsonl"


def answer(text, value, annotator="ann"):
    rating = {"dimension": "overall", "value": value, "annotator": annotator}
    return {"content": text, "model": "tiny", "ratings": [rating]}


ROWS = [
    {"prompt": "Name a colour.", "completions": [answer("Blue is a colour.", 1), answer("No idea.", 0)]},
    {"prompt": "Name a fish.", "completions": [answer("Trout, a fish.", 1), answer("Cod, a fish.", 1)]},
    {"prompt": "Name a bird.", "completions": [{"content": 7}]},
    None,
    {"prompt": "Name a tree.", "completions": [answer("An oak tree.", 1), answer("No idea.", 0), answer("", 0)]},
    {"prompt": "Name a stone.", "completions": [answer("Granite alone.", 1)]},
    {"prompt": "Name a colour.", "completions": [answer("Blue is a colour.", 1, "bo"), answer("No idea.", 0, "bo")]},
]


def filled(table, rows):
    return table.frame([{name: row.get(name) for name in table.columns} for row in rows])


class SmallHome:
    """The home, its pipeline ``p``, and the ids that tests ask for."""

    def __init__(self, root):
        self.home = Home(root / "home")
        self.tables = TableStore(self.home.tables)
        file = root / "answers.jsonl"
        file.write_text("".join(("" if row is None else json.dumps(row)) + "\n" for row in ROWS))
        source = CompletionsSource(location=str(file))
        raw = read_rows(file, URI, "answers", "b1")
        records = source.read(raw)
        self.write(("raw", "answers"), raw, RAW, "b1")
        self.write(("records", "answers_prompts"), records.prompts, RECORD_PROMPTS, "b1")
        self.write(("records", "answers_completions"), records.completions, RECORD_COMPLETIONS, "b1")
        self.write(("records", "answers_votes"), records.votes, RECORD_VOTES, "b1")
        self.write(("records", "answers_quarantine"), records.quarantine, QUARANTINE, "b1")
        settings = PairsSettings(splits=Splits(validation=0, test=0))
        merged = merge(records.prompts, records.completions, records.votes, settings)
        self.merged = merged
        self.pins = {
            "prompts": self.write(("pairs", "prompts"), merged.prompts, PROMPTS),
            "completions": self.write(("pairs", "completions"), merged.completions, COMPLETIONS),
            "pairs": self.write(("pairs", "pairs"), merged.pairs, PAIRS),
        }
        self.write(("pairs", "pair_drops"), merged.drops, PAIR_DROPS)

    def write(self, key, frame, table, batch=None):
        snapshot = self.tables.write(("p", *key), frame, table, batch)
        return Pinned(key=["p", *key], delta_version=snapshot.version, data_version=snapshot.content_hash)

    def pair_of(self, text):
        """Id of the one kept pair whose chosen text this is."""
        chosen = self.merged.completions.filter(pl.col("messages").list.first().struct.field("content") == text)
        return self.merged.pairs.filter(pl.col("chosen_id").is_in(chosen["completion_id"].to_list()))["pair_id"].item()

    def select(self, name, kept, **decided):
        """A subset that keeps these pairs, with what it decided on their labels."""
        pairs = self.merged.pairs["pair_id"].to_list()
        rows = [
            {
                "pair_id": pair,
                "selected": pair in kept,
                "rank": 1 if pair in kept else None,
                "score": 0.5,
                "reason": "picked" if pair in kept else "below_budget: rank 2 of 1",
                "weight": 1.0,
                "stage": 1,
                **decided,
            }
            for pair in pairs
        ]
        return self.write(("subsets", name), DECISIONS.frame(rows), DECISIONS)

    def train(self, name, version, subset, ids, pins=None):
        """Publishes a checkpoint without weights."""
        final = self.home.checkpoints / "p" / name / version
        temporary = staging(final)
        info = CheckpointInfo(
            pipeline="p", name=name, version=version, base="base", subset=subset, tables=pins or self.pins
        )
        config = RewardModelCheckpoint(subset=subset.key[-1])
        write_manifest(temporary, "reward_model", info, config, "base==1", ids, {"loss": 0.5}, {"steps": 1})
        publish(temporary, final)
        return final


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Pairs: blue (row 1 and 7), oak (row 5); fish was dropped as a tie; granite stands alone; bird was refused."""
    it = SmallHome(tmp_path_factory.mktemp("small"))
    it.blue, it.oak = it.pair_of("Blue is a colour."), it.pair_of("An oak tree.")
    pair = it.merged.pairs.filter(pair_id=it.blue).row(0, named=True)
    clusters = [
        {"id": pair["chosen_id"], "cluster": 3, "distance": 0.25},
        {"id": pair["rejected_id"], "cluster": 1, "distance": 0.5},
    ]
    centres = [{"cluster": c, "label": label, "size": 1} for c, label in ((3, "colours"), (1, "doubt"))]
    score = {"pair_id": it.blue, "score": -1.5, "spread": 0.5, "p_correct": 0.2, "category": "incorrect"}
    it.write(("clusters", "topics"), filled(CLUSTERS, clusters), CLUSTERS)
    it.write(("clusters", "topics_centroids"), filled(CENTROIDS, centres), CENTROIDS)
    it.write(("scores", "strength"), filled(PAIR_SCORES, [score]), PAIR_SCORES)
    every = it.select("all", [it.blue, it.oak])
    few = it.select("few", [it.oak])
    it.train("rm_all", "aaaa1111", every, [it.blue, it.oak])
    it.train("rm_few", "bbbb2222", few, [it.oak])
    measured = {
        "checkpoint": "rm_all",
        "version": "aaaa1111",
        "metric": "accuracy",
        "subset": "all",
        "value": 0.5,
        "n": 2,
        "baseline": False,
    }
    it.write(("evaluations", "rewards"), filled(EVALUATIONS, [measured]), EVALUATIONS)
    return it


@pytest.fixture
def own(tmp_path):
    """A home that a test may spoil, with one checkpoint on both pairs."""
    small = SmallHome(tmp_path)
    small.ids = small.merged.pairs["pair_id"].to_list()
    small.every = small.select("all", small.ids)
    small.folder = small.train("rm", "cccc3333", small.every, small.ids)
    return small
