"""Where a judge lives, and how it is asked: everything but the question."""

import re
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from pref_assets.credentials import without_credentials
from pref_assets.settings import Settings, digest

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class Endpoint(Settings):
    """A server that speaks OpenAI's chat completions (`transformers serve`, vLLM, llama.cpp, a commercial one)."""

    url: str
    """Address up to the version, e.g. `http://localhost:8000/v1`; without user, password or key."""
    model: str = Field(min_length=1)
    """Model, as the server names it; part of the key under which answers are kept."""
    revision: str = ""
    """Which version of the model, where the name alone does not say: a commit, a date. Part of the key as well."""
    api_key_env: str | None = None
    """NAME of the environment variable that holds the key; the key itself is never written anywhere."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """How long one answer may take."""
    retries: int = Field(default=5, ge=0)
    """Further attempts after a timeout, a lost connection, status 408, 429 or 5xx, or a reply that is no completion."""
    backoff_seconds: float = Field(default=1.0, ge=0)
    """Wait before the first retry, doubled for each further one, less a random part of up to a half."""
    longest_wait_seconds: float = Field(default=60.0, ge=0)
    """No wait is longer, whatever the server's `Retry-After` says."""
    concurrency: int = Field(default=4, ge=1, le=1024)
    """Questions under way at once."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests sent in a minute at most, retries included, evenly spaced."""
    price_prompt: float = Field(default=0.0, ge=0)
    """Price of 1,000 tokens of the question."""
    price_completion: float = Field(default=0.0, ge=0)
    """Price of 1,000 tokens of the answer."""
    max_cost: float | None = Field(default=None, gt=0)
    """Once one materialization has spent this, no further question is sent and it fails; answers paid for are kept."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]", url):
            raise ValueError("an endpoint's address starts with http:// or https://, e.g. http://localhost:8000/v1")
        if without_credentials(url) != url:
            raise ValueError("an endpoint's address holds no user, password or key; name the key's variable instead")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _name_of_a_variable(cls, name: str | None) -> str | None:
        # Says nothing of what was given: it may be the key itself.
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("`api_key_env` is the NAME of an environment variable, in capitals, never the key")
        return name

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1000


class Asking(Settings):
    """How answers are drawn; part of the key under which they are kept. What is null is not sent."""

    temperature: float | None = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus of the most likely tokens."""
    max_tokens: int = Field(default=512, ge=1)
    """Answers are cut after so many tokens."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls that limit."""
    seed: int | None = Field(default=0, ge=0)
    """Seed of the draw; a question asked several times gets this, the next number, and so on."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request, e.g. `reasoning_effort`."""

    def body(self, draw: int) -> dict[str, Any]:
        """Fields of the request, for the ``draw``-th time (from 0) that a question is asked."""
        fields = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            self.length_field: self.max_tokens,
            "seed": None if self.seed is None else self.seed + draw,
        }
        return {**{name: value for name, value in fields.items() if value is not None}, **self.extra}


def answers_key(endpoint: Endpoint, asking: Asking) -> str:
    """Store key of answers: the model and how it is asked. Not the address: the same model may move."""
    return digest({"model": endpoint.model, "revision": endpoint.revision, "asking": asking.model_dump(mode="json")})
