"""How near duplicates are found."""

from typing import Self

from pydantic import Field, model_validator

from pref_assets.settings import Settings


class NearDuplicates(Settings):
    """MinHash-LSH over word shingles (Broder, 1997; Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets",
    chapter 3), every candidate verified by the exact Jaccard similarity of its shingles.

    A shingle is ``shingle`` words in a row of one turn's text, in lower case; a shorter text is one shingle. Two
    texts of similarity ``s`` become candidates with probability ``1 - (1 - s^rows)^bands``, where ``rows`` is
    permutations / bands: 0.99 at 0.8 and 0.01 at 0.3 with the defaults.
    """

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Least Jaccard similarity of near duplicates."""
    shingle: int = Field(default=5, ge=1, le=32)
    """Words in a shingle."""
    permutations: int = Field(default=96, ge=1, le=1024)
    """Hash functions of a signature."""
    bands: int = Field(default=16, ge=1, le=256)
    """Bands that a signature is cut into; texts that share one are candidates. More bands find more and cost more."""
    candidates: int = Field(default=8, ge=1, le=1000)
    """Items of one band value that a later item of it is compared with at most, the earliest first: bounds the work
    where many texts share a long passage."""
    seed: int = Field(default=0, ge=0)
    """Seed of the hash functions."""

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"permutations ({self.permutations}) must be a multiple of bands ({self.bands})")
        return self

    @property
    def rows(self) -> int:
        """Hash values in a band."""
        return self.permutations // self.bands

    def recall(self, similarity: float) -> float:
        """Probability that two texts of this Jaccard similarity become candidates."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


class NearImages(Settings):
    """Perceptual hashes of 64 bits (`duplicates.looks`): images whose hashes are close and whose small copies have the
    same colours everywhere are near duplicates: scaled, compressed again or converted."""

    distance: int = Field(default=4, ge=0, le=15)
    """Bits in which the hashes of near duplicates may differ. Two other photographs differ in about 32."""
    difference: float = Field(default=0.1, ge=0, le=1)
    """Largest difference of a colour, 0 to 1, between 16 x 16 copies of near duplicates. It tells apart what the hash
    cannot: drawings that differ in one small shape, plain images of two colours. 1 trusts the hash alone."""
    candidates: int = Field(default=64, ge=1, le=10_000)
    """Images of one part of the hash that a later image is compared with at most, the earliest first: with n images
    at most n * (distance + 1) * candidates comparisons."""
