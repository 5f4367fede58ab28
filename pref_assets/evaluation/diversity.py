"""Whether a policy still says different things: dull words, repeated n-grams, answers like each other."""

from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.answers import PolicyAnswers, stored_answers, with_bases
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.draws import drawn_mean
from pref_assets.evaluation.intervals import Estimate, group_numbers, jackknife
from pref_assets.features.ngrams import Tokens, tokens
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.scoring.text.avgout import average_cosine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Diversity(PolicyAnswers):
    """Dullness and diversity of a policy's answers beside those of its reference; a policy that collapses says the same
    to every prompt.

    - ``dullness``: mean cosine of an answer's token distribution with the average over the model's own answers (Niu and
      Bansal, AvgOut, arXiv:2001.05467, section 3; on texts, without the running mean of training);
    - ``distinct_1``, ``distinct_2``, …: distinct n-grams over all n-grams (Li et al. 2016, arXiv:1510.03055); falls as
      texts grow longer, so compare equal lengths;
    - ``self_similarity``: mean cosine of the token counts of two answers to different prompts;
      ``self_similarity_within``: of two answers to the same prompt, with `samples` above 1;
    - ``answer_tokens``: mean tokens of an answer (NLTK's wordpunct).

    Empty answers have no cosine and count only in ``answer_tokens``. Intervals: bootstrap over prompts, and the
    jackknife over prompts for what drawing a prompt twice would distort. O(tokens log tokens).
    """

    type: Literal["diversity"] = "diversity"

    ngrams: int = Field(default=2, ge=1, le=4)
    """Longest n-grams counted."""

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        prompts = self.test_prompts(inputs)["prompt_id"].to_list()
        rows: list[dict[str, Any]] = []
        for who in with_bases(inputs.checkpoints):
            answers = stored_answers(home, who, prompts, self.draws()).sort("prompt_id", "draw")
            of = Margins(who.name, who.version, answers, baseline=who.version is None)
            found = measured(answers, self.ngrams, self.seed, self.resamples)
            rows += [row(of, metric, "all", each) for metric, each in found.items()]
        return EVALUATIONS.frame(rows)


def measured(answers: pl.DataFrame, ngrams: int, seed: int, resamples: int) -> dict[str, Estimate]:
    """The metrics of ``Diversity``, those that are defined, of answers (prompt_id, text)."""
    found = tokens(answers["text"])
    groups = group_numbers(answers["prompt_id"].to_list())
    counts = found.counts.astype(np.float64)
    metrics = {"answer_tokens": drawn_mean(counts, groups, seed, resamples).estimate()}
    full = found.counts > 0
    if full.any():
        kept = group_numbers([str(group) for group in groups[full]])
        cosines = average_cosine(found, full)[full]
        metrics["dullness"] = drawn_mean(cosines, kept, seed, resamples).estimate()
    for n in range(1, ngrams + 1):
        if (found.counts >= n).any():
            metrics[f"distinct_{n}"] = distinct(found, groups, n)
    between, within = similarities(found, groups)
    metrics |= {"self_similarity": between} if between else {}
    return metrics | ({"self_similarity_within": within} if within else {})


def distinct(found: Tokens, groups: Ints, n: int) -> Estimate:
    """Distinct n-grams over all n-grams of all texts; jackknife over groups. Some text must have n tokens."""
    owner = np.repeat(np.arange(len(found.counts)), found.counts)
    starts = np.flatnonzero(owner[: len(owner) - n + 1] == owner[n - 1 :])
    grams = np.stack([found.codes[starts + i] for i in range(n)], axis=1)
    _, number = np.unique(grams, axis=0, return_inverse=True)
    group = groups[owner[starts]]
    pairs = np.unique(np.stack([number.ravel(), group], axis=1), axis=0)
    in_groups = np.bincount(pairs[:, 0])
    count = int(groups.max()) + 1
    # Without a group go the n-grams that only it has.
    own = np.bincount(pairs[in_groups[pairs[:, 0]] == 1][:, 1], minlength=count)
    total, size = len(in_groups), np.bincount(group, minlength=count)
    left = len(number) - size
    usable = left > 0
    return jackknife(total / len(number), ((total - own)[usable] / left[usable]), n=len(found.counts))


def similarities(found: Tokens, groups: Ints) -> tuple[Estimate | None, Estimate | None]:
    """Mean cosine of two texts of different groups, and of one group; null where there are no two.

    From sums of unit vectors, |sum u|^2 = sum_ij u_i u_j, so linear in the texts; jackknife over groups.
    """
    size, full = len(found.vocabulary), found.counts > 0
    owner = np.repeat(np.arange(len(found.counts)), found.counts)
    keys, times = np.unique(owner * size + found.codes, return_counts=True)
    text, token = keys // size, keys % size
    lengths = np.sqrt(np.bincount(text, weights=times.astype(np.float64) ** 2, minlength=len(found.counts)))
    unit = times / lengths[text]
    count = int(groups.max()) + 1
    cells, place = np.unique(groups[text] * size + token, return_inverse=True)
    sums = np.bincount(place.ravel(), weights=unit)
    whole = np.bincount(cells % size, weights=sums, minlength=size)
    of = cells // size
    inner = np.bincount(of, weights=sums**2, minlength=count)
    outer = np.bincount(of, weights=sums * whole[cells % size], minlength=count)
    texts = np.bincount(groups[full], minlength=count).astype(np.float64)
    n = int(texts.sum())
    total, same = float(whole @ whole), float(inner.sum())
    across = float(texts.sum() ** 2 - (texts**2).sum())
    between = None
    if across > 0:
        # Leaving a group out takes its products with every other one, in both orders.
        rest = across - 2 * texts * (texts.sum() - texts)
        value = (total - same) / across
        usable = rest > 0
        left = (total - same - 2 * (outer - inner))[usable] / rest[usable]
        between = jackknife(value, left, n)
    pairs = texts * (texts - 1)
    within = None
    if pairs.sum() > 0:
        products = inner - texts
        several = pairs > 0
        left = (products.sum() - products[several]) / np.maximum(pairs.sum() - pairs[several], 1e-300)
        left = left[pairs.sum() - pairs[several] > 0]
        within = jackknife(float(products.sum() / pairs.sum()), left, n)
    return between, within
