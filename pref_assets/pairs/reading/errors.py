"""What can be wrong with a whole file."""


class UnreadableError(ValueError):
    """A whole file or hub data set cannot be read; the message names it and says what to do."""
