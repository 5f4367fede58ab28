"""A world in process: its pairs are those of a pipeline, flips turn labels and nothing that is measured, and what the
policy says is held against the scene."""

from pathlib import Path

import polars as pl
import pytest
import yaml

import pref_assets
from pref_assets.proving.scenes.study import EXPANDED, Accuracy, Study, _is_right
from pref_assets.proving.scenes.world import World
from pref_assets.synthesis.critiques.template import TemplateCritiques


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Study]:
    folder = tmp_path_factory.mktemp("study")
    return Study(World(prompts=60), folder), Study(World(prompts=60, flipped=0.5), folder)


def test_labels_say_which_answer_is_better_unless_they_are_flipped(studies: tuple[Study, Study]):
    clean, noisy = studies
    pairs = pl.concat([clean.pairs("train"), clean.pairs("test")])
    assert pairs.height == clean.pool.pairs.height
    assert not pairs["flipped"].any()
    assert set(clean.pairs("test")["prompt_id"]).isdisjoint(clean.pairs("train")["prompt_id"])
    assert 0.2 < float(noisy.pairs("train")["flipped"].mean()) < 0.8  # type: ignore[arg-type]


def test_critiques(studies: tuple[Study, Study]):
    said = studies[0].pool.critiques
    # The template says what annotators noted and scored, and they miss nothing: the truth.
    assert said["expanded"].sort("completion_id")["critique"].equals(said["truth"].sort("completion_id")["critique"])
    assert said["raw"]["critique"].str.len_chars().max() < said["expanded"]["critique"].str.len_chars().max()


def test_critiques_are_expanded_as_in_the_shipped_pipeline():
    text = (Path(pref_assets.__file__).parent / "defs" / "mm_rlhf" / "defs.yaml").read_text()
    assert TemplateCritiques.model_validate(yaml.safe_load(text)["attributes"]["critiques"]["expanded"]) == EXPANDED


def test_accuracy_is_by_the_truth(studies: tuple[Study, Study]):
    for study in studies:
        test = study.pairs("test")
        true = test.select("pair_id", score=pl.col("quality_chosen") - pl.col("quality_rejected"))
        assert study.accuracy(true, test) == Accuracy(1.0, 1.0, test.height)
        assert study.accuracy(true.with_columns(-pl.col("score")), test) == Accuracy(0.0, 0.0, test.height)
        assert study.accuracy(true.with_columns(score=0.0), test) == Accuracy(0.0, 0.0, test.height)
        first = test.sort("pair_id")["pair_id"][0]
        missed = pl.when(pl.col("pair_id") == first).then(None).otherwise("score")
        wrong = study.accuracy(true.with_columns(score=missed), test)
        assert wrong.acc == pytest.approx(1 - 1 / test.height)
        assert wrong.acc_plus == pytest.approx(1 - 1 / test["prompt_id"].n_unique())


def test_answers_are_held_against_the_scene(studies: tuple[Study, Study]):
    for item in studies[0]._items.values():
        for answer in item.annotated.answers:
            assert _is_right(item, answer.text) == (answer.quality == 1)
        assert not _is_right(item, "")
        best = next(answer for answer in item.annotated.answers if answer.quality == 1)
        assert not _is_right(item, f"{best.text} {best.text}")


def test_captions_learn_from_right_answers_alone(studies: tuple[Study, Study], monkeypatch: pytest.MonkeyPatch):
    taught = []
    for study in studies:
        monkeypatch.setattr(study, "_policy", lambda name, ids, settings, reference: taught.append(set(ids)))
        study.caption()
    clean, noisy = taught
    assert noisy < clean
    right = studies[0].pairs("train").filter(pl.col("quality_chosen") == 1)
    assert clean <= set(right["pair_id"])
    assert len(clean) == right["chosen_id"].n_unique()
