import math

import polars as pl
import pytest

from pref_assets.scoring.measure import _differences


def frame(**columns: list) -> pl.DataFrame:
    return pl.DataFrame({"id": ["a", "b"], **columns})


@pytest.mark.parametrize(
    ("known", "again", "expected"),
    [
        ({"x": [1.0, 3.0]}, {"x": [1.0, 3.4]}, 0.1),  # 0.4 / (1 + 3)
        ({"x": [1.0, None]}, {"x": [1.0, None]}, 0.0),
        ({"x": [1.0, 2.0]}, {"x": [1.0, None]}, math.inf),
        ({"x": [[1.0, 3.0], [0.0]]}, {"x": [[1.0, 3.0], [0.5]]}, 0.5),
        ({"x": [[1.0, 3.0], [0.0]]}, {"x": [[1.0], [0.0]]}, math.inf),
        ({"n": [1, 2]}, {"n": [1, 2]}, 0.0),
    ],
)
def test_every_number_and_list_of_numbers_is_compared(known: dict, again: dict, expected: float) -> None:
    assert max(_differences(frame(**known), frame(**again).reverse())) == pytest.approx(expected)
