"""What can go wrong in training, as types that a caller can tell apart."""

from collections.abc import Iterable


class TrainingDataError(ValueError):
    """The pairs cannot be trained on; the message names them and says why."""


class NonFiniteLossError(FloatingPointError):
    """A loss or gradient is not a number; the message names the pairs of that batch."""


class OutOfMemoryError(RuntimeError):
    """The device has too little memory for the configuration; the message says what to lower. Retrying is useless."""


class DivergedError(ArithmeticError):
    """The loss of a step is above what the configuration allows; the message names the pairs of that batch."""


class DiskSpaceError(OSError):
    """The disk has too little room for the resumable state and the checkpoint; the message has the figures."""


class RankFailedError(RuntimeError):
    """Another process of the same run failed; the message says which, and its error."""


class WorkFolderLockedError(RuntimeError):
    """Another process is training the same version right now."""


def name_pairs(pair_ids: Iterable[str], shown: int = 10) -> str:
    """Ids for a message: the first few, and how many more."""
    ids = list(pair_ids)
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return ", ".join(ids[:shown]) + more
