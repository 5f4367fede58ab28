"""Short reasons, scores and places made into whole sentences by stated templates, without a model."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pool import Pool
from pref_assets.scoring.judging.render import check_template, filled
from pref_assets.settings import Settings
from pref_assets.synthesis.critiques.reasons import compared, joined, said

REASONS, RATINGS, NOTHING = "reasons", "ratings", "nothing"
_ENDS = ".!?…。！？\"'”’)]"


class TemplateCritiques(Settings):
    """Expands what annotators said by templates: the offline stand-in for MM-RLHF's expansion by a judge model (Zhang
    et al., arXiv 2502.10391, section 4.1), and named as such. For a model use `expanded`.

    Says each reason word for word, then each score as a strength, a weakness or neither, then the place among the
    answers to the prompt where `rank` asks for it; nothing else. Several annotators' scores of one dimension are
    averaged. ``category``: ``reasons`` (with scores or without), ``ratings`` (only scores or a place), or ``nothing``,
    and then there is no critique.
    """

    type: Literal["template"] = "template"
    dimensions: tuple[str, ...] = Field(default=("reason",), min_length=1)
    """Dimensions of ratings whose rationales count, in the order in which they are said."""
    lead: str = "An annotator remarks: {reason}"
    """How a reason is said."""
    leads: dict[str, str] = Field(default_factory=dict)
    """The same for single dimensions, e.g. `truth: "Compared with the image: {reason}"`."""
    rated: tuple[str, ...] = ("faithfulness", "helpfulness", "ethical")
    """Dimensions whose scores are said, in this order."""
    names: dict[str, str] = Field(default_factory=lambda: {"ethical": "ethical conduct"})
    """What a dimension is called, where not by its name."""
    scale: tuple[float, float] = (1.0, 5.0)
    """Worst and best score; one outside is an error."""
    weak: float = 2.0
    """Scores up to this are weaknesses."""
    strong: float = 4.0
    """Scores from this on are strengths."""
    strength: str = "Its {dimension} is a strength, rated {value} of {best}."
    """How a strength is said."""
    weakness: str = "Its {dimension} is a weakness, rated {value} of {best}."
    """How a weakness is said."""
    neither: str = "Its {dimension} is neither a strength nor a weakness, rated {value} of {best}."
    """How a score between the two is said; empty leaves it out."""
    rank: str | None = None
    """Dimension of ratings whose order gives the place, e.g. `overall`. Null says no place: whoever reads one answer
    alone cannot know it, so a model that learns to write critiques would learn to guess."""
    alone: str = "Of {n} answers to the prompt it takes place {place}."
    """How a place is said."""
    shared: str = "Of {n} answers to the prompt it shares place {place} with others."
    """The same where others are rated alike."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("lead", *self.leads):
            check_template(self.leads.get(name, self.lead), ("reason",))
        for template in (self.strength, self.weakness, *([self.neither] if self.neither else [])):
            check_template(template, ("dimension",))
        for template in (self.alone, self.shared):
            check_template(template, ("place",))
        if unknown := sorted(set(self.leads) - set(self.dimensions)):
            raise ValueError(f"`leads` names {', '.join(unknown)}, which `dimensions` does not")
        worst, best = self.scale
        if not worst <= self.weak < self.strong <= best:
            raise ValueError(
                f"`scale`, `weak` and `strong` must rise: {worst:g}, {self.weak:g}, {self.strong:g}, {best:g}"
            )
        return self

    def critiques(self, pool: Pool) -> pl.DataFrame:
        """``CRITIQUES`` of the compared answers, ordered by id.

        Raises:
            ValueError: a score is outside ``scale``; names the answer.
        """
        asked, reasons = compared(pool), said(pool, self.dimensions)
        told = (
            asked.join(joined(reasons), on="completion_id", how="left", maintain_order="left")
            .join(_listed(reasons, "said"), on="completion_id", how="left", maintain_order="left")
            .join(_listed(self._scores(pool, asked), "scores"), on="completion_id", how="left", maintain_order="left")
            .join(self._places(pool), on="completion_id", how="left", maintain_order="left")
        )
        rows = [self._critique(row) for row in told.iter_rows(named=True)]
        return CRITIQUES.frame(rows)

    def _critique(self, row: Mapping[str, Any]) -> dict[str, Any]:
        reasons = [self._reason(each) for each in row["said"] or ()]
        rest = [*(each for each in map(self._score, row["scores"] or ()) if each), *self._place(row)]
        category = REASONS if reasons else RATINGS if rest else NOTHING
        return {
            "completion_id": row["completion_id"],
            "critique": " ".join([*reasons, *rest]) or None,
            "reasons": row["reasons"],
            "writer": "template",
            "category": category,
        }

    def _reason(self, each: Mapping[str, str]) -> str:
        reason = each["reason"] if each["reason"].endswith(tuple(_ENDS)) else each["reason"] + "."
        return filled(self.leads.get(each["dimension"], self.lead), {"reason": reason})

    def _score(self, each: Mapping[str, Any]) -> str:
        value = each["value"]
        template = self.strength if value >= self.strong else self.weakness if value <= self.weak else self.neither
        name = self.names.get(each["dimension"], each["dimension"])
        return filled(template, {"dimension": name, "value": _number(value), "best": _number(self.scale[1])})

    def _place(self, row: Mapping[str, Any]) -> Iterator[str]:
        if row["place"] is not None:
            template = self.shared if row["alike"] > 1 else self.alone
            yield filled(template, {"place": str(row["place"]), "n": str(row["n"])})

    def _scores(self, pool: Pool, asked: pl.DataFrame) -> pl.DataFrame:
        """Frame (completion_id, dimension, value) of the scores to say, by answer in the order of ``rated``."""
        found = _means(pool, self.rated).join(asked, on="completion_id", how="semi")
        worst, best = self.scale
        if (bad := found.filter(~pl.col("value").is_between(worst, best)).sort("completion_id")).height:
            id_, _, dimension, value = bad.row(0)
            raise ValueError(
                f"{bad.height} scores are outside `scale` {worst:g} to {best:g}, e.g. {dimension} {value:g} of answer "
                f"{id_}; say the scale of these ratings, or take the dimension out of `rated`"
            )
        order = {name: place for place, name in enumerate(self.rated)}
        place = pl.col("dimension").replace_strict(order, return_dtype=pl.Int64)
        return found.select("completion_id", "dimension", "value").sort("completion_id", place)

    def _places(self, pool: Pool) -> pl.DataFrame:
        """Frame (completion_id, place, alike, n): 1 + the answers to the prompt that are rated better, how many are
        rated like this one, itself included, and how many are rated."""
        found = _means(pool, (self.rank,) if self.rank else ())
        same = ("prompt_id", "value")
        return found.select(
            "completion_id",
            place=pl.col("value").rank("min", descending=True).over("prompt_id").cast(pl.Int64),
            alike=pl.len().over(same).cast(pl.Int64),
            n=pl.len().over("prompt_id").cast(pl.Int64),
        )


def _means(pool: Pool, dimensions: tuple[str, ...]) -> pl.DataFrame:
    """Frame (completion_id, prompt_id, dimension, value): mean of the ratings with a number, one row a dimension."""
    rows = pool.completions.select("completion_id", "prompt_id", "ratings").explode("ratings", empty_as_null=False)
    known = rows.drop_nulls("ratings").unnest("ratings").filter(pl.col("dimension").is_in(list(dimensions)))
    numbers = known.filter(pl.col("value").is_finite()).sort("completion_id", "dimension", "value")
    by = ("completion_id", "prompt_id", "dimension")
    return numbers.group_by(by, maintain_order=True).agg(pl.col("value").mean())


def _listed(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """The rows of each answer as a list of structs, in their order."""
    rest = pl.struct(pl.exclude("completion_id"))
    return frame.group_by("completion_id", maintain_order=True).agg(rest.alias(name))


def _number(value: float) -> str:
    """At most two decimals, none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
