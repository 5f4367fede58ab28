"""Small tables of pairs in batches, as merging makes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from pref_assets.pairs.schema import (
    COMPARISONS,
    COMPLETIONS,
    PROMPTS,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    completion_id,
    pair_id,
    prompt_id,
)

Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Said:
    """A comparison: a prompt and two answers, with what else the prompt holds."""

    prompt: str
    one: str
    other: str
    images: Sequence[str] = ()
    context: str | None = None

    @property
    def prompt_id(self) -> str:
        return prompt_id(turn("user", self.prompt), self.images, self.context)

    @property
    def completion_ids(self) -> list[str]:
        return [completion_id(self.prompt_id, turn("assistant", text)) for text in (self.one, self.other)]

    @property
    def pair_id(self) -> str:
        return pair_id(*self.completion_ids)


@dataclass
class Tables:
    """Batches b1, b2, … of source s, in order of arrival."""

    batches: Sequence[Sequence[Said]]
    seed: int | None = None
    sequence: dict[str, int] = field(default_factory=dict)

    def arrival(self) -> pl.DataFrame:
        names = [f"b{number}" for number in range(1, len(self.batches) + 1)]
        return pl.DataFrame(
            {"source": "s", "batch": names, "sequence": [self.sequence.get(name, int(name[1:])) for name in names]},
            schema={"source": pl.String, "batch": pl.String, "sequence": pl.Int64},
        )

    def record_prompts(self) -> pl.LazyFrame:
        rows = [{**self._prompt(said), **where} for said, where in self._rows()]
        return self._mixed(RECORD_PROMPTS.frame(rows))

    def record_completions(self) -> pl.LazyFrame:
        rows = [
            {"completion_id": id_, "prompt_id": said.prompt_id, "messages": turn("assistant", text), **where}
            for said, where in self._rows()
            for id_, text in zip(said.completion_ids, (said.one, said.other), strict=True)
        ]
        return self._mixed(RECORD_COMPLETIONS.frame(rows))

    def merged(self) -> tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame]:
        """comparisons, prompts, completions."""
        prompts, completions, pairs = {}, {}, {}
        for said, where in self._rows():
            prompt = prompts.setdefault(said.prompt_id, {**self._prompt(said), "provenance": []})
            prompt["provenance"].append(where)
            sides = []
            for text in (said.one, said.other):
                messages = turn("assistant", text)
                sides.append(completion_id(said.prompt_id, messages))
                row = {"completion_id": sides[-1], "prompt_id": said.prompt_id, "messages": messages, "provenance": []}
                completions.setdefault(sides[-1], row)["provenance"].append(where)
            pair = {"pair_id": said.pair_id, "prompt_id": said.prompt_id, "p_chosen": 1.0, "provenance": []}
            pair |= {"chosen_id": sides[0], "rejected_id": sides[1], "split": "train"}
            pairs.setdefault(said.pair_id, pair)["provenance"].append(where)
        return (
            self._mixed(COMPARISONS.frame(pairs.values())),
            self._mixed(PROMPTS.frame(prompts.values())),
            self._mixed(COMPLETIONS.frame(completions.values())),
        )

    def _rows(self):
        for number, batch in enumerate(self.batches, 1):
            for row, said in enumerate(batch, 1):
                yield said, {"source": "s", "uri": f"f{number}.jsonl", "row": row, "batch": f"b{number}"}

    def _prompt(self, said: Said) -> dict:
        return {
            "prompt_id": said.prompt_id,
            "messages": turn("user", said.prompt),
            "images": list(said.images),
            "context": said.context,
        }

    def _mixed(self, frame: pl.DataFrame) -> pl.LazyFrame:
        if self.seed is None:
            return frame.lazy()
        return frame.sample(fraction=1, shuffle=True, seed=self.seed).lazy()


def turn(role: str, text: str) -> Turns:
    return [{"role": role, "content": text}]
