"""The scene world: what its pictures show, that every fault is known, what annotators do, and what is written."""

import gzip
import io
import json
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from pref_assets.proving.scenes.annotate import annotate, full_reason, ranking, scores
from pref_assets.proving.scenes.questions import LONG, TYPES, Answer, Fault, Question, draw_question
from pref_assets.proving.scenes.scene import COLOURS, PLACES, SIDE, Scene, Thing
from pref_assets.proving.scenes.world import BENCH, FLIPPED, IMAGES, ROWS, TRUTH, UNSAFE, Item, World, write_world
from pref_assets_tests.pairs.build import raw

RED, BLUE = Thing("red", "square"), Thing("blue", "bar")
SCENE = Scene((RED, None, None, BLUE), ((0, 0), (1, 1), (2, 0), (2, 2)), 16)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return list(World(prompts=300).items())


def test_a_picture_shows_the_things_at_their_places():
    image = Image.open(io.BytesIO(SCENE.png()))
    assert (image.size, image.mode) == ((SIDE, SIDE), "RGB")
    pixels = image.load()
    assert pixels is not None
    assert [pixels[x, y] for x, y in ((0, 0), (5, 5), (6, 6))] == [COLOURS["red"], COLOURS["red"], (16, 16, 16)]
    # The bar is two pixels high, in the middle of its 6 x 6, which begins at (10, 10).
    assert [pixels[10, y] for y in (11, 12, 13, 14)] == [(16,) * 3, COLOURS["blue"], COLOURS["blue"], (16,) * 3]


def test_equal_seeds_give_equal_bytes_and_a_small_world_begins_a_large_one():
    one, other = ([(i.row(), i.scene.png()) for i in World(prompts=n).items()] for n in (20, 40))
    assert one == other[:20]
    assert one != [(i.row(), i.scene.png()) for i in World(prompts=20, seed=1).items()]


def test_a_caption_says_what_is_there_and_each_fault_by_name():
    question = draw_question(random.Random(0), LONG, SCENE)
    right = question.draw(random.Random(0), 0.0)
    for place, said in zip(PLACES, ("a red square", "nothing", "nothing", "a blue bar"), strict=True):
        assert f"At the {place} there is {said}." in right.text
    assert len(right.text) > 128
    # A colour and a shape at two places, and that two are empty.
    assert (right.claims, right.right, right.faults, right.quality) == (6, 6, (), 1.0)
    wrong = question.draw(random.Random(3), 1.0)
    assert wrong.wrong + wrong.right <= wrong.claims
    assert full_reason(wrong) == " ".join(fault.full for fault in wrong.faults)


def test_scores_count_faults():
    faults = (Fault("colour", "Wrong colour.", "At the top-left it is red, not blue."),)
    half = Answer("…", 2, 1, faults)
    assert scores(half) == {"faithfulness": 3, "helpfulness": 3, "ethical": 5}
    assert half.quality == 0.0
    harmful = Answer("…", 2, 2, (Fault("harm", "", ""),))
    assert scores(harmful) == {"faithfulness": 5, "helpfulness": 5, "ethical": 1}
    assert harmful.quality == -1.0


def test_places_are_shared_by_equals():
    assert ranking([0.0, 1.0, 0.0, -1.0]) == (2, 1, 2, 3)


@pytest.mark.parametrize(("right", "tie_break"), [(1, "negative"), (0, "positive")])
def test_a_tie_of_all_is_broken_by_the_annotator(right: int, tie_break: str):
    def draw(rng: random.Random, error: float) -> Answer:
        good = (error == 0) if not right else (error < 0.5)
        return Answer(f"{'good' if good else 'bad'} {rng.random()}", 1, int(good), () if good else (FAULT,))

    found = annotate(random.Random(0), Question("short", "?", draw), [0.1] * 3, 0.0)
    assert found.tie_break == tie_break
    assert found.places == ((1, 1, 1, 2) if right else (2, 2, 2, 1))


FAULT = Fault("colour", "Wrong colour.", "It is red.")


def test_answers_differ_and_reasons_in_a_hurry_name_fewer_faults(items: list[Item]):
    sizes = Counter(len(item.annotated.answers) for item in items)
    assert set(sizes) <= {3, 4, 5}
    assert sizes[4] > sizes[3] > 0
    several = 0
    for item in items:
        texts = [answer.text for answer in item.annotated.answers]
        assert len(set(texts)) == len(texts)
        for answer, hasty, full in zip(item.annotated.answers, item.annotated.hasty, item.annotated.full, strict=True):
            assert (full == "Everything is right.") == (answer.quality == 1) == (hasty in ("All right.", "Good."))
            several += len(answer.faults) > 1
    assert several > 100
    assert {item.question.type for item in items} == set(TYPES)


def test_words_alone_do_not_tell_right_from_wrong():
    """In a row, wrong captions name as many things as right ones: things are made up as often as they are missed."""
    differences = []
    for item in World(prompts=600, shares={LONG: 1.0}).items():
        empty: dict[bool, list[int]] = {True: [], False: []}
        for answer in item.annotated.answers:
            empty[answer.quality == 1].append(answer.text.count("nothing"))
        differences += [wrong - right for right in empty[True] for wrong in empty[False]]
    # The mean of 1,200 differences has a standard deviation of 0.02.
    assert abs(sum(differences) / len(differences)) < 0.06


def test_flipped_rows_turn_the_ranking_alone_and_the_truth_says_so():
    true, noisy = (list(World(prompts=200, flipped=share).items()) for share in (0.0, 0.4))
    turned = 0
    for one, other in zip(true, noisy, strict=True):
        first, second = one.row(), other.row()
        if other.annotated.flipped:
            turned += 1
            best = max(first["final_ranking"]) + 1
            assert second.pop("final_ranking") == [best - place for place in first.pop("final_ranking")]
        assert first == second
        faults = {fault for row in other.truth() for fault in row["faults"]}
        assert faults == ({FLIPPED} if other.annotated.flipped else set())
    # A binomial's standard deviation is 7.
    assert 50 < turned < 110


def test_the_files_are_read_by_their_reader_and_the_truth_names_the_same_answers(tmp_path: Path):
    from pref_assets.evaluation.heldout import read_truth
    from pref_assets.pairs.media import MediaStore
    from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource

    write_world(World(prompts=12, bench=8, unsafe=2), tmp_path)
    reasons = {"score_reasons": "reason", "truth_reasons": "truth"}
    source = MmRlhfSource(location=str(tmp_path), image_folder=str(tmp_path / IMAGES), reasons=reasons)
    media = MediaStore(tmp_path / "media")
    rows, bench = (source.read(raw(lines(tmp_path / name)), media) for name in (ROWS, BENCH))
    assert rows.quarantine.is_empty()
    assert bench.quarantine.is_empty()
    truth = read_truth([tmp_path / TRUTH])
    assert set(truth["completion_id"]) == {*rows.completions["completion_id"], *bench.completions["completion_id"]}
    dimensions = {each["dimension"] for said in rows.completions["ratings"] for each in said}
    assert dimensions == {"faithfulness", "helpfulness", "ethical", "overall", "reason", "truth"}
    unsafe = lines(tmp_path / UNSAFE)
    assert set(zipfile.ZipFile(tmp_path / IMAGES).namelist()) >= {each["image"] for each in unsafe}


def test_unknown_types_are_refused():
    with pytest.raises(ValidationError, match="video is none of long, short, mcq, safety"):
        World(shares={"video": 1.0})
