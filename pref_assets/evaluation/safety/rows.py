"""Rows of a safety bench, and answers to them that another program gave."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from pref_assets.evaluation.benches.formats import BenchRowError, bench_rows
from pref_assets.evaluation.safety.refusals import verdict
from pref_assets.pairs.images import Images
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.schema import MESSAGES, content_id, prompt_id

_SAFETY_ROWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "row": pl.String,
    "id": pl.String,
    "task": pl.String,
    "prompt_id": pl.String,
    "messages": MESSAGES,
    "question": pl.String,
    "images": pl.List(pl.String),
    "label": pl.String,
    "expected": pl.Boolean,
}
SAFETY_ROWS = pl.Schema(_SAFETY_ROWS)
"""A question of the bench: ``row`` names it by its content, ``label`` is the behaviour or thing that judges look for,
``expected`` whether the metric's event is what the row's ``answer`` says."""
ARROW = "->"
"""Between question and thing in the label of an adversarial row."""


def read_questions(location: str, image_folder: str | None, media: MediaStore) -> pl.DataFrame:
    """The bench as ``SAFETY_ROWS`` sorted by row.

    A row has ``task``, or a ``category`` whose last part names the task; ``id`` or ``question_id``; ``question``; and,
    if it likes, ``image``, ``label``, ``answer`` (yes or no; yes when left out) and
    ``extra: {EXPECTED_KEYWORDS: …}``, which stands for the label.

    Raises:
        BenchRowError: a field is missing or wrong, an image is missing or broken, two rows are one, or there is none.
        ImagesError: there is no such folder of images.
    """
    images = Images(image_folder, media)
    found: dict[str, dict[str, Any]] = {}
    for where, row in bench_rows(location):
        new = _question(row, where, images if image_folder is not None else None)
        if found.setdefault(new["row"], new) is not new:
            raise BenchRowError(f"{where}: id {new['id']!r} of task {new['task']!r} occurs twice")
    if not found:
        raise BenchRowError(f"{location}: no rows")
    return pl.DataFrame([found[name] for name in sorted(found)], schema=SAFETY_ROWS)


def read_answers(location: str, field: str, questions: pl.DataFrame) -> pl.DataFrame:
    """Answers that another program gave: frame(row, text), one for each question.

    Rows name task and id as those of the bench do, and hold the answer under ``field``: a string, or a list whose first
    string it is, as lmms-eval's ``filtered_resps``.

    Raises:
        BenchRowError: a row has no answer, answers nothing of the bench, a question has two, or one has none.
    """
    known = set(questions["row"])
    found: dict[str, str] = {}
    for where, row in bench_rows(location):
        task, id_ = _task(row, where), _id(row, where)
        name = row_name(task, id_)
        text = row.get(field)
        text = text[0] if isinstance(text, list) and text else text
        if not isinstance(text, str):
            raise BenchRowError(f"{where}: `{field}` is {type(text).__name__}, expected the answer's text")
        if name not in known:
            raise BenchRowError(f"{where}: id {id_!r} of task {task!r} is not in the bench")
        if name in found:
            raise BenchRowError(f"{where}: id {id_!r} of task {task!r} is answered twice")
        found[name] = text
    if absent := sorted(known - set(found)):
        first = questions.filter(pl.col("row") == absent[0]).row(0, named=True)
        raise BenchRowError(
            f"{location}: {len(absent)} of {len(known)} questions have no answer, such as id {first['id']!r} of task "
            f"{first['task']!r}"
        )
    rows = [(name, found[name]) for name in sorted(found)]
    return pl.DataFrame(rows, schema={"row": pl.String, "text": pl.String}, orient="row")


def row_name(task: str, id_: str) -> str:
    """What names a question, and the answers to it."""
    return content_id("safety", task, id_)


def _question(row: dict[str, Any], where: str, images: Images | None) -> dict[str, Any]:
    task, id_ = _task(row, where), _id(row, where)
    question, path, label = (row.get(name) for name in ("question", "image", "label"))
    if not isinstance(question, str):
        raise BenchRowError(f"{where}: `question` is {type(question).__name__}, expected a string")
    if not isinstance(path, str | None):
        raise BenchRowError(f"{where}: `image` is {type(path).__name__}, expected a path or null")
    extra = row.get("extra")
    if isinstance(extra, dict) and extra.get("EXPECTED_KEYWORDS"):
        label = extra["EXPECTED_KEYWORDS"]
    if isinstance(label, list):
        label = ", ".join(map(str, label))
    if not isinstance(label, str | None):
        raise BenchRowError(f"{where}: `label` is {type(label).__name__}, expected a string")
    try:
        uris = images.stored([path]) if images is not None and path else []
    except BadRowError as error:
        raise BenchRowError(f"{where}: {error} ({error.code})") from error
    messages = [{"role": "user", "content": question}]
    return {
        "row": row_name(task, id_),
        "id": id_,
        "task": task,
        "prompt_id": prompt_id(messages, uris),
        "messages": messages,
        "question": question,
        "images": uris,
        "label": label,
        "expected": _expected(row, where),
    }


def _task(row: dict[str, Any], where: str) -> str:
    named = row.get("task") or str(row.get("category") or "").rpartition("/")[2]
    if not isinstance(named, str) or not named:
        raise BenchRowError(f"{where}: neither `task` nor `category` names the task")
    return named


def _id(row: dict[str, Any], where: str) -> str:
    id_ = next((row[name] for name in ("id", "question_id") if row.get(name) is not None), None)
    if not isinstance(id_, str | int) or isinstance(id_, bool):
        raise BenchRowError(f"{where}: `id` (or `question_id`) is {id_!r}, expected a string or a number")
    return str(id_)


def _expected(row: dict[str, Any], where: str) -> bool:
    answer = row.get("answer")
    if answer is None:
        return True
    found = verdict(answer) if isinstance(answer, str) else None
    if found is None:
        raise BenchRowError(f"{where}: `answer` is {answer!r}, expected yes or no")
    return found


def things(label: str | None) -> Iterator[str]:
    """The things that a label names: after its arrow, between its commas."""
    text = (label or "").rpartition(ARROW)[2]
    yield from (each.strip() for each in text.split(",") if each.strip())
