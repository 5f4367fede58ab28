"""Two answers to one prompt in one row, a better and a worse: what the formats around TRL share, both ways."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pref_assets.pairs.messages import JSON, decode
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.record import (
    BadRowError,
    Record,
    Turn,
    Vote,
    image,
    messages,
    required,
    wrong_type,
)

PromptFormat = Literal["auto", "explicit", "implicit"]
_Shown = tuple[list[str | None], list[str | None]]
"""For the image parts of each side: where the image is, or null where the part does not say."""


@dataclass(slots=True)
class Sides:
    """Turns of the prompt and of the two answers; ``shown`` has an item for each image part of the prompt, null where
    the part does not say which image."""

    prompt: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    shown: Sequence[str | None] = ()


def sides(row: dict[str, Any], prompt: str | None, chosen: str, rejected: str, layout: PromptFormat) -> Sides:
    """The conversation of a row, from the columns of these names.

    Text is one turn of the user (prompt) or of the assistant (side), unchanged. Sides of messages may hold the answer
    alone or the whole dialogue; a dialogue must agree with the prompt when there is one. Without a prompt column, the
    prompt is what the sides begin with alike; two texts are only cut so when ``layout`` is ``implicit``.

    Raises:
        BadRowError: ``missing_field``, ``wrong_type``, ``unknown_role``, ``prompts_differ``, ``identical_sides``, or
            ``image_in_answer``.
    """
    good, bad = required(row, chosen), required(row, rejected)
    implicit = layout == "implicit" or (layout == "auto" and prompt not in row)
    asked_in = None if implicit else prompt
    if type(good) is str and type(bad) is str:
        if asked_in is not None:
            asked, shown = question(row, asked_in)
            return Sides(asked, [("assistant", good)], [("assistant", bad)], shown)
        if layout != "implicit":
            raise BadRowError(
                "missing_field",
                f"field `{prompt}` is missing (set `prompt_format: implicit` when both texts begin with it)",
            )
        return _cut_texts(good, bad, chosen, rejected)
    if isinstance(good, str) != isinstance(bad, str):
        raise BadRowError("wrong_type", f"one of `{chosen}` and `{rejected}` is text, the other is not")
    seen: _Shown = ([], [])
    first, second = messages(good, chosen, seen[0]), messages(bad, rejected, seen[1])
    if asked_in is None:
        return _dialogues(first, second, seen, chosen, rejected)
    asked, shown = question(row, asked_in)
    if _answers(first) and _answers(second):
        if seen[0] or seen[1]:
            raise _image_in_answer(chosen, rejected)
        return Sides(asked, first, second, shown)
    whole = _dialogues(first, second, seen, chosen, rejected)
    if whole.prompt != asked and not (isinstance(row[asked_in], str) and whole.prompt[-1] == asked[-1]):
        raise BadRowError("prompts_differ", f"the sides do not begin with what `{asked_in}` says")
    return whole


def question(row: dict[str, Any], name: str) -> tuple[list[Turn], Sequence[str | None]]:
    """Turns of a prompt given as text or messages, and an item for each image part."""
    value = required(row, name)
    if type(value) is str:
        return [("user", value)], ()
    if not isinstance(value, list):
        raise wrong_type(name, value, "a string or a list of messages")
    shown: list[str | None] = []
    return messages(value, name, shown), shown


def images_of(row: Mapping[str, Any], several: str, single: str, shown: Sequence[str | None]) -> list[str]:
    """URIs of a prompt's images in their order: those its parts bring, and for the other parts those of the columns
    (a list, or one). Without image parts, those of the columns.

    Raises:
        BadRowError: ``image_count`` when parts and columns do not fit, ``wrong_type``.
    """
    listed, one = row.get(several), row.get(single)
    if listed is not None and not isinstance(listed, list):
        raise wrong_type(several, listed, "a list of images")
    given = [image(value, f"{several}[{index}]") for index, value in enumerate(listed or ())]
    if one is not None:
        given.append(image(one, single))
    if not shown:
        return given
    if len(given) != sum(uri is None for uri in shown):
        empty = sum(uri is None for uri in shown)
        raise BadRowError(
            "image_count", f"{empty} parts of the messages stand for an image, the row brings {len(given)}"
        )
    rest = iter(given)
    return [next(rest) if uri is None else uri for uri in shown]


def better_first(record: Record) -> Record:
    """The record of two answers with the chosen one first and one vote for it.

    Raises:
        NoWayBackError: there are more or fewer answers or votes, or the vote is for a tie.
    """
    if len(record.answers) != 2 or len(record.votes) != 1:
        raise NoWayBackError(
            f"the format holds two answers and which is better, the record has {len(record.answers)} answers "
            f"and {len(record.votes)} votes"
        )
    vote = record.votes[0]
    if vote.choice == "tie":
        raise NoWayBackError("the format holds a better and a worse answer, the vote is for a tie")
    better, worse = (vote.a, vote.b) if vote.choice == "a" else (vote.b, vote.a)
    return Record(
        record.turns,
        [record.answers[better], record.answers[worse]],
        [Vote(0, 1, "a", vote.annotator, vote.dimension, vote.strength, vote.rationale)],
        record.images,
        record.context,
        record.metadata,
    )


def with_metadata(row: dict[str, Any], record: Record, named: Collection[str] = ()) -> dict[str, Any]:
    """The row and, in fields of their own, what the source said of the prompt.

    Raises:
        NoWayBackError: a field of that name means something else in the format.
    """
    for name, value in (record.metadata or {}).items():
        if name in row or name in named:
            raise NoWayBackError(f"the metadata has a field `{name}`, which means something else in the format")
        row[name] = value
    return row


def _answers(turns: list[Turn]) -> bool:
    return turns[0][0] in ("assistant", "assistant" + JSON)


def _dialogues(first: list[Turn], second: list[Turn], seen: _Shown, chosen: str, rejected: str) -> Sides:
    """Two whole dialogues, cut; ``seen`` are the images that each shows."""
    found = _cut_turns(first, second, chosen, rejected)
    if seen[0] or seen[1]:
        parts = sum(map(_image_parts, found.prompt))
        if len(seen[0]) > parts or len(seen[1]) > parts:
            raise _image_in_answer(chosen, rejected)
        if seen[0] != seen[1]:
            raise BadRowError("prompts_differ", f"the prompts in `{chosen}` and `{rejected}` show different images")
        found.shown = seen[0]
    return found


def _image_in_answer(chosen: str, rejected: str) -> BadRowError:
    return BadRowError("image_in_answer", f"an answer in `{chosen}` or `{rejected}` shows an image; only prompts may")


def _image_parts(turn: Turn) -> int:
    content = decode(*turn).get("content") if turn[0].endswith(JSON) else None
    return sum(part.get("type") == "image" for part in content) if isinstance(content, list) else 0


def _cut_turns(first: list[Turn], second: list[Turn], chosen: str, rejected: str) -> Sides:
    """Cuts two dialogues after their last common question that leaves both sides an answer."""
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    if same == len(first) == len(second):
        raise BadRowError("identical_sides", f"fields `{chosen}` and `{rejected}` are the same")
    end = min(same, len(first) - 1, len(second) - 1)
    while end and first[end - 1][0].removesuffix(JSON) not in ("user", "tool"):
        end -= 1
    if not end:
        raise BadRowError("prompts_differ", f"fields `{chosen}` and `{rejected}` do not begin with the same prompt")
    return Sides(first[:end], first[end:], second[end:])


def _cut_texts(first: str, second: str, chosen: str, rejected: str) -> Sides:
    """Cuts two texts before the last common word boundary; the white space there belongs to the answers."""
    if first == second:
        raise BadRowError("identical_sides", f"fields `{chosen}` and `{rejected}` are the same")
    end = _common(first, second)
    while end and not (_starts_word(first, end) and _starts_word(second, end)):
        end -= 1
    if not first[:end].strip():
        raise BadRowError("prompts_differ", f"fields `{chosen}` and `{rejected}` do not begin with the same words")
    return Sides([("user", first[:end])], [("assistant", first[end:])], [("assistant", second[end:])])


def _common(first: str, second: str) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first.startswith(second[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def _starts_word(value: str, position: int) -> bool:
    """Whether white space and then a word begin here, right after a word."""
    return value[position : position + 1].isspace() and not value[position - 1].isspace()
