"""Which benches must not be in the data, and what counts as being there."""

from pydantic import Field

from pref_assets.pairs.locations import file_hashes
from pref_assets.settings import Settings, digest


class Bench(Settings):
    """A bench: where its rows lie, and where in a row its texts are."""

    location: str = Field(min_length=1)
    """A file, folder, glob, package data, object store or hub data set, written as for a source."""
    texts: tuple[str, ...] = Field(min_length=1)
    """Paths of the fields that hold texts (`prompt`, `turns.content`); lists on the way are walked through, and each
    string found is a text of its own."""


class Decontamination(Settings):
    """Looks for texts of benches in prompts and answers, by the word n-grams of a bench text that are found (Brown et
    al., arXiv:2005.14165, appendix C: 13 words; Lambert et al., arXiv:2411.15124, section 3.2: 8 words and half of the
    text) and by the Jaccard similarity of its shingles and those of a turn. Case and punctuation do not matter."""

    benches: dict[str, Bench] = Field(default_factory=dict)
    """Benches by name."""
    ngram: int = Field(default=13, ge=2, le=64)
    """Words in an n-gram; 8 is stricter. Shorter bench texts are compared as near duplicates alone."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Least share of a bench text's n-grams found in a prompt or an answer."""
    near: float = Field(default=0.8, gt=0, le=1)
    """Least Jaccard similarity of a bench text and a turn."""
    shingle: int = Field(default=5, ge=1, le=32)
    """Words in a shingle; a shorter text is one shingle."""
    min_words: int = Field(default=5, ge=1)
    """Bench texts of fewer words are not looked for."""
    common: int = Field(default=100, ge=1)
    """An n-gram or shingle of more bench texts than this is boilerplate: it names no text. Bounds the work."""
    detail_words: int = Field(default=40, ge=1)
    """Most shared words shown as evidence."""

    def digest(self) -> str:
        """Changes with the settings and with the content of benches that lie on this machine."""
        return digest([super().digest(), {name: file_hashes(each.location) for name, each in self.benches.items()}])
