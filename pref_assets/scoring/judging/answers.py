"""Many questions to a server: each asked once, its answer kept in the store."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.schema import MESSAGES, content_id
from pref_assets.scoring.base import Write
from pref_assets.scoring.judging.client import Answer, Client, Messages, ServerError
from pref_assets.scoring.judging.endpoint import Asking, Endpoint
from pref_assets.scoring.judging.pictures import wire, with_pictures
from pref_assets.training.job import Reporter

ANSWERS = "answers"
"""Table of the store with every answer of every judge; what an answer means is read anew each time."""
QUESTIONS = pl.Schema([("id", pl.String()), ("messages", MESSAGES), ("draw", pl.Int64())])
"""Questions: ``id`` hashes the conversation and ``draw``, the how-manieth time it is asked (from 0)."""
ROUNDS = 16
"""Answers of each thread that are written together; a kill loses no more."""


def question_id(messages: Messages, draw: int = 0) -> str:
    """Id of a question: what is said and the how-manieth time."""
    return content_id("question", [[turn["role"], turn["content"]] for turn in messages], draw)


def conversation(
    instructions: str, question: str, images: Iterable[str] = (), longest_side: int | None = None
) -> list[dict[str, str]]:
    """The turns of a question; the first is the system's unless there are no instructions. Images stand in front of
    the question, none with a longer side than ``longest_side`` pixels; null: without them."""
    system = [{"role": "system", "content": instructions}] if instructions else []
    return [*system, with_pictures(question, images if longest_side else (), longest_side or 0)]


def questions(asked: Iterable[tuple[str, Messages, int]]) -> pl.DataFrame:
    """``QUESTIONS``, each once and ordered by id, of (id, messages, draw)."""
    rows = {id_: {"id": id_, "messages": list(messages), "draw": draw} for id_, messages, draw in asked}
    return pl.DataFrame([rows[id_] for id_ in sorted(rows)], schema=QUESTIONS)


def ask_all(
    endpoint: Endpoint, asking: Asking, items: pl.DataFrame, write: Write, report: Reporter
) -> dict[str, float]:
    """Asks every question (``QUESTIONS``) and hands the answers to ``write`` as (id, answer, finish, prompt_tokens,
    completion_tokens). Images in questions are those of the current home.

    Returns:
        ``requests``, ``retries``, ``prompt_tokens``, ``completion_tokens`` and ``cost``.

    Raises:
        ServerError: a question had no answer after all retries, was refused, or ``max_cost`` is spent. The message
            names the endpoint and how many questions are left; the answers so far were written.
        SightError: an image of a question is not there or cannot be opened.
    """
    done, media = 0, MediaStore(Home.default().media)

    def ask(messages: Messages, draw: int) -> Answer:
        return client.ask(wire(messages, media), draw)

    with Client(endpoint, asking) as client, ThreadPoolExecutor(endpoint.concurrency) as threads:
        for chunk in items.iter_slices(endpoint.concurrency * ROUNDS):
            futures = {
                id_: threads.submit(ask, messages, draw)
                for id_, messages, draw in chunk.select("id", "messages", "draw").iter_rows()
            }
            wait(futures.values())
            answered = {id_: future.result() for id_, future in futures.items() if future.exception() is None}
            if answered:
                write(answer_rows(answered))
            done += len(answered)
            report.progress(done, items.height, "questions")
            _raise_first(futures.values(), done, items.height)
    return client.counts


def answer_rows(answers: dict[str, Answer]) -> pl.DataFrame:
    """Rows of the ``answers`` table of the store from answers by the ids of their questions."""
    rows = [(id_, each.text, each.finish, each.prompt_tokens, each.completion_tokens) for id_, each in answers.items()]
    names = {"answer": pl.String, "finish": pl.String, "prompt_tokens": pl.Int64, "completion_tokens": pl.Int64}
    return pl.DataFrame(rows, schema={"id": pl.String, **names}, orient="row")


def _raise_first(futures: Iterable["Future[Answer]"], done: int, total: int) -> None:
    errors = [error for future in futures if (error := future.exception()) is not None]
    # Those that were stopped only followed the one that failed.
    failed = [error for error in errors if isinstance(error, ServerError)]
    if failed:
        raise ServerError(
            f"{failed[0]}; {total - done} of {total} questions have no answer, the {done} answered ones are in the "
            "store: once the server works again, materialize again to ask only the others"
        )
    if errors:
        raise errors[0]
