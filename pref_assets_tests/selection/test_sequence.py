from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from pref_assets.pipeline.spec_errors import SpecError, parse_spec
from pref_assets.pipeline.yaml_marks import parse
from pref_assets.pool import Pool
from pref_assets.selection import Budget, KCenter, Random, Selector, SelectorConfig, Sequence, TopK
from pref_assets.selection.base import decide
from pref_assets.settings import Reference
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected
from pref_assets_tests.selection.rich_pools import rich_pool

ADAPTER: TypeAdapter[Any] = TypeAdapter(SelectorConfig)
FILTER = {"type": "threshold", "scores": "strength", "min": 0}
RANK = {"type": "top_k", "scores": "strength", "budget": "50%"}
DIVERSIFY = {"type": "k_center", "embeddings": "minilm", "budget": 5}


def sequence(*steps: Any, **more: Any) -> Sequence:
    return ADAPTER.validate_python({"type": "sequence", "steps": list(steps), **more})


def test_filter_then_rank_then_diversify() -> None:
    pool = rich_pool()
    decisions = assert_promises(sequence(FILTER, RANK, DIVERSIFY), pool)
    passing = pool.scored("strength").filter(pl.col("score") >= 0)
    half = passing.sort("score", descending=True).head(round(0.5 * len(passing)))
    assert len(selected(decisions)) == 5
    assert set(selected(decisions)) <= set(half["pair_id"])
    codes = decisions.group_by(pl.col("reason").str.split(":").list.first()).len().sort("reason").rows()
    assert codes == [
        ("held_out", 4),
        ("k_center/covered", len(half) - 5),
        ("k_center/selected", 5),
        ("threshold/below_min", 60 - len(passing)),
        ("top_k/below_cut", len(passing) - len(half)),
    ]
    order = decisions.drop_nulls("rank").sort("rank")["reason"].str.split("/").list.first().to_list()
    assert order == sorted(order, key=["k_center", "top_k", "threshold"].index)
    alone = KCenter(embeddings="minilm", budget=5).select(pool.only([*half["pair_id"]]))
    assert selected(alone) == selected(decisions)


def test_one_step_is_that_step() -> None:
    pool = rich_pool()
    alone, wrapped = TopK(scores="strength", budget=7).select(pool), sequence({**RANK, "budget": 7}).select(pool)
    assert wrapped.drop("reason").equals(alone.drop("reason"))
    held_out = pl.col("reason") == "held_out"
    assert wrapped.filter(~held_out)["reason"].to_list() == [
        f"top_k/{reason}" for reason in alone.filter(~held_out)["reason"]
    ]


def test_its_seed_moves_every_step() -> None:
    pool = rich_pool()
    two = sequence({"type": "random", "budget": 10, "seed": 3}, seed=2).select(pool)
    assert selected(two) == selected(Random(budget=10, seed=5).select(pool))
    assert selected(sequence({"type": "random", "budget": 10}).select(pool)) != selected(two)


class Marks(Selector):
    """Keeps everything, with a weight, and what else it is told."""

    weight: float = 1.0
    stages: int = 1
    p_chosen: float | None = None
    margin: float | None = None

    def select(self, pool: Pool) -> pl.DataFrame:
        order = pool.candidates().select("pair_id").with_row_index()
        return decide(
            pool,
            order.select(
                "pair_id",
                selected=pl.lit(value=True),
                reason=pl.lit("selected"),
                weight=pl.lit(self.weight),
                stage=(pl.col("index") % self.stages + 1).cast(pl.Int64),
                p_chosen=pl.lit(self.p_chosen, pl.Float64),
                margin=pl.lit(self.margin, pl.Float64),
            ),
        )


class MarksStep(Marks):
    type: str = "marks"


def test_weights_multiply_and_labels_margins_and_stages_carry_on() -> None:
    steps = [
        MarksStep(weight=0.5, stages=2, p_chosen=0.2, margin=1.5),
        MarksStep(weight=3.0, p_chosen=0.9),
        TopK(scores="strength", budget=3),
    ]
    kept = Sequence.model_construct(steps=steps, seed=0).select(make_pool([4.0, 3.0, 2.0, 1.0])).filter("selected")
    assert kept["weight"].to_list() == [1.5] * 3
    assert kept["p_chosen"].to_list() == [0.9] * 3
    assert kept["margin"].to_list() == [1.5] * 3
    assert kept["stage"].to_list() == [1, 2, 1]
    assert kept["score"].to_list() == [4.0, 3.0, 2.0]
    last = Sequence.model_construct(steps=[*steps, MarksStep(stages=3)], seed=0).select(make_pool([4.0, 3.0, 2.0, 1.0]))
    assert last.filter("selected")["stage"].to_list() == [1, 2, 3]


def test_every_step_sees_the_held_out_pairs() -> None:
    class Counts(MarksStep):
        def select(self, pool: Pool) -> pl.DataFrame:
            assert pool.pairs.filter(pl.col("split") == "test").height == 4
            return super().select(pool)

    Sequence.model_construct(steps=[Counts(), TopK(scores="strength", budget=3), Counts()], seed=0).select(rich_pool())


@pytest.mark.parametrize(
    ("steps", "budget", "of_100"),
    [
        ([RANK, DIVERSIFY], "50%, then 5", 5),
        ([RANK, {**DIVERSIFY, "budget": "10%"}], "50%, then 10%", 5),
        ([FILTER, DIVERSIFY], 5, 5),
        ([FILTER, RANK], None, None),
        ([RANK, FILTER], None, None),
    ],
)
def test_its_budget_where_the_steps_say_so(steps: list[Any], budget: Any, of_100: int | None) -> None:
    found = sequence(*steps).budget
    assert (found.text() if found else None) == budget
    assert (found.resolve(100) if found else None) == of_100
    assert found is None or isinstance(found, Budget)


def test_a_step_that_may_stop_short_makes_no_promise() -> None:
    short = {"type": "deita", "quality": "strength", "embeddings": "minilm", "budget": "50%", "fill": False}
    assert sequence(short, {"type": "random", "budget": "50%"}).budget is None
    assert sequence({"type": "random", "budget": "50%"}, short).fill is False
    assert sequence(short, {"type": "random", "budget": 3}).fill is True


def test_sequences_nest() -> None:
    pool = rich_pool()
    flat = sequence(FILTER, RANK, DIVERSIFY).select(pool)
    nested = sequence({"type": "sequence", "steps": [FILTER, RANK]}, DIVERSIFY).select(pool)
    assert nested.drop("reason").equals(flat.drop("reason"))
    assert nested["reason"].str.contains("^sequence/threshold/below_min").any()


def test_an_error_names_the_step() -> None:
    with pytest.raises(ValueError, match=r"sequence: step 2 of 2 \(k_center\), which 2 pairs reach: budget of 5 pairs"):
        sequence({**RANK, "budget": 2}, DIVERSIFY).select(rich_pool())


def test_what_the_steps_read_are_references() -> None:
    assert sequence(FILTER, RANK, DIVERSIFY).references() == [
        Reference(("steps", 0, "scores"), "scores", "strength"),
        Reference(("steps", 1, "scores"), "scores", "strength"),
        Reference(("steps", 2, "embeddings"), "embeddings", "minilm"),
    ]


FILE = """\
attributes:
  name: small
  sources:
    mine: {type: trl, location: data}
  embeddings:
    minilm: {type: sentence_transformer}
  reward_models:
    ensemble: {type: bradley_terry, embeddings: minilm}
  scores:
    strength: {type: reward_ensemble, reward_model: ensemble}
  subsets:
    diverse:
      type: sequence
      steps:
        - type: threshold
          scores: strength
          min: 0
        - {type: top_k, scores: strength, budget: 50%}
        - type: k_center
          embeddings: minilm
          budget: 5
"""


def errors(text: str) -> list[str]:
    (document,) = parse(text)
    try:
        spec = parse_spec(document.value["attributes"], document.mark.at(["attributes"]), Path.cwd() / "defs.yaml")
    except SpecError as error:
        return error.errors
    assert spec.reads(spec.subsets["diverse"])["embeddings"] == ["minilm"]
    return []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "embeddings: minilm\n          budget",
            "embeddings: minlm\n          budget",
            "defs.yaml:20: subsets.diverse.steps.2.embeddings: no embeddings named 'minlm'; known: minilm "
            "(did you mean 'minilm'?)",
        ),
        (
            "scores: strength\n          min",
            "scores: strenght\n          min",
            "defs.yaml:16: subsets.diverse.steps.0.scores: no scores named 'strenght'",
        ),
        (
            "type: k_center",
            "type: k_centre",
            "defs.yaml:19: subsets.diverse.steps.2.type: unknown type 'k_centre'; allowed: ",
        ),
        (
            "          embeddings: minilm\n          budget",
            "          budget",
            "defs.yaml:19: subsets.diverse.steps.2.embeddings: this field is required: Embeddings in which pairs",
        ),
        (
            "budget: 5\n",
            "budjet: 5\n",
            "defs.yaml:21: subsets.diverse.steps.2.budjet: unknown field; allowed: ",
        ),
        (
            "budget: 50%}",
            "budget: 0%}",
            "defs.yaml:18: subsets.diverse.steps.1.budget: a budget share lies in (0 %, 100",
        ),
    ],
)
def test_errors_inside_a_step_name_their_line(old: str, new: str, expected: str) -> None:
    assert errors(FILE) == []
    assert old in FILE
    found = errors(FILE.replace(old, new))
    assert any(each.startswith(expected) for each in found), found
