"""Credentials in addresses are taken out, and nothing else is."""

import pytest

from pref_assets.credentials import without_credentials


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/file", "s3://***@bucket/file"),
        ("see https://me@host/x and gs://bucket/y", "see https://***@host/x and gs://bucket/y"),
        ("https://h/f?X-Amz-Signature=abc&part=1", "https://h/f?X-Amz-Signature=***&part=1"),
        ("https://h/f?part=1&access_token=abc", "https://h/f?part=1&access_token=***"),
        ("hf://org/name@main:train", "hf://org/name@main:train"),
        ("ask me@example.org", "ask me@example.org"),
    ],
)
def test_secrets_are_taken_out_of_addresses(text: str, expected: str) -> None:
    assert without_credentials(text) == expected
