"""Conversations as a model's chat template writes them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import polars as pl

from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.audit.base import SIDES, TextRule, rows_found
from pref_assets.pairs.messages import chat, is_plain, readable
from pref_assets.pairs.texts import prompt_text

Messages = Sequence[Mapping[str, str]]


class TemplateRefusesError(ValueError):
    """A conversation that the chat template cannot write as a prompt and its answer; the message says why."""


def tokenizer_of(reference: str) -> Any:
    """The reference's tokenizer, loaded once a process."""
    return _loaded(reference, identity(reference))


@lru_cache(maxsize=4)
def _loaded(reference: str, identity: str) -> Any:
    from pref_assets.models.loading import load_tokenizer

    return load_tokenizer(reference)


def render(tokenizer: Any, prompt: Messages, answers: Sequence[Messages]) -> list[str]:
    """Text of the prompt, and what each answer adds to it; plain text where the tokenizer has no chat template.

    Raises:
        TemplateRefusesError: the template raises an error, or writes something else than prompt and answer.
    """
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        return [prompt_text(turns) for turns in (prompt, *answers)]
    try:
        before = _written(tokenizer, prompt, add_generation_prompt=True)
        wholes = [_written(tokenizer, [*prompt, *answer]) for answer in answers]
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        roles = ", ".join(turn["role"] for turn in prompt)
        message = f"the chat template refuses a prompt of roles {roles} with its answers: {error}"
        raise TemplateRefusesError(message) from error
    if not all(whole.startswith(before) for whole in wholes):
        raise TemplateRefusesError(
            "the chat template does not write the conversation as its prompt and then the answer"
        )
    return [before, *(whole[len(before) :] for whole in wholes)]


def _written(tokenizer: Any, messages: Messages, **options: Any) -> str:
    turns, tools = chat(messages)
    return tokenizer.apply_chat_template(turns, tools=tools, tokenize=False, **options)


class ChatTemplateRoundTrip(TextRule):
    """A conversation does not come back from the model's chat template: the template refuses it, writes something else
    than prompt and answer, or leaves out a turn's text (white space at its ends apart); or a text holds one of the
    tokenizer's special tokens, which the model reads as control.

    Takes 0.2 to 0.5 ms a pair. Severity error; goes to quarantine by default.
    """

    type: Literal["chat_template_round_trip"] = "chat_template_round_trip"
    severity = "error"
    action = "quarantine"
    costly = True
    tokenizer: ModelReference
    """Model whose chat template writes the conversations."""

    def version(self) -> list[Any]:
        return [*super().version(), identity(self.tokenizer)]

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        tokenizer = tokenizer_of(self.tokenizer)
        if tokenizer.chat_template is None:
            raise ValueError(f"{self.tokenizer} has no chat template; leave the rule {self.type!r} out or name another")
        rows = texts.filter(pl.col("prompt_id").is_not_null()).select("pair_id", "prompt", *SIDES)
        faults = ((pair, _fault(tokenizer, prompt, answers)) for pair, prompt, *answers in rows.iter_rows())
        return rows_found([(pair, fault) for pair, fault in faults if fault])


def _fault(tokenizer: Any, prompt: Messages, answers: Sequence[Messages]) -> str | None:
    try:
        before, *added = render(tokenizer, prompt, answers)
    except TemplateRefusesError as error:
        return str(error)
    for name, turns, written in zip(("prompt", *SIDES), (prompt, *answers), (before, *added), strict=True):
        place = 0
        for number, turn in enumerate(turns, 1):
            if not is_plain(turn["role"]):
                continue
            said = turn["content"].strip()
            place = written.find(said, place)
            if place < 0:
                return f"turn {number} of {name} does not come back from the chat template as it was"
            place += len(said)
        said = "\n".join(readable(turn["role"], turn["content"]) for turn in turns)
        control = next((token for token in tokenizer.all_special_tokens if token in said), None)
        if control:
            return f"{name} holds {control!r}, which the tokenizer reads as control"
    return None
