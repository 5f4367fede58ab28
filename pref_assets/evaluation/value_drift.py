"""How the values that policies voice drift over a series of checkpoints."""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from pref_assets.evaluation.accuracy import Margins, row
from pref_assets.evaluation.answers import Answerer, PolicyAnswers, base, policy, stored_answers
from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.evaluation.draws import Drawn, drawn
from pref_assets.evaluation.intervals import Estimate, group_numbers, share
from pref_assets.evaluation.stances import (
    STANCES,
    AskedStance,
    LexiconJudge,
    StanceJudge,
    Topic,
    drift,
    drift_time,
    total_variation,
)
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.schema import EVALUATIONS, prompt_id
from pref_assets.pairs.texts import text_of

Floats = NDArray[np.float64]
TopicName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)]
RECORDED = "recorded pairs"


class ValueDrift(PolicyAnswers):
    """Stances of answers on topics over a series of checkpoints, from their common start: Value Drifts (Bhatia et al.
    2025, arXiv:2510.26707).

    - ``stance_support``, ``stance_neutral``, ``stance_oppose`` by ``topic:``: share of answers, of the start and each
      checkpoint in the order given;
    - on the last checkpoint: ``drift_support`` (and so on), the magnitude M, share at the end less that at the start,
      bootstrap interval over prompts; ``drift_time_support`` (and so on), after which fraction of the series 95 % of
      the largest change is reached (choice; the paper says about), no row where nothing changed; ``drift`` on ``all``,
      the mean over topics of the total variation between the stances at both ends;
    - ``value_gap`` by ``topic:`` of the `recorded pairs`: total variation between the stances of chosen and of rejected
      answers, where a topic says what prompts are `about` it. Where it is near 0, as in most preference sets, training
      on them moves no values.

    The paper asks GPT-4o for stances, of 5 answers a prompt at temperature 0.7 and 256 tokens; here the judge is a
    setting. Needs: checkpoints of one base. Cost: `samples` answers a prompt and checkpoint, kept by content.
    """

    type: Literal["value_drift"] = "value_drift"
    topics: dict[TopicName, Topic] = Field(min_length=1)
    """What is asked, by topic."""
    judge: StanceJudge = LexiconJudge()
    """Who says where an answer stands."""
    samples: int = Field(default=5, ge=1, le=1024)
    """Answers to each prompt."""
    sampling: Sampling = Sampling(temperature=0.7, max_new_tokens=256)
    """How answers are drawn."""
    reached: float = Field(default=0.95, gt=0, le=1)
    """Part of the largest change that counts as having drifted."""

    @model_validator(mode="after")
    def _lexicon_has_words(self) -> Self:
        bare = [name for name, topic in self.topics.items() if not (topic.support and topic.oppose)]
        if isinstance(self.judge, LexiconJudge) and bare:
            raise ValueError(f"topics {bare}: the judge `lexicon` needs patterns under `support` and `oppose`")
        return self

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``prompts``: those of all topics, frame(id, messages)."""
        asked = self.topic_prompts().select(pl.col("prompt_id").alias("id"), "messages")
        return {"prompts": asked.unique("id", maintain_order=True)}

    def topic_prompts(self) -> pl.DataFrame:
        """The topics' own prompts: topic, prompt_id, prompt (text), messages, sorted by topic and id."""
        rows = [
            {"topic": name, "prompt_id": prompt_id(turns), "prompt": text, "messages": turns}
            for name, topic in self.topics.items()
            for text in dict.fromkeys(topic.prompts)
            for turns in [[{"role": "user", "content": text}]]
        ]
        return pl.DataFrame(rows).sort("topic", "prompt_id")

    def series(self, checkpoints: list[CheckpointRef]) -> list[Answerer]:
        """The start, then the checkpoints in order.

        Raises:
            ValueError: they do not share a start.
        """
        starts = {base(each).model: base(each) for each in checkpoints}
        if len(starts) > 1:
            names = sorted(each.name for each in starts.values())
            raise ValueError(f"a series of checkpoints has one start, these have {names}; name those of one in order")
        return [*starts.values(), *(policy(each) for each in checkpoints)]

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        prompts, rows = self.topic_prompts(), []
        series = self.series(list(inputs.checkpoints))
        judged = [self.judged(who, prompts, home) for who in series]
        for who, found in zip(series, judged, strict=True):
            of = Margins(who.name, who.version, found, baseline=who.version is None)
            for (topic,), part in found.group_by("topic", maintain_order=True):
                groups = group_numbers(part["prompt_id"].to_list())
                for stance in STANCES:
                    is_it = (part["stance"] == stance).cast(pl.Float64).to_numpy()
                    rows.append(row(of, f"stance_{stance}", f"topic:{topic}", share(is_it, groups)))
        if len(series) > 1:
            last = Margins(series[-1].name, series[-1].version, pl.DataFrame())
            rows += self._drifts(last, judged)
        if isinstance(self.judge, LexiconJudge):
            rows += self._gaps(inputs, self.judge)
        return EVALUATIONS.frame(rows)

    def judged(self, who: Answerer, prompts: pl.DataFrame, home: Home) -> pl.DataFrame:
        """A model's answers with their stances: topic, prompt_id, stance; answers without a verdict are left out."""
        answers = stored_answers(home, who, prompts["prompt_id"].unique().sort().to_list(), self.draws())
        found = prompts.join(answers, on="prompt_id").sort("topic", "prompt_id", "draw")
        texts = list(found.select("topic", "prompt", "text").iter_rows())
        stances = self._stances(texts, home)
        return found.select("topic", "prompt_id", stance=pl.Series(stances, dtype=pl.String)).drop_nulls("stance")

    def _stances(self, texts: list[tuple[str, str, str]], home: Home) -> list[str | None]:
        if isinstance(self.judge, LexiconJudge):
            return [self.judge.stance(self.topics[topic], text) for topic, _, text in texts]
        from pref_assets.features.store import Store
        from pref_assets.scoring.judging.answers import ANSWERS
        from pref_assets.scoring.judging.endpoint import answers_key

        ids = [id_ for id_, _ in self.judge.asked(texts)]
        key = answers_key(self.judge.endpoint, self.judge.asking)
        said = dict(Store(home.store).read(ANSWERS, key, list(dict.fromkeys(ids))).select("id", "answer").iter_rows())
        return [AskedStance.stance(said[id_]) for id_ in ids]

    def _drifts(self, last: Margins, judged: list[pl.DataFrame]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        whole: list[Drawn] = []
        for topic in sorted(self.topics):
            counts = [_by_prompt(found.filter(pl.col("topic") == topic)) for found in judged]
            shared = sorted(set.intersection(*(set(each) for each in counts)))
            if not shared:
                continue
            # (steps, prompts, stances) counts of answers
            table = np.array([[step[prompt] for prompt in shared] for step in counts], np.float64)
            n = int(table[[0, -1]].sum())
            for place, stance in enumerate(STANCES):
                moved = self._drawn(partial(_drift, table, place), len(shared), n)
                rows.append(row(last, f"drift_{stance}", f"topic:{topic}", moved.estimate()))
                when = drift_time(_shares(table)[:, place], self.reached)
                if when is not None:
                    rows.append(row(last, f"drift_time_{stance}", f"topic:{topic}", Estimate(when, None, None, n)))
            whole.append(self._drawn(partial(_ends, table), len(shared), n))
        if whole:
            size = float(np.mean([each.value for each in whole]))
            draws = [each.draws for each in whole if each.draws is not None]
            both = np.mean(draws, axis=0) if len(draws) == len(whole) else None
            total = Drawn(size, both, sum(each.n for each in whole))
            rows.append(row(last, "drift", "all", total.estimate()))
        return rows

    def _drawn(self, statistic: Callable[[NDArray[np.int64]], float], count: int, n: int) -> Drawn:
        return drawn(statistic, count, self.seed, self.resamples, n)

    def _gaps(self, inputs: Inputs, judge: LexiconJudge) -> list[dict[str, Any]]:
        texts = inputs.completions.select("completion_id", text=text_of("messages"))
        asked = inputs.prompts.select("prompt_id", prompt=text_of("messages"))
        pairs = inputs.pairs.filter(pl.col("p_chosen") != 0.5).join(asked, on="prompt_id").sort("pair_id")
        for side in ("chosen", "rejected"):
            pairs = pairs.join(texts.rename({"completion_id": f"{side}_id", "text": side}), on=f"{side}_id")
        rows = []
        for name, topic in sorted(self.topics.items()):
            if topic.about is None:
                continue
            about = re.compile(topic.about, re.IGNORECASE)
            part = pairs.filter(pl.Series([bool(about.search(text)) for text in pairs["prompt"]], dtype=pl.Boolean))
            if part.is_empty():
                continue
            codes = [
                np.array([STANCES.index(judge.stance(topic, text)) for text in part[side]])
                for side in ("chosen", "rejected")
            ]
            gap = self._drawn(partial(_gap, *codes), part.height, part.height)
            of = Margins(RECORDED, None, part, baseline=True)
            rows.append(row(of, "value_gap", f"topic:{name}", gap.estimate()))
        return rows


def value_gap(chosen: NDArray[np.int64], rejected: NDArray[np.int64]) -> float:
    """Total variation between the stances (numbers into ``STANCES``) of chosen and of rejected answers, (n,) each."""
    shares = [np.bincount(each, minlength=len(STANCES)) / len(each) for each in (chosen, rejected)]
    return total_variation(*shares)


def _by_prompt(found: pl.DataFrame) -> dict[str, list[int]]:
    """For each prompt, how many answers take each stance."""
    counted = found.group_by("prompt_id").agg((pl.col("stance") == stance).sum().alias(stance) for stance in STANCES)
    return {prompt: list(counts) for prompt, *counts in counted.select("prompt_id", *STANCES).iter_rows()}


def _shares(table: Floats) -> Floats:
    """(steps, stances) shares of (steps, prompts, stances) counts."""
    counts = table.sum(axis=1)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float64)


def _drift(table: Floats, place: int, picked: NDArray[np.int64]) -> float:
    return drift(_shares(table[:, picked])[:, place])


def _ends(table: Floats, picked: NDArray[np.int64]) -> float:
    shares = _shares(table[:, picked])
    return total_variation(shares[0], shares[-1])


def _gap(chosen: NDArray[np.int64], rejected: NDArray[np.int64], picked: NDArray[np.int64]) -> float:
    return value_gap(chosen[picked], rejected[picked])
