"""The Dagster shell around the rooms of plain Python."""

import warnings

import dagster as dg

# The project uses beta features of Dagster knowingly; the pins decide when they change.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
