"""Preference data as software-defined assets: raw pairs to evaluated checkpoints, one lineage graph."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pref_assets.pipeline.component import PreferencePipeline, ProvingGround

__version__ = "0.1.0"
__all__ = ["PreferencePipeline", "ProvingGround", "__version__"]
_COMPONENTS = ("PreferencePipeline", "ProvingGround")


def __getattr__(name: str) -> object:
    # The component imports Dagster; the functional core and the child processes should not have to wait for that.
    if name in _COMPONENTS:
        from pref_assets.pipeline import component

        return getattr(component, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
