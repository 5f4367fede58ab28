"""Secrets that stand in addresses: taken out of everything that is shown or kept."""

import re

_USER = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(
    r"(?i)([?&](?:[a-z_-]*(?:token|key|secret|password|signature|credential|sig))=)[^&\s\"'`|)]+",
)


def without_credentials(text: str) -> str:
    """The text with user names and passwords of addresses, and values of secret parameters, replaced by ``***``."""
    return _QUERY.sub(r"\1***", _USER.sub("***@", text))
