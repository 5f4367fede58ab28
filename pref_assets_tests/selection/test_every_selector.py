"""What holds for every selector of the union, also for the one that is added next."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter

from pref_assets.pool import Pool
from pref_assets.selection import Selector, SelectorConfig
from pref_assets_tests import sweep
from pref_assets_tests.selection.invariants import assert_promises

ADAPTER: TypeAdapter = TypeAdapter(SelectorConfig)
Config = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@dataclass(frozen=True)
class Entry:
    """A selector to sweep.

    Attributes:
        config: the smallest valid configuration, without its budget.
        drawn: whether another seed selects other pairs of the known pool, in which no two numbers are equal.
        never: codes of reasons for which a pair is left out though the budget has room.
        refuses: cases that are errors, by name, with words of the message.
        abstains: kinds of spoilt scores that the selector documents as no error.
    """

    config: Config
    drawn: bool = True
    never: frozenset[str] = frozenset()
    refuses: dict[str, str] = field(default_factory=dict)
    abstains: frozenset[str] = frozenset()


def of(*, drawn: bool = True, never: str = "", refuses: Any = None, abstains: str = "", **config: Any) -> Entry:
    return Entry(config, drawn, frozenset(never.split()), refuses or {}, frozenset(abstains.split()))


E: Config = {"embeddings": "planted"}
K: Config = {"scores": "known"}
FACTORS = [{"scores": "known", "column": "p_correct"}, {"scores": "other", "column": "p_win"}]
CLEAN = {"scores_of_zero": "budget of 20 pairs, but only [01] of 80"}
ONE_KIND = {"one_pair": "no train pair has votes both of people and of"}
ENTRIES: dict[str, Entry] = {
    "all": of(drawn=False),
    "random": of(),
    "top_k": of(**K, drawn=False),
    "top_margin": of(**K, drawn=False),
    "band": of(**K, low=0.0, high=0.9, never="above_band"),
    "threshold": of(**K, min=-0.9, never="below_min"),
    "gumbel_top_k": of(**K),
    "stratified": of(by="source"),
    "length_balanced": of(never="unmatched", refuses={"one_pair": "only 0 of 1 train pairs have a partner"}),
    "k_center": of(**E),
    "facility_location": of(**E),
    "deita": of(quality="known", **E, threshold=0.8, drawn=False),
    "distinct": of(**E, threshold=0.9, drawn=False),
    "mates": of(**K),
    "quad": of(clusters="topics", influence={"type": "influence", **E}, batch=4),
    "s2l": of(clusters="topics"),
    "cluster_quota": of(clusters="topics"),
    "adapt_infinity": of(
        clusters="topics",
        scorers=[{"scores": "known"}, {"scores": "other"}],
        prune_in="planted",
        never="pruned",
        refuses={"equal_vectors": "76 of 80 were pruned and 4 are left"},
    ),
    "mm_rlhf_resample": of(clusters="topics", short_of="fill"),
    "attention_ratio": of(
        **K,
        drawn=False,
        abstains="null",
        refuses=dict.fromkeys(("constant_scores", "scores_of_zero"), "say nothing of images"),
    ),
    "add_one_in": of(judge={"type": "quality_novelty", **E, "quality": "known"}),
    "dsir": of(**K),
    "fifa": of(
        margin="known",
        quality="other",
        alpha=0.5,
        neighbours={**E, "k": 3},
        drawn=False,
        refuses={"without_train": "0 train pairs are too few", "one_pair": "1 train pairs are too few"},
    ),
    "product_score_diverse": of(factors=FACTORS, **E, threshold=0.8, drawn=False, refuses=CLEAN),
    "skill_graph": of(**K, drawn=False),
    "mpo_split": of(**K, drawn=False),
    "stages": of(**K, drawn=False),
    "curry": of(**K, stages=1, drawn=False),
    "hybrid_route": of(**E, llm_annotators=["group_2"], runs=20, components=4, drawn=False, refuses=ONE_KIND),
    "reward_variance": of(**K),
    "sequence": of(steps=[{"type": "threshold", **K, "min": -0.9}, {"type": "random"}], never="threshold/below_min"),
    "flip_filter": of(**K, min_p_correct=0.3, never="flipped", refuses=CLEAN),
    "secrets": of(**K),
    "confident_learning": of(**K, never="flipped", refuses=CLEAN),
    "flip_model": of(
        **E,
        action="drop",
        folds=2,
        l2=3,
        l2_flip=1,
        never="flipped",
        refuses={"one_pair": "all 1 train pairs fall into one of 2 folds"},
    ),
    "crm": of(**E, epochs=3, ramp_epochs=2, never="flipped"),
    "relabel_vote": of(scores=["known", "other"], abstains="null", refuses=CLEAN),
    "pair_quality": of(
        flags={"inverted_p": "drop", "identical": "drop"}, **K, never="inverted_p identical", refuses=CLEAN
    ),
}
TYPES = sorted(ENTRIES)


def made(kind: str, budget: Any = None, **more: Any) -> Selector:
    """The selector of the table with this budget, where it has one."""
    config = {"type": kind, **ENTRIES[kind].config}
    given = {} if budget is None else {"budget": budget}
    if "tokens" in str(budget):
        given["counted_by"] = "planted"
    if kind == "sequence":
        config["steps"] = [*config["steps"][:-1], {**config["steps"][-1], **given}]
        given = {}
    return ADAPTER.validate_python({**config, **given, **more})


def budgeted(kind: str) -> bool:
    """Whether the budget can be set."""
    return kind == "sequence" or "budget" in type(bare(kind)).model_fields


def bare(kind: str) -> Selector:
    config = {"type": kind, **ENTRIES[kind].config}
    if kind == "sequence":
        config["steps"] = [
            {**step, **({"budget": "25%"} if step["type"] == "random" else {})} for step in config["steps"]
        ]
    try:
        return ADAPTER.validate_python(config)
    except ValueError:
        return ADAPTER.validate_python({**config, "budget": "25%"})


def some(kind: str, budget: Any = "25%", **more: Any) -> Selector:
    return made(kind, budget if budgeted(kind) else None, **more)


@cache
def known() -> Pool:
    return sweep.known_pool()


def codes(decisions: pl.DataFrame) -> pl.Series:
    return decisions["reason"].str.split(":").list.first()


def outcome(kind: str, case: str, method: Selector, pool: Pool) -> pl.DataFrame | None:
    """Every promise, or the error that the table says ``case`` is."""
    words = ENTRIES[kind].refuses.get(case)
    if words is None:
        return assert_promises(method, pool)
    with pytest.raises(ValueError, match=words) as caught:
        method.select(pool)
    sweep.refused(caught.value)
    return None


def test_every_type_of_the_union_is_swept() -> None:
    assert sweep.types_of(SelectorConfig) == set(ENTRIES)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("budget", [1, 17, "60%"])
def test_promises(kind: str, budget: int | str) -> None:
    decisions = assert_promises(some(kind, budget), known())
    if budgeted(kind) and isinstance(budget, int):
        assert decisions["selected"].sum() == budget


@pytest.mark.parametrize("kind", [kind for kind in TYPES if budgeted(kind)])
def test_a_budget_above_the_pool_is_an_error(kind: str) -> None:
    with pytest.raises(ValueError, match=f"{sweep.TRAIN + 1}") as caught:
        made(kind, sweep.TRAIN + 1).select(known())
    sweep.refused(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if budgeted(kind)])
@pytest.mark.parametrize("tokens", [120, 700])
def test_a_budget_in_tokens_is_filled_and_never_exceeded(kind: str, tokens: int) -> None:
    method, pool = made(kind, f"{tokens} tokens"), known()
    decisions = assert_promises(method, pool)
    bank = pool.embeddings["planted"]
    pairs = pool.pairs.sort("pair_id")
    cost = bank.tokens(pairs["chosen_id"].to_list()) + bank.tokens(pairs["rejected_id"].to_list())
    selected = decisions["selected"].to_numpy()
    left = tokens - int(cost[selected].sum())
    assert left >= 0
    train = decisions["rank"].is_not_null().to_numpy()
    would_fit = decisions.filter(pl.Series(train & ~selected & (cost <= left)))
    assert set(codes(would_fit)) <= ENTRIES[kind].never


@pytest.mark.parametrize("kind", [kind for kind in TYPES if budgeted(kind)])
@pytest.mark.parametrize(("tokens", "words"), [(1, "1 tokens"), (10**6, "1,000,000 tokens")])
def test_tokens_that_fit_nothing_or_more_than_all_are_errors(kind: str, tokens: int, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        made(kind, f"{tokens} tokens").select(known())
    sweep.refused(caught.value)


@pytest.mark.parametrize("kind", TYPES)
def test_without_train_pairs_nothing_is_selected(kind: str) -> None:
    for empty in (sweep.without_train, sweep.nothing):
        decisions = outcome(kind, "without_train", some(kind), empty(known()))
        assert decisions is None or not decisions["selected"].any()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if budgeted(kind)])
def test_without_train_pairs_a_count_is_an_error(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\b[01]\b") as caught:
        made(kind, 1).select(sweep.without_train(known()))
    sweep.refused(caught.value)


@pytest.mark.parametrize("kind", TYPES)
def test_one_pair(kind: str) -> None:
    outcome(kind, "one_pair", some(kind, 1), sweep.one_train(known()))


DEGENERATE: dict[str, tuple[str, Callable[[Pool], Pool]]] = {
    "equal_vectors": ("embeddings", sweep.equal_vectors),
    "zero_vectors": ("embeddings", lambda pool: sweep.equal_vectors(pool, 0.0)),
    "twins": ("embeddings", sweep.twins),
    "constant_scores": ("scores", sweep.constant_scores),
    "scores_of_zero": ("scores", lambda pool: sweep.constant_scores(pool, 0.0)),
    "one_cluster": ("clusters", sweep.one_cluster),
    "lone_clusters": ("clusters", sweep.lone_clusters),
}
CASES = [(kind, case) for case, (stage, _) in DEGENERATE.items() for kind in TYPES if sweep.named(bare(kind), stage)]


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_what_is_all_alike(kind: str, case: str) -> None:
    outcome(kind, case, some(kind), DEGENERATE[case][1](known()))


@pytest.mark.parametrize("kind", TYPES)
def test_a_seed_draws_or_says_nothing(kind: str) -> None:
    found = [some(kind, seed=seed).select(known()).sort("pair_id") for seed in range(4)]
    kept = [frozenset(each.filter("selected")["pair_id"]) for each in found]
    assert (len(set(kept)) > 1) == ENTRIES[kind].drawn


@pytest.mark.parametrize("how", ["missing", "null", "nan", "inf"])
@pytest.mark.parametrize("kind", [kind for kind in TYPES if sweep.named(bare(kind), "scores")])
def test_unusable_scores_are_errors_that_say_how_many_and_which(kind: str, how: str) -> None:
    broken = known().candidates()["pair_id"][5:7].to_list()
    for name in sweep.named(bare(kind), "scores"):
        pool = sweep.spoilt_scores(known(), name, how, broken)
        if how in ENTRIES[kind].abstains:
            assert_promises(some(kind), pool)
            continue
        with pytest.raises(ValueError) as caught:
            some(kind).select(pool)
        sweep.refused(caught.value, count=2, names=broken)
        assert name in str(caught.value)


@pytest.mark.parametrize("how", ["missing", "nan", "inf"])
@pytest.mark.parametrize("kind", [kind for kind in TYPES if sweep.named(bare(kind), "embeddings")])
def test_unusable_vectors_are_errors_that_say_how_many_and_which(kind: str, how: str) -> None:
    broken = known().candidates()["chosen_id"][5:7].to_list()
    for name in sweep.named(bare(kind), "embeddings"):
        with pytest.raises(ValueError) as caught:
            some(kind).select(sweep.spoilt_vectors(known(), name, how, broken))
        sweep.refused(caught.value, count=2, names=broken)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if sweep.named(bare(kind), "clusters")])
def test_pairs_in_no_cluster_are_errors_that_say_how_many_and_which(kind: str) -> None:
    pairs = known().candidates()[5:7]
    chosen = pairs["chosen_id"].to_list()
    for name in sweep.named(bare(kind), "clusters"):
        with pytest.raises(ValueError) as caught:
            some(kind).select(sweep.without_clusters(known(), name, chosen))
        sweep.refused(caught.value, count=2, names=[*chosen, *pairs["pair_id"]])


@pytest.mark.parametrize("what", ["completions", "prompts"])
@pytest.mark.parametrize("kind", TYPES)
def test_missing_texts_are_an_error_where_texts_are_read(kind: str, what: str) -> None:
    pairs, pool = known().candidates()[5:7], known()
    key = "completion_id" if what == "completions" else "prompt_id"
    gone = pairs["chosen_id" if what == "completions" else "prompt_id"].to_list()
    table = getattr(pool, what).filter(~pl.col(key).is_in(gone))
    spoilt = replace(pool, **{what: table})
    try:
        decisions = some(kind).select(spoilt)
    except ValueError as error:
        sweep.refused(error, count=2, names=[*gone, *pairs["pair_id"]])
    else:
        blank = pl.lit([{"role": "user", "content": "A. yes B. no " + "x" * 500}])
        other = getattr(pool, what).with_columns(
            messages=pl.when(pl.col(key).is_in(gone)).then(blank).otherwise("messages")
        )
        assert_frame_equal(some(kind).select(replace(pool, **{what: other})), decisions)  # it reads no text


@pytest.mark.parametrize("kind", TYPES)
def test_the_test_split_decides_nothing(kind: str) -> None:
    decisions = some(kind).select(known())
    assert_frame_equal(some(kind).select(sweep.other_test_split(known())), decisions)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if budgeted(kind) and kind != "sequence"])
def test_the_whole_pool_is_a_budget_unless_a_rule_leaves_pairs_out(kind: str) -> None:
    if ENTRIES[kind].never:
        with pytest.raises(ValueError, match=f"{sweep.TRAIN}"):
            made(kind, "100%").select(known())
    else:
        assert made(kind, "100%").select(known())["selected"].sum() == sweep.TRAIN
