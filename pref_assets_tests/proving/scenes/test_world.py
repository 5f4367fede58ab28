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

from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.proving.scenes.annotate import Annotated, annotate, full_reason, hasty_reason, ranking, scores
from pref_assets.proving.scenes.questions import (
    CLAIMS,
    LONG,
    MCQ,
    SAFETY,
    SHORT,
    TYPES,
    Answer,
    Question,
    draw_question,
)
from pref_assets.proving.scenes.scene import COLOURS, FRAMES, SIDE, SQUARE, Scene
from pref_assets.proving.scenes.world import BENCH, FLIPPED, IMAGES, ROWS, TRUTH, UNSAFE, Item, World, write_world
from pref_assets_tests.pairs.build import raw

SCENE = Scene("red", "dark", "cyan", ("top-left", "bottom-right"), ((0, 0), (0, 0), (0, 0), (2, 1)), 16)
RIGHT = {name: SCENE.feature(name) for name in CLAIMS}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return list(World(prompts=300).items())


def test_a_picture_shows_squares_at_their_places_on_a_ground_in_a_frame():
    image = Image.open(io.BytesIO(SCENE.png()))
    assert (image.size, image.mode) == ((SIDE, SIDE), "RGB")
    pixels = image.load()
    assert pixels is not None
    edge = [(x, y) for x in range(SIDE) for y in range(SIDE) if {x, y} & {0, SIDE - 1}]
    assert {pixels[each] for each in edge} == {FRAMES["cyan"]}
    # Five pixels from the frame on; and at the bottom right two further right and one further down.
    squares = [(x, y) for left, top in ((1, 1), (10, 9)) for x in range(left, left + 5) for y in range(top, top + 5)]
    assert {pixels[each] for each in squares} == {COLOURS["red"]}
    rest = {(x, y) for x in range(SIDE) for y in range(SIDE)} - {*edge, *squares}
    assert {pixels[each] for each in rest} == {(16, 16, 16)}
    assert len(rest) == SIDE**2 - 4 * (SIDE - 1) - 2 * SQUARE**2


def test_equal_seeds_give_equal_bytes_and_a_small_world_begins_a_large_one():
    one, other = ([(i.row(), i.scene.png()) for i in World(prompts=n).items()] for n in (20, 40))
    assert one == other[:20]
    assert one != [(i.row(), i.scene.png()) for i in World(prompts=20, seed=1).items()]


def test_every_square_stays_inside_its_frame(items: list[Item]):
    for item in items:
        rows = item.scene.pixels()
        edge = {*rows[0], *rows[-1], *(row[0] for row in rows), *(row[-1] for row in rows)}
        assert edge == {FRAMES[item.scene.frame]}
        squares = sum(pixel == COLOURS[item.scene.colour] for row in rows for pixel in row)
        assert squares == SQUARE**2 * len(item.scene.places)


def test_a_writer_who_never_errs_says_what_is_there_and_one_who_always_does_says_nothing_right():
    for type_ in TYPES:
        question = draw_question(random.Random(0), type_, SCENE)
        right, wrong = (question.draw(random.Random(1), error) for error in (0.0, 1.0))
        assert (right.quality, right.wrong) == (1.0, 0.0)
        assert all(RIGHT[name] in right.text.split() for name in right.claims)
        assert set(wrong.claims.values()) == {False}
        assert wrong.wrong == 1.0
        assert not any(RIGHT[name] in wrong.text.split() for name in wrong.claims)
        assert wrong.seen == right.seen == {name: RIGHT[name] for name in right.claims}


def test_types_are_those_of_mm_rlhfs_rule(items: list[Item]):
    for item in items:
        for answer in item.annotated.answers:
            assert (len(answer.text) > 128) == (item.question.type == LONG)
        assert ("\nA. " in item.question.text and "\nB. " in item.question.text) == (item.question.type == MCQ)
    assert {item.question.type for item in items} == set(TYPES)


def test_help_to_do_harm_is_worse_than_an_error():
    asked = draw_question(random.Random(0), SAFETY, SCENE)
    drawn = [asked.draw(random.Random(seed), 0.5) for seed in range(40)]
    harmless, harmful = ([each for each in drawn if each.harmless is said] for said in (True, False))
    assert min(each.quality for each in harmless) == -1.0 == max(each.quality for each in harmful)
    assert all(each.text.startswith("I cannot help.") for each in harmless)
    assert {scores(each)["ethical"] for each in harmful} == {1}
    assert {scores(each)["helpfulness"] for each in harmful} == {1}


def test_scores_count_faults():
    half = Answer("…", {"colour": True, "frame": False}, {"colour": "red", "frame": "cyan"})
    assert scores(half) == {"faithfulness": 3, "helpfulness": 3, "ethical": 5}
    assert (half.quality, half.verdicts) == (0.0, {"colour": True, "frame": False})
    harmful = Answer("…", {"colour": True}, {"colour": "red"}, harmless=False)
    assert scores(harmful) == {"faithfulness": 5, "helpfulness": 1, "ethical": 1}
    assert harmful.quality == -1.0
    assert list(harmful.verdicts) == ["conduct", "colour"]


def test_reasons():
    said = Answer(
        "…", {"colour": False, "frame": False, "ground": True}, {"colour": "red", "frame": "cyan", "ground": "x"}
    )
    assert full_reason(said) == "red. cyan. x. colour wrong. frame wrong. ground right."
    hasty = Counter(hasty_reason(random.Random(seed), said) for seed in range(500))
    assert set(hasty) == {"wrong.", "colour wrong.", "frame wrong."}
    # A fifth names no fault, and the others either one as often; standard deviations are 9 and 11.
    assert abs(hasty["wrong."] - 100) < 36
    assert abs(hasty["colour wrong."] - 200) < 44
    right = Answer("…", {"colour": True}, {"colour": "red"})
    assert hasty_reason(random.Random(0), right) == "all right."


def test_places_are_shared_by_equals():
    assert ranking([0.0, 1.0, 0.0, -1.0]) == (2, 1, 2, 3)


@pytest.mark.parametrize(("right", "tie_break"), [(True, "negative"), (False, "positive")])
def test_a_tie_of_all_is_broken_by_the_annotator(right: bool, tie_break: str):
    def draw(rng: random.Random, error: float) -> Answer:
        good = (error == 0) if not right else (error < 0.5)
        return Answer(f"{'good' if good else 'bad'} {rng.random()}", {"colour": good}, {"colour": "red"})

    found = annotate(random.Random(0), Question(SHORT, "?", draw), [0.1] * 3, 0.0)
    assert found.tie_break == tie_break
    assert found.places == ((1, 1, 1, 2) if right else (2, 2, 2, 1))


def test_answers_differ_and_reasons_in_a_hurry_name_fewer_faults(items: list[Item]):
    sizes = Counter(len(item.annotated.answers) for item in items)
    assert set(sizes) <= {3, 4, 5}
    assert sizes[4] > sizes[3] > 0
    several = 0
    for item in items:
        found: Annotated = item.annotated
        assert len({answer.text for answer in found.answers}) == len(found.answers)
        for answer, hasty, full in zip(found.answers, found.hasty, found.full, strict=True):
            assert ("wrong" not in full) == (answer.quality == 1) == (hasty == "all right.")
            assert hasty.count("wrong") <= 1 <= len(answer.verdicts)
            several += full.count("wrong") > 1
    assert several > 100


def test_words_alone_do_not_tell_right_from_wrong(items: list[Item]):
    """Of the words for one claim, each is right as often as chance has it."""
    for name, words in CLAIMS.items():
        said = Counter(
            (word, answer.claims[name])
            for item in items
            for answer in item.annotated.answers
            if name in answer.claims
            for word in words
            if word in answer.text.removeprefix("D. ").split()
        )
        shares = [said[word, True] / (said[word, True] + said[word, False]) for word in words]
        assert max(shares) - min(shares) < 0.2


def test_flipped_rows_turn_the_ranking_alone_and_the_truth_says_so():
    true, noisy = (list(World(prompts=200, flipped=share).items()) for share in (0.0, 0.4))
    turned = 0
    for one, other in zip(true, noisy, strict=True):
        first, second = one.row(), other.row()
        if other.annotated.flipped:
            turned += 1
            best = max(first["final_ranking"]) + 1
            # The best answer, which the row repeats, is that of the true ranking in both.
            assert second.pop("final_ranking") == [best - place for place in first.pop("final_ranking")]
        assert first == second
        faults = {fault for row in other.truth() for fault in row["faults"]}
        assert faults == ({FLIPPED} if other.annotated.flipped else set())
    # A binomial's standard deviation is 7.
    assert 50 < turned < 110


def test_the_files_are_read_by_their_reader_and_the_truth_names_the_same_answers(tmp_path: Path):
    from pref_assets.evaluation.heldout import read_truth
    from pref_assets.pairs.media import MediaStore

    write_world(World(prompts=12, bench=8, unsafe=2), tmp_path)
    reasons = {"score_reasons": "reason", "truth_reasons": "truth", "colour_reasons": "colour"}
    source = MmRlhfSource(location=str(tmp_path), image_folder=str(tmp_path / IMAGES), reasons=reasons)
    media = MediaStore(tmp_path / "media")
    rows, bench = (source.read(raw(lines(tmp_path / name)), media) for name in (ROWS, BENCH))
    assert rows.quarantine.is_empty()
    assert bench.quarantine.is_empty()
    truth = read_truth([tmp_path / TRUTH])
    assert set(truth["completion_id"]) == {*rows.completions["completion_id"], *bench.completions["completion_id"]}
    dimensions = {each["dimension"] for said in rows.completions["ratings"] for each in said}
    assert dimensions == {"faithfulness", "helpfulness", "ethical", "overall", "reason", "truth", "colour"}
    unsafe = lines(tmp_path / UNSAFE)
    assert set(zipfile.ZipFile(tmp_path / IMAGES).namelist()) >= {each["image"] for each in unsafe}


def test_what_ships_is_what_the_code_makes(tmp_path: Path):
    shipped = Path(__file__).parents[3] / "pref_assets" / "data" / "scenes"
    write_world(World(), tmp_path)
    for name in (ROWS, BENCH, UNSAFE, TRUTH):
        assert lines(tmp_path / name) == lines(shipped / name)
    made, kept = (zipfile.ZipFile(folder / IMAGES) for folder in (tmp_path, shipped))
    assert {each.filename: each.CRC for each in made.infolist()} == {
        each.filename: each.CRC for each in kept.infolist()
    }


def test_unknown_types_are_refused():
    with pytest.raises(ValidationError, match="video is none of long, short, mcq, safety"):
        World(shares={"video": 1.0})
