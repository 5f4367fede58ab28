"""Sources that read another source and do something with its records."""

from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.record import Record

if TYPE_CHECKING:
    from pref_assets.pairs.readers import SourceConfig

_SHARED = ("location", "licence", "homepage", "max_bad_share", "image_folder", "image_limits", "limits")


class AroundSource(Source):
    """Has another source in ``of``; what both have is written once, on either level."""

    of: "SourceConfig"
    """The source whose rows are read. Its location, images and limits are this one's, and written in one of the two."""

    @model_validator(mode="before")
    @classmethod
    def _one_location(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("of"), dict):
            return values
        inner = values["of"]
        for name in _SHARED:
            if name in values and name in inner and values[name] != inner[name]:
                raise ValueError(f"`{name}` is said twice, and not the same; say it once")
        shared = {name: each[name] for each in (inner, values) for name in _SHARED if name in each}
        return {**values, **shared, "of": {**inner, **shared}}

    def record(self, row: dict[str, Any]) -> Record:
        return self.of.record(row)

    def records(self, row: dict[str, Any], uri: str) -> list[Record]:
        """As the source in ``of`` reads the row."""
        return self.of.records(row, uri)

    def beside(self) -> list[tuple[str, str]]:
        return self.of.beside()

    def shows_images(self) -> bool:
        return True
