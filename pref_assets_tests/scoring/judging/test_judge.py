"""The judge: both orders, position bias, nonsense, and what is not asked."""

import base64
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter, ValidationError

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pool import Pool
from pref_assets.scoring import Judge, ScorerConfig
from pref_assets.scoring.judging.client import ServerError
from pref_assets.scoring.measure import measure
from pref_assets.training.job import Job
from pref_assets_tests.scoring.judging.server import Quiet, Reply, details, endpoint, scored, serving, text_pool
from pref_assets_tests.selection.invariants import shuffled

ROWS = [("good one", "bad one"), ("bad two", "good two"), ("good three", "good three too"), ("bad {first}", "bad four")]


def judge(url: str = "http://localhost:1/v1", **more: Any) -> Judge:
    server = endpoint(url, **more.pop("endpoint", {}))
    return TypeAdapter(ScorerConfig).validate_python({"type": "judge", "endpoint": server, **more})


def answers(question: str) -> tuple[str, str]:
    """The answers shown as A and as B."""
    first = question.split("<answer_a>\n")[1].split("\n</answer_a>")[0]
    return first, question.split("<answer_b>\n")[1].split("\n</answer_b>")[0]


def fair(question: str, number: int) -> str:
    first, second = answers(question)
    good = first.startswith("good"), second.startswith("good")
    return "[[C]]" if good[0] == good[1] else "[[A]]" if good[0] else "[[B]]"


def test_a_fair_judge_says_the_same_in_both_orders() -> None:
    with serving(fair) as fake:
        scores, counted = scored(judge(fake.url), text_pool(ROWS))
    assert scores["score"].to_list() == [1.0, -1.0, 0.0, 0.0]
    assert scores["category"].to_list() == ["consistent"] * 4
    assert details(scores, "first_order") == [1, -1, 0, 0]
    assert details(scores, "agree") == [1, 1, 1, 1]
    assert details(scores, "first_position") == [0.5, 0.5, None, None]
    assert counted["requests"] == 8
    assert counted["unparsable"] == 0
    assert counted["first_position_share"] == 0.5
    asked = sorted(answers(question) for question in fake.questions())
    assert asked == sorted([*ROWS, *(row[::-1] for row in ROWS)])


def test_a_judge_that_likes_the_first_place_is_found_out() -> None:
    with serving(lambda question, number: "[[A]]") as fake:
        scores, counted = scored(judge(fake.url), text_pool(ROWS))
    assert scores["score"].to_list() == [0.0] * 4
    assert scores["category"].to_list() == ["position"] * 4
    assert details(scores, "first_position") == [1.0] * 4
    assert counted["first_position_share"] == 1.0


def test_a_win_and_a_tie_are_half_a_win() -> None:
    with serving(lambda question, number: "[[A]]" if answers(question)[0] == "good" else "[[C]]") as fake:
        scores, _ = scored(judge(fake.url), text_pool([("good", "bad")]))
    assert scores["score"].to_list() == [0.5]
    assert scores["category"].to_list() == ["position"]
    assert details(scores, "first_position") == [1.0]


def test_nonsense_is_counted_and_scores_nothing() -> None:
    def says(question: str, number: int) -> str:
        return "" if answers(question)[0] == "good one" else fair(question, number)

    with serving(says) as fake:
        scores, counted = scored(judge(fake.url), text_pool(ROWS))
    assert scores["score"].to_list() == [None, -1.0, 0.0, 0.0]
    assert scores["category"].to_list() == ["unparsable", "consistent", "consistent", "consistent"]
    assert details(scores, "agree")[0] is None
    assert counted["unparsable"] == 1
    pool = text_pool(ROWS)
    judged = Pool(pool.pairs, pool.completions, {"judged": scores})
    with pytest.raises(ValueError, match="1 of 4 train pairs have no usable 'score' in scores 'judged'"):
        judged.scored("judged")


def test_nothing_but_nonsense_has_no_share() -> None:
    with serving(lambda question, number: "as an AI, I like both") as fake:
        scores, counted = scored(judge(fake.url), text_pool(ROWS))
    assert set(scores["category"]) == {"unparsable"}
    assert scores["score"].null_count() == 4
    assert counted["unparsable"] == 8
    assert "first_position_share" not in counted


def test_pairs_across_prompts_and_with_images_are_not_asked() -> None:
    pool = text_pool(ROWS[:3])
    pairs = pool.pairs.with_columns(prompt_id=pl.when(pl.col("pair_id") != "p000").then("prompt_id"))
    prompts = pool.prompts.with_columns(
        images=pl.when(pl.col("prompt_id") == "q001").then(pl.lit(["a.png"])).otherwise("images")
    )
    with serving(fair) as fake:
        scores, _ = scored(judge(fake.url), Pool(pairs, pool.completions, prompts=prompts))
    assert scores["category"].to_list() == ["across_prompts", "images", "consistent"]
    assert scores["score"].to_list() == [None, None, 0.0]
    assert len(fake.bodies) == 2


def test_a_judge_that_sees_is_shown_the_image_before_the_question(tmp_path: Path) -> None:
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.png")
    pool = text_pool(ROWS[:2])
    shown = pl.when(pl.col("prompt_id") == "q001").then(pl.lit([str(tmp_path / "a.png")])).otherwise("images")
    pool = Pool(pool.pairs, pool.completions, prompts=pool.prompts.with_columns(images=shown))
    with serving(lambda _, number: "[[A]]") as fake:
        seeing = judge(fake.url).model_copy(update={"longest_side": 64})
        scores, _ = scored(seeing, pool)
    assert scores["category"].to_list() == ["position", "position"]
    contents = [body["messages"][-1]["content"] for body in fake.bodies]
    texts, pictured = ([each for each in contents if isinstance(each, kind)] for kind in (str, list))
    assert (len(texts), len(pictured)) == (2, 2)
    for image, text in pictured:
        head, _, data = image["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (64, 16)
        assert text["type"] == "text"
        assert "<request>" in text["text"]


def test_long_texts_lose_their_middle() -> None:
    with serving(fair) as fake:
        scored(judge(fake.url, max_characters=5), text_pool([("good" + "x" * 50 + "end", "bad")]))
    assert {answers(question) for question in fake.questions()} == {("goo […] nd", "bad"), ("bad", "goo […] nd")}


def test_a_template_needs_its_places_and_says_what_it_says() -> None:
    with pytest.raises(ValidationError, match=r"the template has no place for \{second\}"):
        judge(template="{prompt} {first}")
    with serving(lambda question, number: "[[A]]") as fake:
        scored(judge(fake.url, template="{prompt}|{first}|{second}", instructions=""), text_pool(ROWS[3:]))
    assert [len(body["messages"]) for body in fake.bodies] == [1, 1]
    assert sorted(fake.questions()) == ["Request 0?|bad four|bad {first}", "Request 0?|bad {first}|bad four"]


def test_scores_do_not_depend_on_row_order_or_on_who_answers_first() -> None:
    pool = text_pool(ROWS)

    def slow(question: str, number: int) -> Reply:
        return Reply(fair(question, number), delay=0.02 * (number % 3))

    with serving(fair) as fake:
        scores, _ = scored(judge(fake.url, endpoint={"concurrency": 1}), pool)
    with serving(slow) as fake:
        again, _ = scored(judge(fake.url, endpoint={"concurrency": 8}), shuffled(pool, 1))
    assert_frame_equal(scores, again)
    assert_frame_equal(judge().items(pool), judge().items(shuffled(pool, 2)))


def test_equal_questions_are_asked_once() -> None:
    pool = text_pool([("same", "same")])
    with serving(fair) as fake:
        scores, _ = scored(judge(fake.url), pool)
    assert len(fake.bodies) == 1
    assert scores["score"].to_list() == [0.0]


def test_through_the_store_every_question_is_asked_once_for_ever(tmp_path: Path) -> None:
    def job(scorer: Judge, pool: Pool) -> Job:
        path = tmp_path / f"{scorer.digest()}-{pool.pairs.height}.parquet"
        scorer.items(pool).write_parquet(path)
        return Job(
            task="measure",
            home=str(tmp_path),
            config=scorer.model_dump(mode="json"),
            inputs={"items": str(path)},
            params={"key": scorer.key(pool), "sources": {}},
        )

    with serving(fair) as fake:
        scorer = judge(fake.url)
        first = measure(job(scorer, text_pool(ROWS[:2])), Quiet())
        assert (first["measured"], first["reused"], first["requests"]) == (4, 0, 4)
        # Two further pairs, another address, another parser of verdicts: only what is new is asked.
        moved = scorer.model_copy(update={"endpoint": scorer.endpoint.model_copy(update={"retries": 1})})
        more = measure(job(moved, text_pool(ROWS)), Quiet())
        assert (more["measured"], more["reused"]) == (4, 4)
        again = measure(job(scorer, text_pool(ROWS)), Quiet())
        assert (again["measured"], again["reused"]) == (0, 8)
        assert len(fake.bodies) == 8
        other = measure(job(scorer.model_copy(update={"instructions": "Be strict."}), text_pool(ROWS)), Quiet())
        assert other["measured"] == 8
    pool = text_pool(ROWS)
    known = Store(Home(tmp_path).store).read(Judge.kind, scorer.key(pool), scorer.items(pool)["id"])
    assert scorer.combine(pool, known)["score"].to_list() == [1.0, -1.0, 0.0, 0.0]


def test_a_server_that_dies_half_way_keeps_what_it_said(tmp_path: Path) -> None:
    def dying(question: str, number: int) -> Reply | str:
        return fair(question, number) if number < 3 else Reply(status=503, body="shutting down")

    written: list[pl.DataFrame] = []
    with serving(dying) as fake:
        scorer = judge(fake.url, endpoint={"concurrency": 1, "retries": 0})
        items = scorer.items(text_pool(ROWS))
        with pytest.raises(ServerError, match=r"status 503: shutting down.*5 of 8 questions"):
            scorer.measure(items, {}, written.append, Quiet())
    assert pl.concat(written).height == 3


def test_an_empty_pool_has_no_questions_and_no_scores() -> None:
    scores, _ = scored(judge(), text_pool([]))
    assert scores.is_empty()
