import numpy as np
import polars as pl
import pytest

from pref_assets.features.store import MissingRowsError, Store
from pref_assets.home import Home
from pref_assets.models.loading import load_causal_lm, load_tokenizer
from pref_assets.pairs.schema import REFERENCE_LOGPS
from pref_assets.training.data import encode
from pref_assets.training.job import Job
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.reference import reference_logps, reference_rows
from pref_assets_tests.training.conftest import Recorder, completions_of


def run(home, reference, frame):
    path = home / "completions.parquet"
    frame.write_parquet(path)
    config = reference.model_dump(mode="json")
    job = Job(task="reference_logps", home=str(home), config=config, inputs={"completions": str(path)})
    report = Recorder()
    return reference_logps(job, report), report


def test_each_completion_is_computed_once(tmp_path, rows, reference):
    frame = completions_of(rows)
    first, report = run(tmp_path, reference.model_copy(update={"save_every": 3}), frame.head(8))
    assert (first["computed"], first["reused"], first["key"]) == (8, 0, reference.key())
    assert [done for done, _, _ in report.done] == [3, 6, 8]
    second, _ = run(tmp_path, reference, frame)
    assert (second["computed"], second["reused"]) == (4, 8)
    third, report = run(tmp_path, reference, frame)
    assert (third["computed"], third["reused"], report.done) == (0, 12, [])


def test_rows_are_the_log_probabilities_of_the_model(tmp_path, rows, reference):
    frame = completions_of(rows)
    run(tmp_path, reference, frame)
    ids = frame["completion_id"].to_list()[::-1]
    found = reference_rows(Store(Home(tmp_path).store), reference, ids)
    assert found.schema == REFERENCE_LOGPS.schema
    assert found["completion_id"].to_list() == ids
    tokenizer = load_tokenizer(reference.model)
    encoded = [encode(tokenizer, p, m, 96) for p, m in frame.reverse().select("prompt", "messages").iter_rows()]
    logps, counts = completion_logps(load_causal_lm(reference.model, "cpu"), encoded, 10_000)
    np.testing.assert_allclose(found["logp"], logps, atol=1e-4)
    assert found["n_tokens"].to_list() == counts.tolist()


@pytest.mark.parametrize("first", [False, True])
def test_references_with_and_without_tokens_share_a_home(tmp_path, rows, reference, first):
    frame, ids = completions_of(rows), completions_of(rows)["completion_id"].to_list()
    both = [reference.model_copy(update={"tokens": each}) for each in (first, not first)]
    for each in both:
        assert run(tmp_path, each, frame)[0]["computed"] == len(ids)
    found = {each.tokens: reference_rows(Store(Home(tmp_path).store), each, ids) for each in both}
    assert found[False]["token_logps"].null_count() == len(ids)
    sums = [sum(each) for each in found[True]["token_logps"].to_list()]
    np.testing.assert_allclose(sums, found[False]["logp"], atol=1e-4)


def test_truncated_completions_are_marked(tmp_path, rows, reference):
    short = reference.model_copy(update={"max_length": 32})
    result, _ = run(tmp_path, short, completions_of(rows))
    found = reference_rows(Store(Home(tmp_path).store), short, ["c0", "r5"])
    assert found["truncated"].to_list() == [False, True]
    assert found["n_tokens"].to_list()[1] == 16
    assert result["truncated"] >= 1


def test_key_is_what_the_numbers_depend_on(reference):
    same = reference.model_copy(update={"batch_tokens": 99, "save_every": 5})
    assert same.key() == reference.key()
    assert reference.model_copy(update={"max_length": 95}).key() != reference.key()


def test_a_completion_never_computed_is_an_error(tmp_path, rows, reference):
    run(tmp_path, reference, completions_of(rows))
    with pytest.raises(MissingRowsError, match="nope"):
        reference_rows(Store(Home(tmp_path).store), reference, ["c0", "nope"])
    assert reference_rows(Store(Home(tmp_path).store), reference, []).equals(
        pl.DataFrame(schema=REFERENCE_LOGPS.schema)
    )
