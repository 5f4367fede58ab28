"""Whether a reward model that says 80 % is right eight times in ten."""

from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.evaluation.accuracy import Margins, joined, row
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.intervals import Estimate, bootstrap, bootstrap_mean, group_numbers, share
from pref_assets.evaluation.reward import Rewards
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pool import seeded_hash
from pref_assets.scoring.calibration import fit_temperature, probability, reliability

Floats = NDArray[np.float64]
_FINITE = 1e-9
"""How far from 0 and 1 a probability is kept, so that its log odds are finite."""


class Calibration(Rewards):
    """How well the probabilities behind rewards hold on held-out pairs: a margin m says that the chosen side is better
    with probability s(m), as the Bradley-Terry loss has it; of a score table, `p_correct` where every pair has one.

    - ``calibration_error``: expected calibration error (Guo et al. 2017, arXiv:1706.04599) over equal-width bins of
      confidence, the side that is favoured against the votes' share for it; above 0 even for a perfect model, the more
      so with few pairs in a bin;
    - ``calibration_error_tempered``: the same after one temperature, fitted on the other folds of prompts: what is left
      when only the scale of the rewards was wrong; ``temperature`` is what to divide margins by (fitted on all pairs);
    - ``brier`` and ``log_loss`` of s(m) against the votes' share;
    - ``confidence`` and ``agreement`` by slice ``bin:<from>-<to>``: the reliability diagram.

    Baselines say no probabilities, so there are none. Intervals resample prompts.
    """

    type: Literal["calibration"] = "calibration"
    bins: int = Field(default=10, ge=1, le=100)
    """Bins of confidence between one half and one."""
    folds: int = Field(default=5, ge=2, le=100)
    """Folds of prompts for the temperature."""

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        test = self.test_pairs(inputs)
        shares = test.join(inputs.pairs.select("pair_id", "p_chosen"), on="pair_id").sort("pair_id")
        groups = group_numbers(shares["group"].to_list())
        fold = (seeded_hash(shares["group"], self.seed, "calibration") % self.folds).to_numpy()
        rows = []
        for scorer in self.scorers(test, inputs, home):
            if not scorer.baseline:
                said = _probabilities(scorer, inputs)
                margins = joined(test, said)["margin"].to_numpy().astype(np.float64)
                rows += self._measured(said, margins, shares["p_chosen"].to_numpy(), groups, fold)
        return EVALUATIONS.frame(rows)

    def _measured(
        self, of: Margins, margins: Floats, share_of: Floats, groups: NDArray[np.int64], fold: NDArray[np.uint64]
    ) -> list[dict[str, Any]]:
        tempered = out_of_fold(margins, share_of, fold)
        said = np.clip(probability(margins, 1.0), _FINITE, 1 - _FINITE)
        losses = -share_of * np.log(said) - (1 - share_of) * np.log1p(-said)
        squares = np.square(said - share_of)
        rows = [
            row(of, "calibration_error", "all", self._error(margins, share_of, groups)),
            row(of, "calibration_error_tempered", "all", self._error(tempered, share_of, groups)),
            row(of, "brier", "all", bootstrap_mean(squares, groups, self.seed, self.resamples)),
            row(of, "log_loss", "all", bootstrap_mean(losses, groups, self.seed, self.resamples)),
        ]
        factor = fit_temperature(margins, share_of)
        if factor > 0:
            rows.append(row(of, "temperature", "all", Estimate(1 / factor, None, None, len(margins))))
        return rows + self._diagram(of, margins, share_of, groups)

    def _error(self, margins: Floats, share_of: Floats, groups: NDArray[np.int64]) -> Estimate:
        def error(items: NDArray[np.int64]) -> float:
            return reliability(margins[items], share_of[items], 1.0, self.bins)["ece"]

        ends = bootstrap(error, groups, self.seed, self.resamples)
        return Estimate.around(error(np.arange(len(margins))), ends, len(margins))

    def _diagram(
        self, of: Margins, margins: Floats, share_of: Floats, groups: NDArray[np.int64]
    ) -> list[dict[str, Any]]:
        said = probability(margins, 1.0)
        sure = np.maximum(said, 1 - said)
        agree = np.where(margins > 0, share_of, np.where(margins < 0, 1 - share_of, 0.5))
        bin_of = np.minimum(((sure - 0.5) * 2 * self.bins).astype(np.int64), self.bins - 1)
        rows = []
        for number in sorted(set(bin_of.tolist())):
            inside = bin_of == number
            name = f"bin:{0.5 + number / 2 / self.bins:.2f}-{0.5 + (number + 1) / 2 / self.bins:.2f}"
            kept = group_numbers([str(group) for group in groups[inside]])
            rows.append(row(of, "agreement", name, share(agree[inside], kept)))
            mean = float(sure[inside].mean())
            rows.append(row(of, "confidence", name, Estimate(mean, None, None, int(inside.sum()))))
        return rows


def out_of_fold(margins: Floats, share_of: Floats, fold: NDArray[np.uint64]) -> Floats:
    """Margins times the factor that fits the other folds best, (n,); a single fold keeps them as they are."""
    found = margins.copy()
    for number in np.unique(fold):
        inside = fold == number
        if not inside.all():
            found[inside] = margins[inside] * fit_temperature(margins[~inside], share_of[~inside])
    return found


def _probabilities(scorer: Margins, inputs: Inputs) -> Margins:
    """The scorer with the log odds of its own probabilities for margins, where it is a score table that has them."""
    name = scorer.name.removeprefix("scores/")
    table = inputs.scores.get(name) if name != scorer.name else None
    if table is None or table["p_correct"].null_count():
        return scorer
    said = pl.col("p_correct").clip(_FINITE, 1 - _FINITE)
    return Margins(scorer.name, scorer.version, table.select("pair_id", margin=(said / (1 - said)).log()))
