"""Comparisons made by hand, and what the audit says of them."""

from typing import Any, NamedTuple

import polars as pl

from pref_assets.pairs.audit import AuditSettings, flags
from pref_assets.pairs.audit.texts import with_texts
from pref_assets.pairs.chunks import pair_chunks
from pref_assets.pairs.schema import COMPARISONS, COMPLETIONS, PROMPTS, completion_id, pair_id, prompt_id


class Tables(NamedTuple):
    comparisons: pl.DataFrame
    prompts: pl.DataFrame
    completions: pl.DataFrame

    @property
    def names(self) -> dict[str, str]:
        """The file's row behind each pair id, as text."""
        first = pl.col("provenance").list.first().struct.field("row")
        return dict(self.comparisons.select("pair_id", first.cast(pl.String)).iter_rows())


def turns(said: Any, role: str) -> list[dict[str, str]]:
    """A text as one turn of the role; turns as they are, ``(role, content)`` or messages."""
    if isinstance(said, str):
        return [{"role": role, "content": said}]
    return [turn if isinstance(turn, dict) else {"role": turn[0], "content": turn[1]} for turn in said]


def tables(*pairs: Any, batch: str = "b1", start: int = 1) -> Tables:
    """Tables of ``(prompt, chosen, rejected)`` or ``(prompt, chosen, rejected, more)``; row numbers from ``start``.

    ``more`` are columns of the comparison, or ``other_prompt``: what the rejected answer answers.
    """
    prompts, completions, comparisons = {}, {}, []
    for number, (prompt, chosen, rejected, *rest) in enumerate(pairs, start):
        more = dict(rest[0]) if rest else {}
        provenance = [{"source": "s", "uri": "rows.jsonl", "row": number, "batch": batch}]
        asked = [prompt, more.pop("other_prompt", prompt)]
        ids = []
        for question, answer in zip(asked, (chosen, rejected), strict=True):
            said, answered = turns(question, "user"), turns(answer, "assistant")
            of = prompt_id(said)
            prompts[of] = {"prompt_id": of, "messages": said, "images": [], "group_id": of, "split": "train"}
            ids.append(completion_id(of, answered))
            completions[ids[-1]] = {"completion_id": ids[-1], "prompt_id": of, "messages": answered, "ratings": []}
        vote = {"annotator": "unknown", "dimension": "overall", "choice": "chosen"}
        comparisons.append(
            {
                "pair_id": pair_id(*ids),
                "prompt_id": prompt_id(turns(prompt, "user")) if asked[0] == asked[1] else None,
                "chosen_id": ids[0],
                "rejected_id": ids[1],
                "p_chosen": 1.0,
                "votes": [vote],
                "split": "train",
                "provenance": provenance,
                **more,
            }
        )
    return Tables(
        COMPARISONS.frame(comparisons).sort(COMPARISONS.order, nulls_last=True),
        PROMPTS.frame(prompts.values()).sort("prompt_id"),
        COMPLETIONS.frame(completions.values()).sort(COMPLETIONS.order),
    )


def audit(made: Tables, *rules: Any, **options: Any) -> pl.DataFrame:
    """``FLAGS`` of the rules with ``pair_id`` replaced by the row's number, sorted."""
    frames = (frame.lazy() for frame in made)
    found = flags(*frames, AuditSettings(rules=rules, chunk=2), **options)
    return found.with_columns(pl.col("pair_id").replace_strict(made.names)).sort("pair_id", "code")


def details(rule: Any, *pairs: Any) -> dict[int, str]:
    """Row number to detail of the pairs that the rule flags."""
    found = audit(tables(*pairs), rule)
    assert set(found["code"]) <= {rule.type}
    return {int(row): detail for row, detail in found.select("pair_id", "detail").iter_rows()}


def texts(*pairs: Any) -> pl.DataFrame:
    """The pairs as `audit.texts.TEXTS`."""
    made = tables(*pairs)
    return pl.concat(with_texts(chunk) for chunk in pair_chunks(*(frame.lazy() for frame in made)))
