"""What can be wrong with a whole file, or with one of its rows."""


class UnreadableError(ValueError):
    """A whole file or hub data set cannot be read; the message names it and says what to do."""


class BadRowError(ValueError):
    """A row, or a part of it, is refused. ``code`` names the rule, the message says what was wrong and where."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
