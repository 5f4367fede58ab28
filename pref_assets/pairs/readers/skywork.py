"""Skywork-Reward-Preference-80K (v0.1 and v0.2): two whole dialogues a row."""

from typing import Any, ClassVar, Literal

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.pairwise import better_first, sides, with_metadata
from pref_assets.pairs.readers.record import Answer, Record, Vote, check_prompt, check_sides
from pref_assets.pairs.readers.writing import message_list, proven

_COLUMNS = ("chosen", "rejected")


class SkyworkSource(Source):
    """Rows ``{chosen: [messages], rejected: [messages], source}`` (Liu et al. 2024, arXiv:2410.18451). Version 0.2 has
    the same columns and fewer rows: those near RewardBench's prompts are gone."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "chosen": [{"content": "Hi", "role": "user"}, {"content": "Hello!", "role": "assistant"}],
            "rejected": [{"content": "Hi", "role": "user"}, {"content": "What?", "role": "assistant"}],
            "source": "magpie_ultra",
        },
    )
    keeps: ClassVar[str] = "Both dialogues, cut after their last common question; `source` as metadata of the prompt."

    type: Literal["skywork"] = "skywork"

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        found = sides(row, None, *_COLUMNS, "auto")
        check_prompt(found.prompt, "chosen")
        check_sides(found.chosen, found.rejected, _COLUMNS)
        return Record(
            found.prompt,
            [Answer(found.chosen), Answer(found.rejected)],
            [Vote(0, 1, "a")],
            metadata={name: row[name] for name in row if name not in _COLUMNS},
        )

    def row(self, record: Record) -> dict[str, Any]:
        """Both dialogues, and the metadata."""
        record = better_first(record)
        prompt = message_list(record.turns)
        sides = (prompt + message_list(answer.turns) for answer in record.answers)
        return proven(self, record, with_metadata(dict(zip(_COLUMNS, sides, strict=True)), record))
