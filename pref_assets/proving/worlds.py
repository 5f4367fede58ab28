"""Worlds with planted truth: pairs whose right label, topic, difficulty and faults are known because we put them in."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS, REFERENCE_LOGPS
from pref_assets.pool import Pool, Vectors
from pref_assets.proving.words import Answers, Vocabulary, embedded
from pref_assets.settings import Settings

Floats = NDArray[np.float64]
PLANTED = "planted"
"""Name of the world's embeddings and of its reference log-probabilities."""
FAULTS = ("flip", "duplicate", "tie")
TRUTH = pl.Schema(
    {
        "pair_id": pl.String,
        "flip": pl.Boolean,
        "duplicate": pl.Boolean,
        "tie": pl.Boolean,
        "hard": pl.Boolean,
        "topic": pl.Int64,
        "group": pl.Int64,
    }
)


@dataclass(frozen=True)
class World:
    """``pool`` is what methods see; ``truth`` (``TRUTH``) is what was planted. ``test`` pairs carry the true label."""

    pool: Pool
    truth: pl.DataFrame


class PlantedWorld(Settings):
    """Answers are points; a linear reward, partly common and partly each topic's own, says which of two is better.

    Of the train pairs some are labelled wrong (by annotators of three groups, of which one is careful and one is
    careless), some are near copies of others, some are ties that got a label all the same, and half are hard: their
    rewards differ little. Topics have sizes from large to small, so that a subset can miss the small ones.
    `validation` pairs have true labels: the small trusted set that some methods ask for. `test` pairs have true labels
    and no ties or copies.
    """

    type: Literal["planted"] = "planted"
    seen_as: Literal["vectors", "text"] = "vectors"
    """What embeddings are made of: the points themselves, or the words of answers that were written from them."""
    train: int = Field(default=1600, ge=40)
    """Pairs to select from."""
    validation: int = Field(default=200, ge=10)
    """Trusted pairs."""
    test: int = Field(default=1000, ge=40)
    """Pairs that accuracy is measured on."""
    topics: int = Field(default=12, ge=1, le=100)
    """Topics; topic t has a share proportional to (t + 1)^-`topic_decay`."""
    topic_decay: float = Field(default=1.0, ge=0, le=4)
    """How fast topics get smaller; 0 makes them equal."""
    common_width: int = Field(default=12, ge=1)
    """Dimensions of an answer that every topic judges alike."""
    topic_width: int = Field(default=4, ge=1)
    """Dimensions of an answer that only its topic judges."""
    place_width: int = Field(default=8, ge=1)
    """Dimensions that say where a topic lies; both answers of a pair have them alike."""
    flips: float = Field(default=0.0, ge=0, le=0.5)
    """Share of train labels that are wrong, over all groups; a proving ground's own `flips` replace it."""
    carelessness: tuple[float, float, float] = (0.5, 1.0, 1.5)
    """How many times as often as the average each annotator group is wrong; their mean is 1."""
    duplicates: float = Field(default=0.1, ge=0, le=0.5)
    """Share of train pairs that nearly repeat another one."""
    ties: float = Field(default=0.05, ge=0, le=0.5)
    """Share of train pairs whose rewards are equal, labelled by chance."""
    hard: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs whose rewards differ little."""
    easy_margin: float = Field(default=3.0, gt=0)
    """Mean difference of rewards of an easy pair."""
    hard_margin: float = Field(default=0.8, gt=0)
    """The same of a hard one."""
    copy_noise: float = Field(default=0.02, ge=0)
    """How far a copy lies from its original in each dimension."""
    second_votes: int = Field(default=2, ge=0, le=10)
    """Further annotators who voted on every pair, beside the one whose label was taken."""

    @model_validator(mode="after")
    def _groups_average_to_one(self) -> Self:
        if abs(sum(self.carelessness) / len(self.carelessness) - 1) > 1e-9 or min(self.carelessness) < 0:
            raise ValueError(f"carelessness {self.carelessness} has to be positive, with a mean of 1")
        if max(self.carelessness) * self.flips > 1:
            raise ValueError(f"flips {self.flips} x carelessness {max(self.carelessness)} is more than 1")
        return self

    def plant(self, seed: int) -> World:
        """The world of a seed. Rates are of independent draws, so shares come out near them, not exactly."""
        rng = np.random.default_rng([seed, 7])
        n = self.train + self.validation + self.test
        drawn = _draw(self, n, rng)
        split = np.repeat(["train", "validation", "test"], [self.train, self.validation, self.test])
        words = Vocabulary(self.topics, self.common_width + self.topic_width)
        answers = words.write(drawn, rng)
        original = np.where(drawn.original >= 0, drawn.original, np.arange(n))
        prompts = [answers.prompts[row] for row in original]
        ids = [f"{seed:03}{row:06}" for row in range(n)]
        group, voted_wrong = _votes(self, split, drawn, rng)
        wrong = voted_wrong[:, 0]
        better = np.where(wrong, "r", "c")  # name of the answer that the label prefers
        chosen = [f"{id_}{side}" for id_, side in zip(ids, better, strict=True)]
        rejected = [f"{id_}{side}" for id_, side in zip(ids, np.where(wrong, "c", "r"), strict=True)]
        pairs = pl.DataFrame(
            {
                "pair_id": [f"p{id_}" for id_ in ids],
                "prompt_id": [f"q{id_}" for id_ in ids],
                "chosen_id": chosen,
                "rejected_id": rejected,
                "p_chosen": np.ones(n),
                "strength": pl.Series([None] * n, dtype=pl.Float64),
                "votes": [_vote_rows(group[row], voted_wrong[row]) for row in range(n)],
                "split": split,
                "provenance": [
                    [{"source": f"group_{group[row][0]}", "uri": PLANTED, "row": row + 1, "batch": PLANTED}]
                    for row in range(n)
                ],
            },
            schema=PAIRS.schema,
        )
        truth = pl.DataFrame(
            {
                "pair_id": pairs["pair_id"],
                "flip": wrong & ~drawn.tie,
                "duplicate": drawn.original >= 0,
                "tie": drawn.tie,
                "hard": drawn.hard,
                "topic": drawn.topic,
                "group": group[:, 0],
            },
            schema=TRUTH,
        )
        return World(self._pool(pairs, ids, prompts, answers, drawn, rng), truth)

    def _pool(
        self,
        pairs: pl.DataFrame,
        ids: list[str],
        prompts: list[str],
        answers: Answers,
        drawn: "Drawn",
        rng: np.random.Generator,
    ) -> Pool:
        said = [{"role": "user", "content": text} for text in prompts]
        completions = COMPLETIONS.frame(
            {
                "completion_id": f"{id_}{side}",
                "prompt_id": f"q{id_}",
                "messages": [{"role": "assistant", "content": texts[row]}],
                "ratings": [],
                "provenance": [],
            }
            for side, texts in (("c", answers.better), ("r", answers.worse))
            for row, id_ in enumerate(ids)
        )
        names = [f"{id_}{side}" for side in "cr" for id_ in ids]
        texts = [*answers.better, *answers.worse]
        if self.seen_as == "vectors":
            matrix = np.concatenate([_points(self, drawn, drawn.better), _points(self, drawn, drawn.worse)])
        else:
            matrix = embedded([f"{a} {b}" for a, b in zip([*prompts, *prompts], texts, strict=True)])
        counts = np.array([len(text.split()) for text in texts], dtype=np.int64)
        prompt_counts = np.array([len(text.split()) for text in [*prompts, *prompts]], dtype=np.int64)
        logps = REFERENCE_LOGPS.conform(
            pl.DataFrame(
                {
                    "completion_id": names,
                    "key": PLANTED,
                    "logp": -np.abs(counts * 1.5 + rng.normal(0, 0.3, len(counts)) * np.sqrt(counts)),
                    "n_tokens": counts,
                    "truncated": False,
                    "token_logps": None,
                }
            )
        )
        return Pool(
            pairs,
            completions,
            embeddings={PLANTED: Vectors(names, matrix.astype(np.float32), counts + prompt_counts)},
            prompts=PROMPTS.frame(
                {"prompt_id": f"q{id_}", "messages": [turn], "images": [], "split": split, "provenance": []}
                for id_, turn, split in zip(ids, said, pairs["split"], strict=True)
            ),
            reference_logps={PLANTED: logps},
        )


@dataclass(frozen=True)
class Drawn:
    """Points and facts of n pairs: ``better`` and ``worse`` (n, width), ``place`` (n, place_width) of the prompts."""

    better: Floats
    worse: Floats
    place: Floats
    topic: NDArray[np.int64]
    hard: NDArray[np.bool_]
    tie: NDArray[np.bool_]
    common: int
    """Dimensions of an answer that every topic judges alike: the first ones."""
    original: NDArray[np.int64]
    """Row that this one nearly repeats, -1 for none."""


def _draw(world: PlantedWorld, n: int, rng: np.random.Generator) -> Drawn:
    shares = (np.arange(world.topics) + 1.0) ** -world.topic_decay
    topic = rng.choice(world.topics, size=n, p=shares / shares.sum())
    centres = rng.normal(size=(world.topics, world.place_width)) * 2
    place = centres[topic] + rng.normal(size=(n, world.place_width)) * 0.5
    width = world.common_width + world.topic_width
    common, own = rng.normal(size=world.common_width), rng.normal(size=(world.topics, world.topic_width))
    taste = np.concatenate([np.tile(_unit(common), (world.topics, 1)), _unit(own)], axis=1) / np.sqrt(2)
    hard = rng.random(n) < world.hard
    tie = (rng.random(n) < world.ties) & (np.arange(n) < world.train)
    mean = np.where(hard, world.hard_margin, world.easy_margin)
    margin = np.where(tie, 0.0, np.abs(rng.normal(mean, 0.3 * mean)))
    better, other = rng.normal(size=(n, width)), rng.normal(size=(n, width))
    direction = taste[topic]
    gap = ((better - other) * direction).sum(axis=1)
    worse = other + (gap - margin)[:, None] * direction  # now reward(better) - reward(worse) = margin
    original = np.full(n, -1)
    copies = np.flatnonzero((rng.random(n) < world.duplicates) & (np.arange(n) < world.train) & (np.arange(n) > 0))
    sources = np.flatnonzero(~np.isin(np.arange(world.train), copies))
    original[copies] = rng.choice(sources, size=len(copies))
    for values in (better, worse, place):
        values[copies] = values[original[copies]] + rng.normal(size=values[copies].shape) * world.copy_noise
    for facts in (topic, hard, tie):
        facts[copies] = facts[original[copies]]
    return Drawn(better, worse, place, topic, hard, tie, world.common_width, original)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def _points(world: PlantedWorld, drawn: Drawn, answer: Floats) -> Floats:
    """(n, place + common + topics x topic) embeddings: an answer's own dimensions lie in its topic's block."""
    blocks = np.zeros((len(answer), world.topics, world.topic_width))
    blocks[np.arange(len(answer)), drawn.topic] = answer[:, world.common_width :]
    return np.concatenate([drawn.place, answer[:, : world.common_width], blocks.reshape(len(answer), -1)], axis=1)


def _votes(
    world: PlantedWorld, split: NDArray[np.str_], drawn: Drawn, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Group of every voter of every pair, (n, voters), and whether each voted against the truth."""
    voters = 1 + world.second_votes
    group = rng.integers(0, len(world.carelessness), size=(len(split), voters))
    rate = world.flips * np.array(world.carelessness)[group]
    rate[drawn.tie] = 0.5
    rate[split != "train"] = 0.0
    return group, rng.random(group.shape) < rate


def _vote_rows(groups: NDArray[np.int64], wrong: NDArray[np.bool_]) -> list[dict[str, object]]:
    """The votes of a pair; the first is the one whose label was taken."""
    return [
        {
            "annotator": f"group_{group}",
            "dimension": "overall",
            "choice": "chosen" if each == wrong[0] else "rejected",
            "strength": None,
            "rationale": None,
        }
        for group, each in zip(groups.tolist(), wrong.tolist(), strict=True)
    ]
