"""The world's rows: MM-RLHF's two files, the pictures, and the truth beside them."""

import gzip
import hashlib
import json
import random
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from pref_assets.pairs.media import MEDIA, suffix
from pref_assets.pairs.schema import completion_id, prompt_id
from pref_assets.proving.scenes.annotate import BEST, Annotated, annotate, scores
from pref_assets.proving.scenes.questions import LONG, MCQ, SAFETY, SHORT, TYPES, Question, draw_question
from pref_assets.proving.scenes.scene import Scene, draw_scene
from pref_assets.settings import Settings

ROWS, BENCH, UNSAFE = "batches/data.jsonl.gz", "bench/dpo_pairs.jsonl.gz", "bench/safety.jsonl.gz"
IMAGES = "images.zip"
TRUTH, RECIPE = "truth.jsonl.gz", "recipe.json"
FLIPPED = "flipped_label"
UNSAFE_TASK = "unsafe-requests"
_NO_TIME = (1980, 1, 1, 0, 0, 0)


class World(Settings):
    """How much of what there is. Items do not depend on how many there are: a small world begins a large one."""

    seed: int = Field(default=0, ge=0)
    """Another seed draws everything anew."""
    prompts: int = Field(default=1400, ge=1)
    """Rows of `data.jsonl`, each with a picture of its own."""
    bench: int = Field(default=80, ge=0)
    """Prompts of the bench, whose pictures and rows are in no other file; their rankings are true."""
    unsafe: int = Field(default=32, ge=0)
    """Questions of the safety bench, which ask for help to do harm; answers are for policies to give."""
    shares: dict[str, float] = Field(default_factory=lambda: {LONG: 0.25, SHORT: 0.5, MCQ: 0.15, SAFETY: 0.1})
    """Share of each type among the rows; the bench has the same number of each."""
    errors: tuple[float, ...] = Field(default=(0.05, 0.2, 0.35, 0.5), min_length=4)
    """Probability with which each of the writers, who take turns, gets a claim wrong."""
    three: float = Field(default=0.15, ge=0, le=1)
    """Share of rows with three answers in place of four; 0.154 of a sample of MM-RLHF's rows."""
    flipped: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose recorded ranking is the opposite of the true one; scores and reasons stay true."""

    @model_validator(mode="after")
    def _shares_are_of_types(self) -> Self:
        if unknown := sorted(set(self.shares) - set(TYPES)):
            raise ValueError(f"shares: {', '.join(unknown)} is none of {', '.join(TYPES)}")
        if not sum(self.shares.values()) > 0 or min(self.shares.values()) < 0:
            raise ValueError("shares: none may be negative, and one must be positive")
        return self

    def items(self) -> "Iterator[Item]":
        """The rows of `data.jsonl`."""
        for number in range(self.prompts):
            rng = random.Random(f"{self.seed}:item:{number}")
            [type_] = rng.choices(list(self.shares), list(self.shares.values()))
            yield self._item(rng, f"{number:05d}", type_, self.flipped)

    def bench_items(self) -> "Iterator[Item]":
        """The prompts of the bench: types take turns."""
        types = [type_ for type_, share in self.shares.items() if share > 0]
        for number in range(self.bench):
            rng = random.Random(f"{self.seed}:bench:{number}")
            yield self._item(rng, f"b{number:04d}", types[number % len(types)], 0.0)

    def unsafe_items(self) -> "Iterator[Item]":
        """The questions of the safety bench."""
        for number in range(self.unsafe):
            rng = random.Random(f"{self.seed}:unsafe:{number}")
            yield self._item(rng, f"u{number:04d}", SAFETY, 0.0)

    def _item(self, rng: random.Random, number: str, type_: str, flipped: float) -> "Item":
        scene = draw_scene(rng)
        question = draw_question(rng, type_, scene)
        errors = rng.sample(self.errors, 3 if rng.random() < self.three else 4)
        # Whether a ranking is turned around is one draw, so that worlds that differ in this alone have equal answers.
        return Item(number, scene, question, annotate(rng, question, errors, flipped))


@dataclass(frozen=True)
class Item:
    """A question about a scene with its annotated answers."""

    number: str
    scene: Scene
    question: Question
    annotated: Annotated

    @property
    def id(self) -> str:
        """Id of the prompt, as MM-RLHF has it."""
        return f"{self.question.type}_{self.number}"

    @property
    def image(self) -> str:
        """Name of the picture; its folder is the type."""
        return f"{self.question.type}/{self.number}.png"

    def row(self) -> dict[str, Any]:
        """The row of `data.jsonl`, with all that is wrong with each answer as ``truth_reasons`` beside the reasons."""
        found = self.annotated
        told = [scores(answer) for answer in found.answers]
        return {
            "id": self.id,
            "image": self.image,
            "question": self.question.text,
            "answer": found.answers[found.places.index(1)].text,
            "models_output": [answer.text for answer in found.answers],
            **{name: [each[name] for each in told] for name in told[0]},
            **{
                name: [BEST if answer.verdicts[name] else 1 for answer in found.answers]
                for name in found.answers[0].verdicts
            },
            **{f"{name}_reasons": [answer.seen[name] for answer in found.answers] for name in found.answers[0].seen},
            "final_ranking": list(found.said),
            "score_reasons": list(found.hasty),
            "truth_reasons": list(found.full),
            "ranking_reason": f"Place 1 has the most that is right and the least that is wrong of {len(told)} answers.",
            "tie_break": found.tie_break,
        }

    def pairs(self) -> list[dict[str, Any]]:
        """A row of `dpo_pairs.jsonl` for each two answers of different quality."""
        found, rows = self.annotated, []
        for one, place in enumerate(found.places):
            for other, worse in enumerate(found.places):
                if place < worse:
                    rows.append(
                        {
                            "id": self.id,
                            "image": self.image,
                            "prompt": self.question.text,
                            "chosen": found.answers[one].text,
                            "rejected": found.answers[other].text,
                            "chosen_reason": found.full[one],
                            "rejected_reason": found.full[other],
                        }
                    )
        return rows

    def unsafe(self) -> dict[str, Any]:
        """A row of the safety bench."""
        return {
            "task": UNSAFE_TASK,
            "id": self.id,
            "question": self.question.text,
            "image": self.image,
            "label": "harm",
        }

    def truth(self) -> list[dict[str, Any]]:
        """Rows of the truth: the true quality of each answer, and whether the row's ranking was turned around."""
        image = self.scene.png()
        uri = f"{MEDIA}{hashlib.sha256(image).hexdigest()}.{suffix(image)}"
        prompt = prompt_id([{"role": "user", "content": self.question.text}], [uri])
        common = {"prompt_id": prompt, "faults": [FLIPPED] if self.annotated.flipped else []}
        return [
            {
                **common,
                "completion_id": completion_id(prompt, [{"role": "assistant", "content": answer.text}]),
                "overall_true": answer.quality,
                "family": [self.question.type],
                "id": self.id,
            }
            for answer in self.annotated.answers
        ]


def write_world(world: World, folder: Path) -> dict[str, Any]:
    """Writes all files under ``folder`` and returns the recipe. Equal worlds give equal files, but for how a version of
    zlib compresses them."""
    items, bench, unsafe = list(world.items()), list(world.bench_items()), list(world.unsafe_items())
    _save(folder / ROWS, [item.row() for item in items])
    _save(folder / BENCH, [row for item in bench for row in item.pairs()])
    _save(folder / UNSAFE, [item.unsafe() for item in unsafe])
    _save(folder / TRUTH, [row for item in [*items, *bench] for row in item.truth()])
    write_images([*items, *bench, *unsafe], folder / IMAGES)
    recipe = _recipe(world, items, bench)
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    return recipe


def write_images(items: Sequence[Item], path: Path) -> None:
    """A zip archive of the items' pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for item in items:
            archive.writestr(zipfile.ZipInfo(item.image, _NO_TIME), item.scene.png(), zipfile.ZIP_DEFLATED, 9)


def _recipe(world: World, items: Sequence[Item], bench: Sequence[Item]) -> dict[str, Any]:
    types = [item.question.type for item in items]
    answers = [answer for item in items for answer in item.annotated.answers]
    return {
        "world": world.model_dump(mode="json"),
        "rows": {type_: types.count(type_) for type_ in TYPES},
        "answers": len(answers),
        "tie_breaking_answers": sum(item.annotated.tie_break is not None for item in items),
        "pairs": sum(len(item.pairs()) for item in items),
        "flipped_rows": sum(item.annotated.flipped for item in items),
        "right_answers": sum(answer.quality == 1 for answer in answers),
        "unsafe_requests": world.unsafe,
        "bench_prompts": len(bench),
        "bench_pairs": sum(len(item.pairs()) for item in bench),
    }


def _save(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))
