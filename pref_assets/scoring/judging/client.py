"""One question to a server, and what can go wrong with it."""

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from pref_assets.credentials import without_credentials
from pref_assets.scoring.judging.endpoint import Asking, Endpoint

if TYPE_CHECKING:
    import httpx

Messages = Sequence[Mapping[str, Any]]
AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 after which the same request may succeed."""
SHOWN = 300
"""Characters of a server's reply that an error shows."""


class ServerError(RuntimeError):
    """A server did not answer, refused, or cost too much; the message names it and says what to do."""


class StoppedError(RuntimeError):
    """A question was given up because another one failed for good."""


class _TryAgainError(Exception):
    """This attempt failed; the next may not. ``wait`` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Answer:
    """What the server said, why it stopped (``stop``, ``length``, …), and the tokens it counted (0: it does not)."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


class Client:
    """Asks one endpoint, from many threads at once; use as a context manager. ``counts`` says what it took."""

    def __init__(self, endpoint: Endpoint, asking: Asking) -> None:
        import httpx

        self.endpoint = endpoint
        self.asking = asking
        self.counts: dict[str, float] = dict.fromkeys(
            ("requests", "retries", "prompt_tokens", "completion_tokens", "cost"), 0.0
        )
        self._key = _key(endpoint)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=endpoint.concurrency)
        self._http = httpx.Client(headers=headers, timeout=endpoint.timeout_seconds, limits=limits)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._free_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is under way."""
        self._stop.set()
        self._http.close()

    def ask(self, messages: Messages, draw: int = 0) -> Answer:
        """The answer to a conversation, for the ``draw``-th time.

        Raises:
            ServerError: no answer after all retries, a refusal, or ``max_cost`` is spent; ends all other questions.
            StoppedError: another question did so first.
        """
        body = {"model": self.endpoint.model, "messages": list(messages), **self.asking.body(draw)}
        try:
            return self._persistent(body)
        except ServerError:
            self._stop.set()
            raise

    def _persistent(self, body: Mapping[str, Any]) -> Answer:
        for attempt in range(self.endpoint.retries + 1):
            self._check_cost()
            self._pace()
            try:
                return self._attempt(body)
            except _TryAgainError as error:
                if attempt == self.endpoint.retries:
                    raise ServerError(f"{self._name()}: {error} ({attempt + 1} attempts)") from None
                self._count(retries=1)
                self._wait(error.wait if error.wait is not None else self._backoff(attempt))
        raise AssertionError("unreachable")

    def _attempt(self, body: Mapping[str, Any]) -> Answer:
        import httpx

        self._count(requests=1)
        try:
            reply = self._http.post(f"{self.endpoint.url}/chat/completions", json=body)
        except httpx.TimeoutException as error:
            seconds = self.endpoint.timeout_seconds
            raise _TryAgainError(f"no answer in {seconds:g} s ({type(error).__name__})") from None
        except httpx.TransportError as error:
            raise _TryAgainError(f"{type(error).__name__}: {self._redacted(str(error))}") from None
        if reply.status_code in AGAIN or reply.status_code >= 500:
            raise _TryAgainError(f"status {reply.status_code}: {self._redacted(reply.text)}", _retry_after(reply))
        if reply.status_code != 200:
            raise ServerError(f"{self._name()}: status {reply.status_code}: {self._redacted(reply.text)}")
        answer = _read(reply)
        if answer is None:
            raise _TryAgainError(f"a reply that is no chat completion: {self._redacted(reply.text)}")
        self._pay(answer)
        return answer

    def _pay(self, answer: Answer) -> None:
        price = self.endpoint.price_prompt + self.endpoint.price_completion
        if price and not answer.prompt_tokens:
            raise ServerError(f"{self._name()}: it counts no tokens, so the cost is not known; leave the prices out")
        tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        self._count(**tokens, cost=self.endpoint.cost(**tokens))

    def _check_cost(self) -> None:
        limit, spent = self.endpoint.max_cost, self.counts["cost"]
        if limit is not None and spent >= limit:
            raise ServerError(f"{self._name()}: {spent:.4g} spent of `max_cost` {limit:g}; raise it to go on")

    def _pace(self) -> None:
        """Waits for this request's place in the minute."""
        if self.endpoint.requests_per_minute is None:
            return self._wait(0.0)
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + 60.0 / self.endpoint.requests_per_minute
        return self._wait(start - now)

    def _backoff(self, attempt: int) -> float:
        # Waits of many threads are spread, so that they do not all come back at once.
        return self.endpoint.backoff_seconds * 2**attempt * random.uniform(0.5, 1.0)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(min(seconds, self.endpoint.longest_wait_seconds)) if seconds > 0 else self._stop.is_set():
            raise StoppedError("another question failed for good")

    def _count(self, **more: float) -> None:
        with self._lock:
            for name, value in more.items():
                self.counts[name] += value

    def _name(self) -> str:
        return f"judge at {self.endpoint.url} (model {self.endpoint.model!r})"

    def _redacted(self, text: str) -> str:
        hidden = text.replace(self._key, "***") if self._key else text
        return without_credentials(" ".join(hidden.split()))[:SHOWN]


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ServerError(f"judge at {endpoint.url}: environment variable {endpoint.api_key_env} holds no key; set it")
    if not (key.isascii() and key.isprintable()):
        # What fits no header would be shown in the error of the one who tries.
        raise ServerError(f"judge at {endpoint.url}: what {endpoint.api_key_env} holds fits no HTTP header")
    return key


def _retry_after(reply: "httpx.Response") -> float | None:
    """Seconds that the server asks to wait: a number or a date."""
    said = reply.headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return None


def _read(reply: "httpx.Response") -> Answer | None:
    """The answer in a reply, or null when it is no chat completion."""
    try:
        whole = reply.json()
        choice = whole["choices"][0]
        content = choice["message"]["content"]
        usage = whole.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        if not isinstance(content, str | None):
            return None
        return Answer(content or "", str(choice.get("finish_reason") or ""), *tokens)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
