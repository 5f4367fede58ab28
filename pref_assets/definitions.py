"""The code location: every pipeline under ``defs/``, with the resources of this deployment."""

import os
from pathlib import Path

import dagster as dg

from pref_assets.home import Home
from pref_assets.pipeline.sensors import report_failures
from pref_assets.resources.compute import compute_from
from pref_assets.resources.folders import Folders
from pref_assets.resources.scans import LazyTables
from pref_assets.resources.tables import DeltaTables
from pref_assets.resources.tracking import Tracking

PROJECT = Path(__file__).parent.parent


def resources(home: Home) -> dict[str, object]:
    """What every asset may ask for, all state below one folder."""
    root = str(home.root)
    return {
        "home": home,
        "tables": DeltaTables(home=root),
        "scans": LazyTables(home=root),
        "folders": Folders(home=root),
        "tracking": Tracking(home=root),
        "compute": compute_from(os.environ),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """Everything in one process but heavy work, which runs in children of its own."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=PROJECT),
        dg.Definitions(resources=resources(Home.default()), executor=dg.in_process_executor, sensors=[report_failures]),
    )
