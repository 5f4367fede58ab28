"""Where a deployment keeps its state: one folder, one room for each kind of thing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

_CURRENT: ContextVar[Path | None] = ContextVar("home", default=None)


@dataclass(frozen=True)
class Home:
    """The state folder: that of the job at work, else ``PREF_ASSETS_HOME`` or ``./.pref_assets``."""

    root: Path

    @classmethod
    def default(cls) -> "Home":
        if (current := _CURRENT.get()) is not None:
            return cls(current)
        return cls(Path(os.environ.get("PREF_ASSETS_HOME", ".pref_assets")).expanduser().absolute())

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this the default meanwhile, in this thread: what a job reads images from."""
        token = _CURRENT.set(self.root)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @property
    def tables(self) -> Path:
        """Delta tables: ``tables/<pipeline>/<stage>/<name>``."""
        return self.root / "tables"

    @property
    def checkpoints(self) -> Path:
        """Immutable model folders: ``checkpoints/<pipeline>/<name>/<version>``."""
        return self.root / "checkpoints"

    @property
    def reward_models(self) -> Path:
        """Cross-fitted heads: ``reward_models/<pipeline>/<name>/<version>``."""
        return self.root / "reward_models"

    @property
    def store(self) -> Path:
        """Content-addressed results (embeddings, log-probs), shared by all pipelines."""
        return self.root / "store"

    @property
    def media(self) -> Path:
        """Images and other binary values, by content, shared by all pipelines."""
        return self.root / "media"

    @property
    def batches(self) -> Path:
        """Registered ingestion batches: ``batches/<pipeline>/<source>/<batch>.json``."""
        return self.root / "batches"

    @property
    def work(self) -> Path:
        """Unfinished work of child processes, resumable and never read by anyone else."""
        return self.root / "work"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def tracking_uri(self) -> str:
        """The MLflow server of ``MLFLOW_TRACKING_URI``, or a local SQLite file."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"


def cache_dir() -> Path:
    """Converted models, shared by every home: ``PREF_ASSETS_CACHE`` or ``~/.cache/pref_assets``."""
    return Path(os.environ.get("PREF_ASSETS_CACHE", "~/.cache/pref_assets")).expanduser()
