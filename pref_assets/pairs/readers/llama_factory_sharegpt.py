"""LLaMA-Factory's ShareGPT layout: preference and KTO rows of a conversation."""

from typing import Any, ClassVar, Literal

from pref_assets.pairs.messages import JSON, TOOLS, base_role
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.llama_factory import LlamaFactorySource
from pref_assets.pairs.readers.llama_factory_turns import as_calls, as_function, as_text, as_turn
from pref_assets.pairs.readers.pairwise import better_first, images_of, with_metadata
from pref_assets.pairs.readers.record import BadRowError, Record, Turn, check_prompt, required, wrong_type
from pref_assets.pairs.readers.unpaired import wanted_or_not
from pref_assets.pairs.readers.writing import proven


class LlamaFactorySharegptSource(LlamaFactorySource):
    """Rows ``{conversations: [{from, value}], chosen: {from, value}, rejected: {from, value}}``, or with ``kto_tag``
    and the answer as the last of the conversation. The tags make it read the OpenAI layout too."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "conversations": [{"from": "human", "value": "Name a colour."}],
            "chosen": {"from": "gpt", "value": "Blue."},
            "rejected": {"from": "gpt", "value": "Dog."},
        },
        {
            "conversations": [
                {"from": "human", "value": "Weather in Oslo?"},
                {"from": "function_call", "value": '{"arguments":{"city":"Oslo"},"name":"weather"}'},
                {"from": "observation", "value": "rain"},
                {"from": "gpt", "value": "It rains."},
            ],
            "tools": '[{"description":"Weather of a city","name":"weather"}]',
            "kto_tag": True,
        },
    )

    type: Literal["llama_factory_sharegpt"] = "llama_factory_sharegpt"
    messages: str = "conversations"
    """Column of the turns."""
    role_tag: str = "from"
    """Field of a turn's speaker."""
    content_tag: str = "value"
    """Field of what was said."""
    user_tag: str = "human"
    """Name of the user."""
    assistant_tag: str = "gpt"
    """Name of the assistant."""
    observation_tag: str = "observation"
    """Name of a tool's answer."""
    function_tag: str = "function_call"
    """Name of an assistant's turn that is JSON of one call, or of a list of calls."""
    system_tag: str = "system"
    """Name of a first turn that is the system prompt."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt with two answers and a vote, or with one rated answer."""
        images = images_of(row, self.images, "", ())
        value = required(row, self.messages)
        if not isinstance(value, list) or not value:
            raise wrong_type(self.messages, value, "a list of turns")
        said = [self._said(turn, f"{self.messages}[{index}]", images) for index, turn in enumerate(value)]
        before = self._start(row, images)
        if said[0][0].startswith("system"):
            before = [turn for turn in before if turn[0] == TOOLS]  # the turn counts, not the column
        if isinstance(row.get(self.kto_tag), bool):
            said, answers = said[:-1], [said[-1:]]
        else:
            sides = (self.chosen, self.rejected)
            answers = [[self._said(required(row, name), name, [])] for name in sides]
        turns = [*before, *said]
        check_prompt(turns, self.messages)
        self._images(row, turns, images)
        metadata = {name: value for name, value in row.items() if name not in (*self._named(), self.messages)}
        return self._judged(Record(turns, [], images=images, metadata=metadata), row, answers)

    def _tags(self) -> dict[str, str]:
        return {
            self.user_tag: "user",
            self.assistant_tag: "assistant",
            self.observation_tag: "tool",
            self.system_tag: "system",
        }

    def _said(self, turn: Any, path: str, images: list[str]) -> Turn:
        if not isinstance(turn, dict):
            raise wrong_type(path, turn, f"an object with `{self.role_tag}` and `{self.content_tag}`")
        speaker, content = (required(turn, name, f"{path}.{name}") for name in (self.role_tag, self.content_tag))
        if not isinstance(content, str):
            raise wrong_type(f"{path}.{self.content_tag}", content, "a string")
        if speaker == self.function_tag:
            return as_calls(content, f"{path}.{self.content_tag}")
        role = self._tags().get(speaker) if isinstance(speaker, str) else None
        if role is None:
            known = ", ".join((*self._tags(), self.function_tag))
            raise BadRowError("unknown_role", f"field `{path}.{self.role_tag}` is {speaker!r}; known are {known}")
        return as_turn(role, content, images)

    def _written(self, turn: Turn) -> dict[str, str]:
        names = {role: tag for tag, role in self._tags().items()}
        if turn[0] == "assistant" + JSON:
            return {self.role_tag: self.function_tag, self.content_tag: as_function(turn)}
        role = base_role(turn[0])
        if role not in names:
            raise NoWayBackError(f"the ShareGPT layout has no turns by {role!r}")
        return {self.role_tag: names[role], self.content_tag: as_text(turn)}

    def row(self, record: Record) -> dict[str, Any]:
        """The conversation turn by turn, the system prompt in its column."""
        paired = bool(record.votes)
        record = better_first(record) if paired else record
        said = [turn for turn in record.turns if turn[0] != TOOLS and base_role(turn[0]) != "system"]
        row: dict[str, Any] = {}
        if paired:
            for name, answer in zip((self.chosen, self.rejected), record.answers, strict=True):
                if len(answer.turns) != 1:
                    raise NoWayBackError("the ShareGPT layout holds answers of one turn")
                row[name] = self._written(answer.turns[0])
        else:
            answer, rating = wanted_or_not(record)
            said += answer.turns
            row[self.kto_tag] = rating.value == 1
        row = {self.messages: [self._written(turn) for turn in said], **row}
        return proven(self, record, with_metadata(row | self._ends(record), record, self._named()))
