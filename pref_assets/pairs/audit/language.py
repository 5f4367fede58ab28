"""The language of texts."""

from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import PARTS, Part, TextRule, named, rows_found


class Language(TextRule):
    """A prompt or an answer is in a language that was not declared, as py3langid says (a fork of langid.py, Lui and
    Baldwin 2012, ACL P12-3005). Short texts and doubtful ones are left alone; code and tables mislead it.

    Takes about 0.1 ms a text. Severity warning; keeps by default.
    """

    type: Literal["language"] = "language"
    severity = "warning"
    action = "keep"
    costly = True
    declared: tuple[str, ...] = Field(default=("en",), min_length=1)
    """ISO 639-1 codes of the languages that texts may be in."""
    parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    """What is looked at: prompt, chosen answer, rejected answer."""
    min_characters: int = Field(default=80, ge=1)
    """Shorter texts are left alone."""
    head: int = Field(default=500, ge=1)
    """Characters at the start of a text that are looked at."""
    min_confidence: float = Field(default=0.9, gt=0, le=1)
    """Smallest confidence of the identifier that counts."""

    def version(self) -> list[Any]:
        from importlib.metadata import version

        return [*super().version(), version("py3langid")]

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        identifier = _identifier()
        unknown = sorted(set(self.declared) - set(identifier.labels))
        if unknown:
            raise ValueError(f"declared languages {unknown} are none that py3langid knows: {sorted(identifier.labels)}")
        rows = []
        heads = texts.select("pair_id", *(pl.col(f"{part}_text").str.head(self.head) for part in self.parts))
        for pair, *said in heads.iter_rows():
            whats = [(part, self._other(identifier, text)) for part, text in zip(self.parts, said, strict=True)]
            detail = "; ".join(f"{named(part)} seems to be in {what}" for part, what in whats if what)
            if detail:
                rows.append((pair, detail))
        return rows_found(rows)

    def _other(self, identifier: Any, text: str | None) -> str | None:
        """The undeclared language of a text with its confidence, if it is in one."""
        if text is None or len(text) < self.min_characters:
            return None
        language, confidence = identifier.classify(text)
        if language in self.declared or confidence < self.min_confidence:
            return None
        return f"`{language}` (confidence {confidence:.2f})"


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
