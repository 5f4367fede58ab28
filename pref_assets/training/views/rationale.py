"""Why the chosen answer is the better one: said by raters, or put into words from the ratings of both."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import polars as pl

from pref_assets.pairs.texts import prompt_text
from pref_assets.training.data import PAIR_NAMED_TEXTS
from pref_assets.training.views.parts import Messages, draws

RationaleKind = Literal["votes", "general", "specific", "detailed"]
NAME = "rationale"


def rationales(rows: pl.DataFrame, pairs: pl.DataFrame, completions: pl.DataFrame, kind: RationaleKind) -> pl.DataFrame:
    """Rationales of pairs, as ``PAIR_NAMED_TEXTS``; pairs of which nothing is known are left out.

    Args:
        rows: ``TRAINING_ROWS``; sides that trade places take the rationales of the other choice.
        pairs: with ``votes``.
        completions: with ``ratings``.
        kind: ``votes``: what voters for the chosen side wrote, each once. The others are templates over the mean
            rating of each dimension that both sides have: ``general`` names the dimensions on which the chosen side
            is ahead, ``specific`` gives the figures and says where it is behind, ``detailed`` adds what raters wrote.
    """
    if kind == "votes":
        found = _from_votes(rows, pairs)
    else:
        ids = pl.concat([rows["chosen_id"], rows["rejected_id"]]).unique()
        rated = completions.filter(pl.col("completion_id").is_in(ids.implode()))
        ratings = dict(rated.select("completion_id", "ratings").iter_rows())
        found = {
            pair: _template(ratings.get(chosen) or (), ratings.get(rejected) or (), kind)
            for pair, chosen, rejected in rows.select("pair_id", "chosen_id", "rejected_id").iter_rows()
        }
    named = [(pair, NAME, text) for pair, text in found.items() if text]
    return pl.DataFrame(named, schema=PAIR_NAMED_TEXTS, orient="row")


def _from_votes(rows: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, str]:
    swapped = dict(rows.select("pair_id", pl.col("swapped").fill_null(False)).iter_rows())
    known = pairs.filter(pl.col("pair_id").is_in(rows["pair_id"].implode())).select("pair_id", "votes")
    found = {}
    for pair, votes in known.iter_rows():
        choice = "rejected" if swapped[pair] else "chosen"
        said = [vote["rationale"].strip() for vote in votes or () if vote["choice"] == choice and vote["rationale"]]
        found[pair] = "\n".join(dict.fromkeys(each for each in said if each))
    return found


def _template(chosen: Iterable[Mapping[str, Any]], rejected: Iterable[Mapping[str, Any]], kind: RationaleKind) -> str:
    """The rationale, or nothing where the chosen side is ahead nowhere."""
    means = [_means(ratings) for ratings in (chosen, rejected)]
    both = [name for name in means[0] if name in means[1]]
    ahead = [name for name in both if means[0][name] > means[1][name]]
    if not ahead:
        return ""
    if kind == "general":
        return f"The better answer is ahead on {_listed(ahead)}."

    def figures(names: list[str]) -> str:
        return _listed([f"{name} ({means[0][name]:g} against {means[1][name]:g})" for name in names])

    text = f"The better answer is ahead on {figures(ahead)}."
    if behind := [name for name in both if means[0][name] < means[1][name]]:
        text += f" It is behind on {figures(behind)}."
    if kind == "specific":
        return text
    return "\n".join([text, *_written("better", chosen), *_written("other", rejected)])


def _means(ratings: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean rating by dimension, in order of name."""
    values: dict[str, list[float]] = defaultdict(list)
    for rating in ratings:
        if rating["value"] is not None:
            values[rating["dimension"]].append(rating["value"])
    return {name: sum(values[name]) / len(values[name]) for name in sorted(values)}


def _written(which: str, ratings: Iterable[Mapping[str, Any]]) -> list[str]:
    said = [(each["dimension"], each["rationale"].strip()) for each in ratings if (each["rationale"] or "").strip()]
    return [f"The {which} answer, {dimension}: {text}" for dimension, text in sorted(set(said))]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def asked_why(prompt: Messages, chosen: Messages, rejected: Messages, seed: int, name: str) -> list[dict[str, str]]:
    """A conversation that shows a prompt and both answers, says which is the better and asks why; which comes first
    is drawn, so that the place of an answer tells nothing."""
    first = draws(seed, "rationale", name).randrange(2)
    answers = [prompt_text(each) for each in ((chosen, rejected) if first == 0 else (rejected, chosen))]
    content = (
        f"Conversation:\n{prompt_text(prompt)}\n\nAnswer 1:\n{answers[0]}\n\nAnswer 2:\n{answers[1]}\n\n"
        f"Answer {first + 1} is the better one. Why?"
    )
    return [{"role": "user", "content": content}]
