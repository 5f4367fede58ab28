"""From score tables through training rows to the objectives' losses, and steps that pass numbers on through a kill."""

import itertools

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pref_assets.pairs.schema import DECISIONS, PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import MeanPreference, WinCount
from pref_assets.training.data import training_rows
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives import CRM, GPO, FlipDPO, RankDPO, StepDPO
from pref_assets.training.objectives.kernel import check_columns
from pref_assets.training.policy import train_policy
from pref_assets_tests.scoring.text.pools import text_pool
from pref_assets_tests.training.conftest import Recorder, make_job
from pref_assets_tests.training.objectives.pairs import make_pairs

REWARDS = {"c000": 3.0, "c001": 1.0, "c002": -1.0}


def every_pair() -> Pool:
    """Three answers to one prompt, each pair of them, the better one chosen."""
    pool = text_pool(["q"] * 3)
    sides = [
        {"chosen_id": a, "rejected_id": b, "pair_id": f"p{a[-1]}{b[-1]}"} for a, b in itertools.combinations(REWARDS, 2)
    ]
    others = pool.pairs.head(1).drop("chosen_id", "rejected_id", "pair_id")
    pairs = pl.DataFrame(sides).join(others, how="cross").with_columns(prompt_id=pl.lit("q000"))
    table = PAIR_SCORES.frame(
        {
            "pair_id": each["pair_id"],
            "score": REWARDS[each["chosen_id"]] - REWARDS[each["rejected_id"]],
            "score_chosen": REWARDS[each["chosen_id"]],
            "score_rejected": REWARDS[each["rejected_id"]],
            "p_correct": 0.9,
        }
        for each in sides
    )
    completions = pool.completions.with_columns(prompt_id=pl.lit("q000"))
    return Pool(pairs.select(pool.pairs.columns), completions, scores={"rm": table}, prompts=pool.prompts)


def columns_of(objective, table, turned=""):
    """The objective's columns by pair id, where the selector turned the label of one pair."""
    pool = every_pair()
    decisions = DECISIONS.frame(
        {"pair_id": i, "selected": True, "weight": 1.0, "stage": 1, "p_chosen": float(i != turned)}
        for i in pool.pairs["pair_id"]
    )
    rows = training_rows(
        decisions, pool.pairs, pool.prompts, pool.completions, objective.score_columns(), {"rm": table}
    )
    return {
        i: {each["name"]: each["value"] for each in named} for i, named in rows.select("pair_id", "columns").iter_rows()
    }


def loss(objective, h, columns):
    return float(objective.losses(make_pairs(h / 2, -h / 2, columns=columns)).loss)


@pytest.mark.parametrize("pair_id", ["p01", "p02", "p12"])
def test_rankdpo_reads_win_counts_and_a_turned_label_changes_nothing(pair_id):
    objective, table = RankDPO(scores="rm"), WinCount(scores=["rm"]).score(every_pair())
    here, there = columns_of(objective, table)[pair_id], columns_of(objective, table, turned=pair_id)[pair_id]
    if pair_id == "p01":
        assert here == {"phi_chosen": 1, "phi_rejected": 0.5, "rank_chosen": 1, "rank_rejected": 2}
    assert loss(objective, 3.0, here) == pytest.approx(loss(objective, -3.0, there))
    assert loss(objective, 3.0, here) < loss(objective, -3.0, here)


def test_gpo_reads_mean_preferences():
    objective, table = GPO(scores="rm", beta=1.0), MeanPreference(scores="rm").score(every_pair())
    assert columns_of(objective, table)["p02"] == {"s_chosen": 2.0, "s_rejected": -2.0}
    assert columns_of(objective, table, turned="p02")["p02"] == {"s_chosen": -2.0, "s_rejected": 2.0}
    assert loss(objective, 4.0, {"s_chosen": 2.0, "s_rejected": -2.0}) == 0


def test_how_sure_a_label_is_turns_with_it():
    for objective, name in ((FlipDPO(flips="rm"), "doubt"), (StepDPO(confidence="rm"), "confidence")):
        table = every_pair().scores["rm"]
        assert columns_of(objective, table)["p01"][name] == pytest.approx(0.9)
        assert columns_of(objective, table, turned="p01")["p01"][name] == pytest.approx(0.1)


def test_a_score_without_ranks_is_named():
    counted = WinCount(scores=["rm"]).score(every_pair())
    bare = counted.with_columns(details=pl.lit([], PAIR_SCORES.schema["details"]))
    with pytest.raises(TrainingDataError, match=r"no usable 'rank_chosen' in scores 'rm'.*as rank_chosen"):
        columns_of(RankDPO(scores="rm"), bare)
    with pytest.raises(
        TrainingDataError, match=r"'score_chosen' in scores 'rm', the objective's phi_chosen, is not in"
    ):
        columns_of(RankDPO(scores="rm", weights="gain"), every_pair().scores["rm"])


@pytest.mark.parametrize(
    ("objective", "change", "match"),
    [
        (RankDPO(scores="rm"), {"p_chosen": 0.8}, "soft label: the score decides"),
        (RankDPO(scores="rm"), {"margin": 1.0}, "margin: the score says already"),
        (CRM(), {"p_chosen": 0.5}, "tie: its loss is never below log 2"),
        (FlipDPO(), {"p_chosen": 0.8}, "soft label: the flip probability"),
        (FlipDPO(), {"p_chosen": 0.5}, "tie: it has no label that could be flipped"),
        (StepDPO(confidence="rm"), {"p_chosen": 0.8}, "soft label: `confidence`"),
    ],
)
def test_columns_without_a_place_are_refused(objective, change, match, rows):
    changed = rows.with_columns(**{name: pl.lit(value) for name, value in change.items()})
    with pytest.raises(TrainingDataError, match=match):
        check_columns(changed, objective)
    check_columns(rows, objective)
    if "soft label" in match:
        check_columns(changed, objective.model_copy(update={"soft_labels": False}))


class Killed(BaseException):
    """Ends a run the way a signal does."""


class KilledAfter(Recorder):
    def metrics(self, step, values):
        super().metrics(step, values)
        if step == 5:
            raise Killed


def test_what_steps_pass_on_survives_a_kill(tmp_path, rows, reference, logps):
    objective = {"type": "crm", "noise": 0.4, "ramp_steps": 3}
    weights = []
    for name, kill in (("whole", False), ("parts", True)):
        job = make_job(tmp_path / name, rows, reference, logps, objective=objective)
        if kill:
            with pytest.raises(Killed):
                train_policy(job, KilledAfter())
        result = train_policy(job, Recorder())
        assert bool(result["resumed_from"]) == kill
        weights.append(load_file(f"{result['folder']}/adapter_model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
