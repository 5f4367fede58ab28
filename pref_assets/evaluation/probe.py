"""What reward models know: linear probes of their states, one for each rated dimension."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.evaluation.accuracy import Margins, points, row
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.draws import Drawn, drawn, drawn_mean, weighted
from pref_assets.evaluation.heldout import NothingHeldOutError, sample
from pref_assets.evaluation.intervals import Estimate, bootstrap, group_numbers, share
from pref_assets.evaluation.probing import auc, classes, confidence, cuts, macro_f1, probe
from pref_assets.evaluation.reward import items
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pairs.splits import TEST
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName

Floats = NDArray[np.float64]

HIDDEN_STATES = "hidden_states"
"""Kind of the store: id (completion), state (what the head reads), score; the key is the checkpoint's version."""
MAJORITY = "majority class"
DIFFICULTIES: Mapping[str, int] = {"easy": 2, "hard": 3}
"""Classes of each difficulty, as MRMBench has them."""


class Probe(Evaluation):
    """A linear probe on the frozen states of reward models, one a rated dimension: MRMBench (Wang et al. 2025,
    arXiv:2511.12464). A reward that is right for the wrong reasons has states that tell the dimensions badly.

    - ``probe_accuracy_easy`` (two classes of rating) and ``probe_accuracy_hard`` (three), by ``dimension:``, ``all``
      their mean; ``probe_macro_f1_easy`` and ``probe_macro_f1_hard``, which always saying the commonest class does not
      raise;
    - baseline `majority class`: the commonest class of the training items;
    - ``confidence_auc``: whether the pairs that the reward ranks right lie nearer to known states (k-means centres of
      training states) than those it ranks wrong; one half says nothing.

    Probes learn on completions of the train split and are measured on the test split; a completion's rating is the mean
    over annotators, cut into classes of about equal size on the train split (choice; the paper fixes cuts by data set).
    The probe has an intercept and a penalty chosen on held-out prompts (choice; the paper trains a bias-free layer for
    an epoch). Intervals resample prompts, the probe being given.

    Needs ratings of completions. Cost: one pass over each completion, kept by content; seconds for the probes.
    """

    type: Literal["probe"] = "probe"
    checkpoint_kind: ClassVar[Kind] = "reward_model"
    task: ClassVar[TaskName] = "evaluate_reward_model"

    dimensions: list[str] | None = None
    """Rated dimensions; all that enough completions have when left out."""
    max_train: int = Field(default=2000, ge=20)
    """Rated completions of the train split that probes learn on, drawn by `seed`."""
    max_test: int = Field(default=1000, ge=10)
    """Rated completions of the test split to measure on."""
    least: int = Field(default=20, ge=2)
    """A dimension needs so many rated completions in each of the two splits."""
    l2: list[float] = Field(default=[0.01, 0.1, 1.0, 10.0, 100.0, 1000.0], min_length=1)
    """Penalties of the probe to choose from."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of training prompts that choose the penalty."""
    clusters: int = Field(default=16, ge=1)
    """Centres of known states, for the confidence."""

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``items``: the sampled completions and those of the held-out pairs, after their prompts."""
        rated = self.rated(inputs)
        asked = pl.concat([rated["completion_id"], self._pair_sides(inputs)]).unique()
        sides = pl.DataFrame({"chosen_id": asked, "rejected_id": asked})
        return {"items": items(sides, inputs)}

    def rated(self, inputs: Inputs) -> pl.DataFrame:
        """Sampled rated completions: completion_id, prompt_id, split, dimension, value; a row a dimension.

        Raises:
            NothingHeldOutError: no dimension has enough ratings in both splits.
        """
        ratings = inputs.completions.explode("ratings").drop_nulls("ratings").unnest("ratings")
        known = (
            ratings.drop_nulls("value").group_by("completion_id", "prompt_id", "dimension").agg(pl.col("value").mean())
        )
        known = known.join(inputs.prompts.select("prompt_id", "split"), on="prompt_id")
        if self.dimensions is not None:
            known = known.filter(pl.col("dimension").is_in(self.dimensions))
        parts = []
        for split, most in (("train", self.max_train), (TEST, self.max_test)):
            part = known.filter(pl.col("split") == split)
            drawn_ids = sample(part.select("completion_id").unique(), "completion_id", most, self.seed)
            parts.append(part.join(drawn_ids, on="completion_id", how="semi"))
        found = pl.concat(parts)
        counts = found.group_by("dimension", "split").len().filter(pl.col("len") >= self.least)
        enough = counts.group_by("dimension").len().filter(pl.col("len") == 2)["dimension"].to_list()
        if not enough or (self.dimensions is not None and set(enough) != set(self.dimensions)):
            there = sorted(known.group_by("dimension", "split").len().rows())
            raise NothingHeldOutError(
                f"a probe needs {self.least} rated completions of a dimension in the splits train and {TEST}, and "
                f"{'no dimension has' if not enough else f'only {sorted(enough)} have'} them; ratings are {there}"
            )
        return found.filter(pl.col("dimension").is_in(enough)).sort("dimension", "completion_id")

    def _pair_sides(self, inputs: Inputs) -> pl.Series:
        pairs = self._pairs(inputs)
        return pl.concat([pairs["chosen_id"], pairs["rejected_id"]])

    def _pairs(self, inputs: Inputs) -> pl.DataFrame:
        test = inputs.pairs.filter(pl.col("split") == TEST, pl.col("p_chosen") != 0.5)
        return sample(test, "pair_id", self.max_test, self.seed)

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        rated = self.rated(inputs)
        rows: list[dict[str, Any]] = []
        for number, checkpoint in enumerate(inputs.checkpoints):
            states = _stored(checkpoint, pl.concat([rated["completion_id"], self._pair_sides(inputs)]), home)
            of = Margins(checkpoint.name, checkpoint.version, states)
            majority = Margins(MAJORITY, None, states, baseline=True) if number == 0 else None
            for difficulty, count in DIFFICULTIES.items():
                rows += self._difficulty(of, majority, rated, states, difficulty, count)
            rows += self._confidence(of, rated, states, inputs)
        return EVALUATIONS.frame(rows)

    def _difficulty(
        self,
        of: Margins,
        majority: Margins | None,
        rated: pl.DataFrame,
        states: pl.DataFrame,
        difficulty: str,
        count: int,
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        whole: dict[tuple[str, str], list[Drawn]] = {}
        named = {who.name: who for who in (of, majority) if who is not None}
        for (dimension,), part in rated.group_by("dimension", maintain_order=True):
            halves = {split: part.filter(pl.col("split") == split).sort("completion_id") for split in ("train", TEST)}
            values = {split: half["value"].to_numpy() for split, half in halves.items()}
            thresholds = cuts(values["train"], count)
            if thresholds is None:
                continue
            labels = {split: classes(each, thresholds) for split, each in values.items()}
            vectors = {split: _matrix(states, half["completion_id"]) for split, half in halves.items()}
            prompts = {split: group_numbers(half["prompt_id"].to_list()) for split, half in halves.items()}
            found = probe(
                vectors["train"],
                labels["train"],
                prompts["train"],
                vectors[TEST],
                tuple(self.l2),
                self.held_out,
                self.seed,
            )
            always = np.full(len(labels[TEST]), found.majority)
            predictions = {of.name: found.predicted, MAJORITY: always}
            for name, who in named.items():
                scores = self._scores(labels[TEST], predictions[name], prompts[TEST], count)
                for metric, value in scores.items():
                    full = f"probe_{metric}_{difficulty}"
                    rows.append(row(who, full, f"dimension:{dimension}", value.estimate()))
                    whole.setdefault((name, full), []).append(value)
        for (name, full), parts in whole.items():
            # Equal seeds draw equal prompts: dimensions that are rated on the same ones are resampled together.
            rows.append(row(named[name], full, "all", weighted([(1.0, each) for each in parts]).estimate()))
        return rows

    def _scores(
        self, labels: NDArray[np.int64], predicted: NDArray[np.int64], groups: NDArray[np.int64], count: int
    ) -> dict[str, Drawn]:
        members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]

        def f1(picked: NDArray[np.int64]) -> float:
            chosen = np.concatenate([members[group] for group in picked])
            return macro_f1(labels[chosen], predicted[chosen], count)

        right = (labels == predicted).astype(np.float64)
        return {
            "accuracy": drawn_mean(right, groups, self.seed, self.resamples),
            "macro_f1": drawn(f1, len(members), self.seed, self.resamples, len(labels)),
        }

    def _confidence(
        self, of: Margins, rated: pl.DataFrame, states: pl.DataFrame, inputs: Inputs
    ) -> list[dict[str, Any]]:
        pairs = self._pairs(inputs)
        if pairs.is_empty():
            return []
        trained = rated.filter(pl.col("split") == "train")["completion_id"].unique().sort()
        known = _matrix(states, trained)
        sides = [confidence(known, _matrix(states, pairs[name]), self.clusters, self.seed) for name in _SIDES]
        scores = dict(states.select("id", "score").iter_rows())
        margin = pl.Series("margin", [scores[a] - scores[b] for a, b in pairs.select(_SIDES).iter_rows()])
        right = pairs.select(points(pl.lit(margin))).to_series().to_numpy()
        sure, decided = np.minimum(*sides), right != 0.5
        groups = group_numbers(pairs["prompt_id"].fill_null(pairs["pair_id"]).filter(decided).to_list())
        sure, correct = sure[decided], right[decided] == 1
        value = auc(sure, correct)
        if not np.isfinite(value):
            return []
        ends = bootstrap(lambda picked: auc(sure[picked], correct[picked]), groups, self.seed, self.resamples)
        return [
            row(of, "confidence_auc", "all", Estimate.around(value, ends, len(sure))),
            row(
                of,
                "accuracy",
                "all",
                share(right, group_numbers(pairs["prompt_id"].fill_null(pairs["pair_id"]).to_list())),
            ),
        ]


_SIDES = ("chosen_id", "rejected_id")


def _stored(checkpoint: CheckpointRef, ids: pl.Series, home: Home) -> pl.DataFrame:
    from pref_assets.features.store import Store

    return Store(home.store).read(HIDDEN_STATES, checkpoint.version, ids.unique().sort().to_list())


def _matrix(states: pl.DataFrame, ids: Sequence[str] | pl.Series) -> Floats:
    wanted = pl.DataFrame({"id": ids})
    found = wanted.join(states.select("id", "state"), on="id", how="left", maintain_order="left")["state"]
    return np.array(found.to_list(), np.float64)
