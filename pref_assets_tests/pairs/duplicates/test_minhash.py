import numpy as np
import pytest
from pydantic import ValidationError

from pref_assets.pairs.duplicates.minhash import bands, signatures
from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.shingles import Shingles, concat, jaccard

SETTINGS = NearDuplicates()


def planted(share: float, items: int, size: int, seed: int) -> tuple[Shingles, Shingles]:
    """Two lists of sets; the i-th of both have Jaccard similarity ``share``, up to rounding."""
    rng = np.random.default_rng(seed)
    both = round(2 * share * size / (1 + share))
    one, other = rng.integers(0, 2**64, (2, items, size), dtype=np.uint64)
    other[:, :both] = one[:, :both]
    offsets = np.arange(0, items * size + 1, size)
    return Shingles(one.ravel(), offsets), Shingles(other.ravel(), offsets)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_equal_places_estimate_the_jaccard_similarity(share: float) -> None:
    one, other = planted(share, items=1500, size=120, seed=1)
    exact = jaccard(concat([one, other]).sets(), np.arange(1500), np.arange(1500) + 1500)
    estimate = (signatures(one, SETTINGS) == signatures(other, SETTINGS)).mean(axis=1)
    spread = np.sqrt(share * (1 - share) / SETTINGS.permutations)
    assert abs(estimate.mean() - exact.mean()) < 4 * spread / np.sqrt(1500) + 0.003
    assert (estimate - exact).std() == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.9])
def test_candidates_are_found_as_often_as_promised(share: float) -> None:
    one, other = planted(share, items=1500, size=200, seed=2)
    marks = [bands(signatures(each, SETTINGS), SETTINGS) for each in (one, other)]
    found = (marks[0] == marks[1]).any(axis=1).mean()
    assert found == pytest.approx(SETTINGS.recall(share), abs=4 * 0.5 / np.sqrt(1500))


def test_the_signature_of_a_union_is_the_smallest_of_both() -> None:
    one, other = planted(0.2, items=50, size=30, seed=3)
    joined = Shingles(
        np.concatenate([one.hashes.reshape(50, 30), other.hashes.reshape(50, 30)], axis=1).ravel(),
        np.arange(0, 3001, 60),
    )
    smallest = np.minimum(signatures(one, SETTINGS), signatures(other, SETTINGS))
    assert (signatures(joined, SETTINGS) == smallest).all()


def test_signatures_do_not_depend_on_neighbours_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 40, 60)
    items = Shingles(rng.integers(0, 2**64, counts.sum(), dtype=np.uint64), np.concatenate([[0], np.cumsum(counts)]))
    whole = signatures(items, SETTINGS)
    assert (whole[counts == 0] == 2**32 - 1).all()
    alone = [signatures(items.take(np.array([place])), SETTINGS)[0] for place in range(60)]
    assert (whole == np.stack(alone)).all()
    monkeypatch.setattr("pref_assets.pairs.duplicates.minhash._BLOCK", 16)
    assert (signatures(items, SETTINGS) == whole).all()


def test_another_seed_draws_other_functions() -> None:
    items, _ = planted(1.0, items=20, size=50, seed=5)
    other = NearDuplicates(seed=1)
    assert (signatures(items, SETTINGS) == signatures(items, SETTINGS)).all()
    assert (signatures(items, SETTINGS) != signatures(items, other)).mean() > 0.9


def test_recall_of_the_defaults_is_as_documented() -> None:
    assert SETTINGS.recall(0.8) == pytest.approx(0.992, abs=5e-4)
    assert SETTINGS.recall(0.3) == pytest.approx(0.0116, abs=5e-5)


def test_bands_that_do_not_divide_the_permutations_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"permutations \(100\) must be a multiple of bands \(16\)"):
        NearDuplicates(permutations=100)
