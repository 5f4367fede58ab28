"""What holds for every scorer of the union that needs no model, also for the one that is added next."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import MeasuredScorer, Scorer, ScorerConfig
from pref_assets_tests import sweep
from pref_assets_tests.selection.invariants import shuffled

ADAPTER: TypeAdapter = TypeAdapter(ScorerConfig)
Config = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

MODELS = {
    "attention_ratio",
    "critique_reward",
    "digit_expectation",
    "flr",
    "ifd",
    "implicit_reward",
    "judge",
    "likelihood",
    "reward_model",
    "rollout_reward",
}
"""Types that a model or a server measures; their own tests bring one."""


@dataclass(frozen=True)
class Entry:
    """A scorer to sweep.

    Attributes:
        config: the smallest valid configuration.
        refuses: cases that are errors, by name, with words of the message.
    """

    config: Config
    refuses: dict[str, str] = field(default_factory=dict)


def of(*, refuses: dict[str, str] | None = None, **config: Any) -> Entry:
    return Entry(config, refuses or {})


E: Config = {"embeddings": "planted"}
H: Config = {"reward_model": "heads"}
VOTERS: Config = {
    "longer": {"type": "trait", "trait": "words"},
    "varied": {"type": "trait", "trait": "type_token_ratio"},
}
NO_TRAIN = {"no_pair": "no train pair", "no_train": "no train pair"}
TOO_FEW = dict.fromkeys(("no_pair", "no_train", "one_pair"), "[01] train pairs")
GATE = dict.fromkeys(("no_pair", "no_train", "one_pair", "ties"), "the gate needs 10 labelled train pairs")
ENTRIES: dict[str, Entry] = {
    "reward_ensemble": of(**H),
    "el2n": of(**H),
    "grand": of(**H),
    "head_entropy": of(**H),
    "reward_head": of(reward_model="bt"),
    "ratings": of(weights={"helpfulness": 1.0}),
    "strength": of(),
    "influence": of(**E, refuses=NO_TRAIN),
    "one_step_influence": of(**H, refuses={"no_pair": "measured on the `validation` pairs"}),
    "influence_model": of(probe={"type": "one_step_influence", **H}, probes=40, refuses=TOO_FEW),
    "quantile_reward": of(
        **E,
        target="labels",
        levels=[0.1, 0.5, 0.9],
        folds=2,
        refuses=dict.fromkeys(TOO_FEW, "targets fall into one of 2 folds"),
    ),
    "ref_difficulty": of(reference="planted"),
    "avgout": of(refuses={"no_train": "no answer of the train pairs"}),
    "dsir_weight": of(
        target={"type": "split", "split": "validation"},
        buckets=100,
        refuses={"no_train": "the train texts hold no token"},
    ),
    "knn_entropy": of(**E, k=3, refuses={"no_train": "0 train pairs", "one_pair": "1 train pairs"}),
    "score_product": of(factors=[{"scores": "known", "column": "p_correct"}, {"scores": "other", "column": "p_win"}]),
    "skill_graph": of(**E, min_items=1, refuses={"no_train": "no train pair", "one_pair": "no skill occurs"}),
    "mean_preference": of(scores="known"),
    "win_count": of(scores=["known", "other"], compare="pairs"),
    "criteria_vote": of(voters=VOTERS, gate_pairs=10, keep_at=0.3, replace_at=0.1, refuses=GATE),
    "principle_votes": of(voters=VOTERS, refuses={**NO_TRAIN, "ties": "no train pair has a label"}),
}
TYPES = sorted(ENTRIES)
UNSAID = {"ratings", "strength"}
"""Types that repeat what people said, which is nothing in the known pool."""


@cache
def known() -> Pool:
    return sweep.known_pool()


@cache
def made(kind: str) -> Scorer:
    return ADAPTER.validate_python({"type": kind, **ENTRIES[kind].config})


def scored(kind: str, pool: Pool) -> pl.DataFrame:
    method = made(kind)
    if isinstance(method, MeasuredScorer):
        return method.combine(
            pool, pl.DataFrame({"id": [], "answer": []}, schema={"id": pl.String, "answer": pl.String})
        )
    return method.score(pool)


def assert_scores(kind: str, pool: Pool) -> pl.DataFrame:
    """Asserts that every pair has exactly one row, that no number is NaN or infinite, and that row order is nothing."""
    found = scored(kind, pool)
    assert found.schema == PAIR_SCORES.schema
    assert found["pair_id"].to_list() == pool.pairs["pair_id"].sort().to_list()
    numbers = [*(found[name] for name in sweep.NUMBERS), found["details"].explode().struct.field("value")]
    for each in numbers:
        assert each.drop_nulls().is_finite().all()
    unnamed = found.filter(pl.col("score").is_null() & pl.col("category").is_null())
    assert unnamed.is_empty(), "a missing score says why"
    for seed in range(2):
        assert_frame_equal(scored(kind, shuffled(pool, seed)), found, check_exact=True)
    return found


def outcome(kind: str, case: str, pool: Pool) -> None:
    words = ENTRIES[kind].refuses.get(case)
    if words is None:
        assert_scores(kind, pool)
        return
    with pytest.raises(ValueError, match=words) as caught:
        scored(kind, pool)
    sweep.refused(caught.value)


def test_every_type_of_the_union_is_swept_or_needs_a_model() -> None:
    assert sweep.types_of(ScorerConfig) == set(ENTRIES) | MODELS
    assert not set(ENTRIES) & MODELS


@pytest.mark.parametrize("kind", sorted({*TYPES} - UNSAID))
def test_every_train_pair_has_a_score(kind: str) -> None:
    found = assert_scores(kind, known())
    train = found.filter(pl.col("pair_id").is_in(known().candidates()["pair_id"].to_list()))
    assert train["score"].null_count() == 0
    assert train["score"].n_unique() > 1


CASES: dict[str, Callable[[Pool], Pool]] = {
    "no_pair": sweep.nothing,
    "no_train": sweep.without_train,
    "one_pair": sweep.one_train,
    "equal_vectors": sweep.equal_vectors,
    "zero_vectors": lambda pool: sweep.equal_vectors(pool, 0.0),
    "twins": sweep.twins,
    "constant_scores": sweep.constant_scores,
    "scores_of_zero": lambda pool: sweep.constant_scores(pool, 0.0),
    "ties": lambda pool: replace(pool, pairs=pool.pairs.with_columns(p_chosen=pl.lit(0.5))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", TYPES)
def test_pools_at_the_edge(kind: str, case: str) -> None:
    outcome(kind, case, CASES[case](known()))


def embeddings_of(kind: str) -> list[str]:
    method = made(kind)
    heads = [known().reward_models[name].config.embeddings for name in sweep.named(method, "reward_models")]
    return sorted({*sweep.named(method, "embeddings"), *heads})


@pytest.mark.parametrize("how", ["missing", "nan", "inf"])
@pytest.mark.parametrize("kind", [kind for kind in TYPES if embeddings_of(kind)])
def test_unusable_vectors_are_errors_that_say_how_many_and_which(kind: str, how: str) -> None:
    broken = known().candidates()["chosen_id"][5:7].to_list()
    for name in embeddings_of(kind):
        with pytest.raises(ValueError) as caught:
            scored(kind, sweep.spoilt_vectors(known(), name, how, broken))
        sweep.refused(caught.value, count=2, names=broken)


@pytest.mark.parametrize("how", ["missing", "null", "nan", "inf"])
@pytest.mark.parametrize("kind", [kind for kind in TYPES if sweep.named(made(kind), "scores")])
def test_unusable_scores_are_errors_that_say_how_many_and_which(kind: str, how: str) -> None:
    broken = known().candidates()["pair_id"][5:7].to_list()
    for name in sweep.named(made(kind), "scores"):
        with pytest.raises(ValueError) as caught:
            scored(kind, sweep.spoilt_scores(known(), name, how, broken))
        sweep.refused(caught.value, count=2, names=broken)
        assert name in str(caught.value)


@pytest.mark.parametrize("what", ["completions", "prompts"])
@pytest.mark.parametrize("kind", TYPES)
def test_missing_texts_are_an_error_where_texts_are_read(kind: str, what: str) -> None:
    pairs, pool = known().candidates()[5:7], known()
    key = "completion_id" if what == "completions" else "prompt_id"
    gone = pairs["chosen_id" if what == "completions" else "prompt_id"].to_list()
    hit, table = pl.col(key).is_in(gone), getattr(pool, what)
    try:
        found = scored(kind, replace(pool, **{what: table.filter(~hit)}))
    except ValueError as error:
        sweep.refused(error, count=2, names=[*gone, *pairs["pair_id"]])
    else:
        blank = pl.lit([{"role": "user", "content": "zebra " * 300}])
        other = table.with_columns(messages=pl.when(hit).then(blank).otherwise("messages"))
        assert_frame_equal(scored(kind, replace(pool, **{what: other})), found)  # it reads no text


@pytest.mark.parametrize("kind", TYPES)
def test_the_test_split_decides_no_score_of_another_pair(kind: str) -> None:
    others = known().pairs.filter(pl.col("split") != "test")["pair_id"].to_list()
    found, other = (
        scored(kind, pool).filter(pl.col("pair_id").is_in(others))
        for pool in (known(), sweep.other_test_split(known()))
    )
    assert_frame_equal(other, found)
