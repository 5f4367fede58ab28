"""Reference log-probabilities of tokens."""

import polars as pl
import pytest

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.training.job import Job
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows
from pref_assets_tests.training.conftest import Recorder, completions_of, make_rows


@pytest.fixture(scope="session")
def token_logps(reference: ReferenceLogps, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """As ``logps``, those of each token included."""
    folder = tmp_path_factory.mktemp("token_reference")
    settings = reference.model_copy(update={"tokens": True})
    frame = completions_of(make_rows())
    frame.write_parquet(folder / "completions.parquet")
    config, inputs = settings.model_dump(mode="json"), {"completions": str(folder / "completions.parquet")}
    reference_logps(Job(task="reference_logps", home=str(folder), config=config, inputs=inputs), Recorder())
    return reference_rows(Store(Home(folder).store), settings, frame["completion_id"].to_list())
