"""Preference data as software-defined assets: raw pairs to evaluated checkpoints, one lineage graph."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pref_assets.pipeline.component import PreferencePipeline

__version__ = "0.1.0"
__all__ = ["PreferencePipeline", "__version__"]


def __getattr__(name: str) -> object:
    # The component imports Dagster; the functional core and the child processes should not have to wait for that.
    if name == "PreferencePipeline":
        from pref_assets.pipeline.component import PreferencePipeline

        return PreferencePipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
