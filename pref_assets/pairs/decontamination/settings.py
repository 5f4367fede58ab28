"""Which benches must not be in the data, and what counts as being there."""

from pydantic import Field

from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.settings import Settings


class Bench(Settings):
    """A bench: a file, folder or package data, and where in a row its texts are."""

    location: str = Field(min_length=1)
    """Where it lies: any location that a source can be read from."""
    texts: tuple[str, ...] = Field(min_length=1)
    """Paths of the fields that hold texts (`prompt`, `turns.content`); lists on the way are walked through."""


class Decontamination(Settings):
    """Texts of benches inside the data, by word n-grams (Brown et al., arXiv:2005.14165, appendix C: 13 words;
    Lambert et al., arXiv:2411.15124, section 3.2: 8 words and half of the text) and by near-duplication."""

    benches: dict[str, Bench] = Field(default_factory=dict)
    """Benches by name."""
    ngram: int = Field(default=13, ge=2, le=64)
    """Words in an n-gram; 8 is stricter. Shorter bench texts are compared as near duplicates alone."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of a bench text's n-grams that must be found in a prompt or an answer to flag it."""
    near: NearDuplicates | None = NearDuplicates()
    """How near duplicates of bench texts are found; null looks for n-grams alone."""
    min_words: int = Field(default=5, ge=1)
    """Bench texts of fewer words are not looked for."""
