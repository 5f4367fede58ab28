"""What a policy is shown when it is evaluated: its prompts' own images, others, or none (language-prior controls)."""

from collections.abc import Mapping, Sequence

import polars as pl

from pref_assets.models.vision import Sight
from pref_assets.pairs.image_controls import ImageControl, controlled_images
from pref_assets.pairs.messages import IMAGE, decode, encode, is_plain, shown_images
from pref_assets.pairs.schema import MESSAGES, content_id
from pref_assets.training.data import with_shown


class CannotSeeError(ValueError):
    """A model that reads text alone was given images; the message names it and what to do."""


def seen_prompts(prompts: pl.DataFrame, control: ImageControl, seed: int) -> pl.DataFrame:
    """Prompts as a model that sees reads them: frame(prompt_id, asked, messages), in the order given.

    ``prompt_id`` stays what it was; ``asked`` names the prompt with what is shown, so that answers to a prompt with
    other images are other answers. Where nothing changes the two are equal.

    Args:
        prompts: (prompt_id, messages, images, split).
        control: which images are shown.
        seed: of ``shuffled``.

    Raises:
        TrainingDataError: a prompt has other images than places for them.
        ValueError: see ``controlled_images``.
    """
    given = controlled_images(prompts, control, seed)
    own = prompts["images"].fill_null([]).to_list()
    names, turns = [], []
    for id_, messages, before in zip(prompts["prompt_id"], prompts["messages"], own, strict=True):
        changed = bool(before) and given[id_] != before
        names.append(content_id("asked", id_, given[id_]) if changed else id_)
        turns.append(messages if given[id_] or not before else hidden(messages))
    images = pl.Series([given[id_] for id_ in prompts["prompt_id"]], dtype=pl.List(pl.String))
    asked = prompts.select("prompt_id").with_columns(messages=pl.Series(turns, dtype=MESSAGES), images=images)
    found = with_shown(asked)
    return found.select("prompt_id", pl.Series("asked", names, dtype=pl.String), "messages")


def hidden(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The conversation without its image parts, and without ``<image>`` marks in what users say."""
    found = []
    for turn in messages:
        role, content = turn["role"], turn["content"]
        if is_plain(role):
            found.append({"role": role, "content": _unmarked(content) if role == "user" else content})
            continue
        message = decode(role, content)
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list):
            message["content"] = [part for part in parts if not _is_image(part)]
            role, content = encode(message)
        found.append({"role": role, "content": content})
    return found


def refuse_blind(name: str, reader: object, conversations: Sequence[Sequence[Mapping[str, str]]]) -> None:
    """Raises ``CannotSeeError`` where a reader of text alone is to read conversations with images."""
    if isinstance(reader, Sight):
        return
    pictured = sum(bool(shown_images(each)) for each in conversations)
    if pictured:
        raise CannotSeeError(
            f"{name} reads text alone, and {pictured} of {len(conversations)} prompts have images; set `images: none` "
            "to ask without them, or evaluate a model that sees"
        )


def _unmarked(text: str) -> str:
    return text.replace(f"{IMAGE}\n", "").replace(f"\n{IMAGE}", "").replace(IMAGE, "") if IMAGE in text else text


def _is_image(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "image"
