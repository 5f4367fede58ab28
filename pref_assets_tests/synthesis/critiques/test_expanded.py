"""Critiques by a model behind a server: what is asked, what is checked, what stands in, and faults on the way."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pairs.media import MediaStore
from pref_assets.pool import Pool
from pref_assets.scoring.judging.answers import ANSWERS
from pref_assets.scoring.judging.client import ServerError
from pref_assets.scoring.measure import measure
from pref_assets.synthesis.critiques import ExpandedCritiques
from pref_assets.training.job import Job
from pref_assets_tests.scoring.judging.server import Quiet, Reply, endpoint, serving
from pref_assets_tests.synthesis.critiques.worlds import pool, rating, row

TEXTS = {"p": "How many dots?", "a": "Three {dots}.", "b": "Four.", "c": "Five."}
WORLD = pool(
    {"a": [rating("reason", rationale="Right."), rating("reason", rationale="Polite.", by="bob")]}
    | {"b": [rating("reason", rationale="Miscounts the red dots.")], "c": [rating("faithfulness", 1)]},
    TEXTS,
)


def writer(url: str, **more: Any) -> ExpandedCritiques:
    return ExpandedCritiques.model_validate({"endpoint": endpoint(url, concurrency=1, retries=0), **more})


def job(method: ExpandedCritiques, world: Pool, folder: Path) -> Job:
    """The job that the asset would give to a child."""
    items = folder / "items.parquet"
    method.items(world).write_parquet(items)
    params = {"key": method.key(world), "sources": {}}
    return Job(
        task="measure",
        home=str(folder / "home"),
        config=method.model_dump(mode="json"),
        inputs={"items": str(items)},
        params=params,
    )


def written(method: ExpandedCritiques, world: Pool, folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The critiques as the asset makes them: measured in a job, read back from the store."""
    counted = measure(job(method, world, folder), Quiet())
    store = Store(Home(folder / "home").store)
    measured = store.read(ANSWERS, method.key(world), method.items(world)["id"])
    return method.combine(world, measured), counted


def test_reasons_are_expanded_and_answers_without_reasons_are_not_asked_about(tmp_path: Path) -> None:
    def says(question: str, number: int) -> str:
        return (
            "It miscounts: the red dots are not as it says." if "Miscounts" in question else "It is right, and polite."
        )

    with serving(says) as server:
        found, counted = written(writer(server.url), WORLD, tmp_path)
    assert row(found, "a") == {
        "completion_id": "a",
        "critique": "It is right, and polite.",
        "reasons": "Polite. Right.",
        "writer": "fake",
        "category": "expanded",
    }
    assert row(found, "b")["category"] == "expanded"
    assert row(found, "c") == {
        "completion_id": "c",
        "critique": None,
        "reasons": None,
        "writer": "fake",
        "category": "silent",
    }
    assert (counted["measured"], counted["requests"]) == (2, 2)
    [asked] = [body for body in server.bodies if "Three" in body["messages"][-1]["content"]]
    assert asked["messages"][0]["role"] == "system"
    said = asked["messages"][-1]["content"]
    assert "<question>\nHow many dots?\n</question>\n\n<answer>\nThree {dots}.\n</answer>" in said
    assert "<notes>\nPolite.\nRight.\n</notes>" in said
    assert found["completion_id"].to_list() == ["a", "b", "c"]


def test_what_breaks_a_rule_is_named_and_the_setting_says_what_stands_in(tmp_path: Path) -> None:
    with serving(lambda question, number: "I cannot do that." if "Miscounts" in question else "") as server:
        found, counted = written(writer(server.url), WORLD, tmp_path)
        again, more = written(writer(server.url, otherwise="nothing"), WORLD, tmp_path)
        lenient, _ = written(writer(server.url, refusals=["no"], kept_words=0), WORLD, tmp_path)
        asked = len(server.bodies)
    assert row(found, "a")["category"] == "empty"
    assert row(found, "b") == {
        "completion_id": "b",
        "critique": "Miscounts the red dots.",
        "reasons": "Miscounts the red dots.",
        "writer": "human",
        "category": "refused",
    }
    assert row(again, "b") == {**row(found, "b"), "critique": None, "writer": "fake"}
    # Rules and what stands in are decided on what the store holds.
    assert row(lenient, "b")["category"] == "expanded"
    assert (counted["measured"], more["measured"], more["reused"], asked) == (2, 0, 2, 2)


def test_a_cut_answer_is_too_long(tmp_path: Path) -> None:
    choice = {"message": {"content": "It is right and polite and"}, "finish_reason": "length"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    with serving(lambda question, number: Reply(body=body)) as server:
        found, _ = written(writer(server.url), WORLD, tmp_path)
    assert row(found, "a")["category"] == "too_long"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(status=500, body="broken"), "status 500"),
        (Reply(status=401, body="who are you"), "status 401"),
        (Reply(body="not json"), "no chat completion"),
    ],
)
def test_a_server_that_fails_loses_nothing_that_it_answered(tmp_path: Path, reply: Reply, says: str) -> None:
    def breaks(question: str, number: int) -> Reply | str:
        return reply if number == 1 else "It is right, polite; it miscounts the red dots."

    with serving(breaks) as server:
        method = writer(server.url)
        with pytest.raises(ServerError, match=rf"{says}.*1 of 2 questions have no answer"):
            measure(job(method, WORLD, tmp_path), Quiet())
        found, counted = written(method, WORLD, tmp_path)
    assert (counted["measured"], counted["reused"], len(server.bodies)) == (1, 1, 3)
    assert found["category"].to_list() == ["expanded", "expanded", "silent"]


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    def busy(question: str, number: int) -> Reply | str:
        return Reply(status=429, body="later", headers={"Retry-After": "0"}) if number == 0 else "Right; polite."

    with serving(busy) as server:
        method = ExpandedCritiques.model_validate({"endpoint": endpoint(server.url, concurrency=1)})
        _, counted = written(method, WORLD, tmp_path)
    assert (counted["requests"], counted["retries"]) == (3, 1)


def picture(folder: Path, size: tuple[int, int]) -> str:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, "PNG")
    return MediaStore(Home(folder / "home").media).put(stream.getvalue())


def with_images(uris: list[str]) -> Pool:
    seen = pl.Series("images", [uris], dtype=pl.List(pl.String))
    return Pool(WORLD.pairs, WORLD.completions, prompts=WORLD.prompts.with_columns(seen))


def test_images_are_sent_as_data_of_a_bounded_size_when_asked_for(tmp_path: Path) -> None:
    world = with_images([picture(tmp_path, (400, 100)), picture(tmp_path, (20, 30))])
    with (
        serving(lambda question, number: "Right; polite; miscounts red dots.") as server,
        Home(tmp_path / "home").current(),
    ):
        unseeing, seeing = writer(server.url), writer(server.url, longest_side=64)
        assert set(unseeing.items(world)["id"]).isdisjoint(seeing.items(world)["id"])
        smaller = writer(server.url, longest_side=32)
        assert set(smaller.items(world)["id"]).isdisjoint(seeing.items(world)["id"])
        found, _ = written(seeing, world, tmp_path)
        written(unseeing, world, tmp_path)
    assert row(found, "a")["category"] == "expanded"
    content = server.bodies[0]["messages"][-1]["content"]
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert [_sent(part).size for part in content[:2]] == [(64, 16), (20, 30)]
    assert _sent(content[0]).getpixel((5, 5)) == pytest.approx((200, 30, 30), abs=4)
    assert all(isinstance(body["messages"][-1]["content"], str) for body in server.bodies[2:])


def _sent(part: dict[str, Any]) -> Image.Image:
    kind, data = part["image_url"]["url"].split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("uri", "says"),
    [("media://" + "0" * 64 + ".png", "not in the media store"), ("http://elsewhere/1.png", "not on this machine")],
)
def test_an_image_that_is_not_there_is_named(tmp_path: Path, uri: str, says: str) -> None:
    with serving(lambda question, number: "Right.") as server, pytest.raises(ValueError, match=says):
        measure(job(writer(server.url, longest_side=64), with_images([uri]), tmp_path), Quiet())
    assert server.bodies == []


def test_the_order_of_rows_does_not_matter() -> None:
    method = writer("http://localhost/v1")
    turned = Pool(WORLD.pairs.reverse(), WORLD.completions.reverse(), prompts=WORLD.prompts)
    assert method.items(WORLD).equals(method.items(turned))


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"no place for \{reasons\}"):
        writer("http://localhost/v1", template="{question} {answer}")
