import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.schema import PAIR_TEXTS, pair_id
from pref_assets_tests.pairs.build import read


@pytest.fixture(scope="module")
def tables():
    """Thirty prompts with three comparisons each, and two comparisons across prompts."""
    rows = [
        {"prompt": f"q{i}", "chosen": f"answer {i} {j}", "rejected": f"answer {i} {j + 1}"}
        for i in range(30)
        for j in range(3)
    ]
    records = read(rows)
    completions = records.completions.unique("completion_id").sort("prompt_id", "completion_id")
    within = records.votes.select(
        pl.struct("completion_a", "completion_b")
        .map_elements(lambda pair: pair_id(pair["completion_a"], pair["completion_b"]), return_dtype=pl.String)
        .alias("pair_id"),
        "prompt_id",
        chosen_id="completion_b",
        rejected_id="completion_a",
    )
    ends = completions["completion_id"]
    across = pl.DataFrame(
        {
            "pair_id": [pair_id(ends[0], ends[-1]), pair_id(ends[1], ends[-2])],
            "prompt_id": pl.Series([None, None], dtype=pl.String),
            "chosen_id": [ends[0], ends[1]],
            "rejected_id": [ends[-1], ends[-2]],
        }
    )
    return pl.concat([within, across]), records.prompts.unique("prompt_id"), completions


def chunks(tables, **options):
    return list(pair_chunks(*(frame.lazy() for frame in tables), **options))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 100), st.randoms(use_true_random=False))
def test_chunks_together_are_every_pair_whatever_their_size_and_order(tables, rows, random):
    whole = pl.concat(chunks(tables))
    seed = random.randint(0, 99)
    parts = chunks([frame.sample(fraction=1, shuffle=True, seed=seed) for frame in tables], rows=rows)
    assert max(part.height for part in parts) <= rows
    assert_frame_equal(pl.concat(parts), whole)


def test_texts_are_those_of_the_ids(tables):
    whole = pl.concat(chunks(tables))
    assert whole.schema == PAIR_TEXTS
    assert whole["pair_id"].sort().to_list() == tables[0]["pair_id"].sort().to_list()
    said = dict(tables[1].select("prompt_id", "messages").iter_rows())
    answers = dict(tables[2].select("completion_id", "messages").iter_rows())
    for _, prompt_id, chosen_id, rejected_id, prompt, chosen, rejected in whole.iter_rows():
        assert prompt == (None if prompt_id is None else said[prompt_id])
        assert (chosen, rejected) == (answers[chosen_id], answers[rejected_id])
    assert whole["prompt"].null_count() == 2
    assert whole["prompt_id"].head(90).is_sorted()


def test_only_the_pairs_asked_for(tables):
    wanted = tables[0]["pair_id"].gather([3, 50, 90])
    found = pl.concat(chunks(tables, only=wanted, rows=2))
    assert sorted(found["pair_id"]) == sorted(wanted)
    assert chunks(tables, only=wanted.head(0)) == []


def test_a_text_that_is_not_there_is_an_error_that_names_it(tables):
    comparisons, prompts, completions = tables
    lost = comparisons["chosen_id"][0]
    with pytest.raises(ValueError, match=f"chosen that is not in the tables.*{lost}"):
        chunks((comparisons, prompts, completions.filter(pl.col("completion_id") != lost)))
    with pytest.raises(ValueError, match="90 comparisons name a prompt"):
        chunks((comparisons, prompts.head(0), completions))
