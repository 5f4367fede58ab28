"""A judge's server that does what a test says, and a pool of pairs with texts to put before it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring import MeasuredScorer


@dataclass
class Reply:
    """What the server sends: a status, a body (text, or the answer of a chat completion), headers, after a delay."""

    answer: str | None = None
    status: int = 200
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    usage: Mapping[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10})

    def text(self) -> str:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.answer}
        return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": self.usage})


@dataclass
class Fake:
    """A running server: its address, the bodies and headers it got and when."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextmanager
def serving(says: Callable[[str, int], Reply | str]) -> Iterator[Fake]:
    """A server on this machine; ``says`` makes the reply of the question and its number, from 0."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(fake.bodies)
                fake.bodies.append(body)
                fake.headers.append(dict(self.headers))
                fake.times.append(time.monotonic())
            assert self.path == "/v1/chat/completions"
            said = says(body["messages"][-1]["content"], number)
            reply = Reply(said) if isinstance(said, str) else said
            time.sleep(reply.delay)
            data = reply.text().encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up, as some tests want
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = Fake(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def endpoint(url: str, **more: Any) -> dict[str, Any]:
    """Settings of an endpoint whose waits are short."""
    return {"url": url, "model": "fake", "backoff_seconds": 0.01, "timeout_seconds": 5.0, **more}


def text_pool(
    rows: list[tuple[str, str]], splits: list[str] | None = None, p_chosen: list[float] | None = None
) -> Pool:
    """Pairs p000, p001, … of (chosen, rejected) texts, each with a prompt of its own."""
    n = len(rows)
    width = max(3, len(str(n - 1)))
    splits = splits or ["train"] * n
    turn = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i:0{width}}", "messages": turn("user", f"Request {i}?"), "images": [], "split": splits[i]}
        for i in range(n)
    )
    completions = COMPLETIONS.frame(
        {"completion_id": f"{side}{i:0{width}}", "prompt_id": f"q{i:0{width}}", "messages": turn("assistant", text)}
        for i, row in enumerate(rows)
        for side, text in zip("cr", row, strict=True)
    )
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:0{width}}",
            "prompt_id": f"q{i:0{width}}",
            "chosen_id": f"c{i:0{width}}",
            "rejected_id": f"r{i:0{width}}",
            "p_chosen": 1.0 if p_chosen is None else p_chosen[i],
            "split": splits[i],
        }
        for i in range(n)
    )
    return Pool(pairs, completions, prompts=prompts)


class Quiet:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.progressed: list[tuple[int, int]] = []

    def log(self, message: str) -> None:
        pass

    def progress(self, done: int, total: int, unit: str) -> None:
        self.progressed.append((done, total))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        pass


def scored(scorer: MeasuredScorer, pool: Pool) -> tuple[pl.DataFrame, dict[str, float]]:
    """The scores of a pool with everything measured now, and what was counted."""
    written: list[pl.DataFrame] = []
    items = scorer.items(pool)
    counted = scorer.measure(items, {}, written.append, Quiet()) if items.height else {}
    return scorer.combine(pool, pl.concat(written) if written else items), counted


def details(scores: pl.DataFrame, name: str) -> list[float | None]:
    """One named detail of every pair, ordered by id."""
    named = pl.col("details").list.filter(pl.element().struct.field("name") == name)
    return scores.sort("pair_id").select(named.list.first().struct.field("value")).to_series().to_list()
