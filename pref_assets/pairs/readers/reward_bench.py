"""RewardBench (allenai/reward-bench, Lambert et al. 2024, arXiv:2403.13787) and RewardBench 2 (Malik et al. 2025,
arXiv:2506.01937)."""

from typing import Any, ClassVar, Literal

from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.pairwise import better_first, sides, with_metadata
from pref_assets.pairs.readers.record import (
    Answer,
    BadRowError,
    Record,
    Vote,
    check_answer,
    check_prompt,
    check_sides,
    required,
    strings,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import proven, question, reply

_SIDES = ("chosen", "rejected")
_MODELS = ("chosen_model", "rejected_model")


class RewardBenchSource(Source):
    """Rows ``{id, prompt, chosen, chosen_model, rejected, rejected_model, subset}``, one question and two answers."""

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": "Hi",
            "chosen": "Hello!",
            "chosen_model": "gpt-4",
            "rejected": "What?",
            "rejected_model": "llama-2-7b",
            "subset": "alpacaeval-easy",
            "id": 1,
        },
    )
    keeps: ClassVar[str] = "Texts and models; `subset`, `id` and other columns as metadata of the prompt."

    type: Literal["reward_bench"] = "reward_bench"

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        found = sides(row, "prompt", *_SIDES, "explicit")
        check_prompt(found.prompt, "prompt")
        check_sides(found.chosen, found.rejected, _SIDES)
        turns = found.chosen, found.rejected
        named = ("prompt", *_SIDES, *_MODELS)
        return Record(
            found.prompt,
            [Answer(said, text(row, model)) for said, model in zip(turns, _MODELS, strict=True)],
            [Vote(0, 1, "a")],
            metadata={name: value for name, value in row.items() if name not in named},
        )

    def row(self, record: Record) -> dict[str, Any]:
        """The texts, models and metadata."""
        record = better_first(record)
        row: dict[str, Any] = {"prompt": question(record)}
        for side, model, answer in zip(_SIDES, _MODELS, record.answers, strict=True):
            row |= {side: reply(answer), model: answer.model}
        return proven(self, record, with_metadata(row, record))


class RewardBench2Source(Source):
    """Rows ``{id, prompt, chosen: [text], rejected: [text], num_correct, num_incorrect, total_completions, models,
    subset, additional_metadata}``: every chosen answer is preferred to every rejected one.

    Most rows have one chosen answer and three rejected ones; those of the subset ``Ties`` have many equally right
    answers, between which there is no vote. An empty answer is refused alone.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "id": "7",
            "prompt": "Name a colour of the rainbow.",
            "chosen": ["Red.", "Blue."],
            "rejected": ["Brown.", "Pink."],
            "num_correct": 2,
            "num_incorrect": 2,
            "total_completions": 4,
            "models": ["a", "b", "c", "d"],
            "subset": "Ties",
        },
    )
    keeps: ClassVar[str] = (
        "All texts; `models` on the answers when there is one for each; the counts are counted again when written, and "
        "kept where they say something else. Other columns as metadata of the prompt."
    )

    type: Literal["reward_bench_2"] = "reward_bench_2"

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, all answers, a vote for every chosen against every rejected one."""
        asked = required(row, "prompt")
        if not isinstance(asked, str):
            raise wrong_type("prompt", asked, "a string")
        check_prompt([("user", asked)], "prompt")
        answers, better, refused = _answers(row)
        both = {answer.turns[0] for answer in answers[:better]} & {answer.turns[0] for answer in answers[better:]}
        if both:
            raise BadRowError("identical_sides", "a text is in `chosen` and in `rejected`")
        named = {"prompt", *_SIDES, "models", *_counts(0, 0)}
        said = {name: row.get(name) for name in _counts(0, 0)}
        counted = _counts(len(row["chosen"]), len(row["rejected"]))
        wrong = {name: value for name, value in said.items() if value is not None and value != counted[name]}
        metadata = {name: value for name, value in row.items() if name not in named} | wrong
        if row.get("models") and all(answer.model is None for answer in answers):
            metadata["models"] = row["models"]
        votes = [Vote(a, b, "a") for a in range(better) for b in range(better, len(answers))]
        return Record([("user", asked)], answers, votes, metadata=metadata, refused=refused)

    def row(self, record: Record) -> dict[str, Any]:
        """The texts, counts, models and metadata."""
        losers = {vote.b if vote.choice == "a" else vote.a for vote in record.votes if vote.choice != "tie"}
        better = [answer for place, answer in enumerate(record.answers) if place not in losers]
        worse = [answer for place, answer in enumerate(record.answers) if place in losers]
        if not better or not worse:
            raise NoWayBackError("format `reward_bench_2` holds better and worse answers, the votes say of none")
        row: dict[str, Any] = {
            "prompt": question(record),
            "chosen": [reply(answer) for answer in better],
            "rejected": [reply(answer) for answer in worse],
        }
        models = [answer.model for answer in better + worse]
        metadata = record.metadata or {}
        row |= {name: value for name, value in _counts(len(better), len(worse)).items() if name not in metadata}
        if None not in models:
            row["models"] = models
        ordered = _reordered(record, losers)
        return proven(self, ordered, with_metadata(row, record))


def _answers(row: dict[str, Any]) -> tuple[list[Answer], int, list[BadRowError]]:
    """Usable answers, the chosen ones first, how many of them are chosen, and why the others were refused."""
    texts = {name: strings({name: required(row, name)}, name) for name in _SIDES}
    models = strings(row, "models")
    known = len(models) == sum(map(len, texts.values()))
    answers: list[Answer] = []
    better = 0
    refused: list[BadRowError] = []
    said = [(name, index, value) for name in _SIDES for index, value in enumerate(texts[name])]
    for place, (name, index, value) in enumerate(said):
        answer = Answer([("assistant", value)], models[place] if known else None)
        try:
            check_answer(answer.turns, f"{name}[{index}]")
        except BadRowError as error:
            refused.append(error)
            continue
        answers.append(answer)
        better += name == "chosen"
    if not better or better == len(answers):
        why = "; ".join(map(str, refused)) or "`chosen` or `rejected` is an empty list"
        raise BadRowError("empty_side", why)
    return answers, better, refused


def _counts(better: int, worse: int) -> dict[str, int]:
    return {"num_correct": better, "num_incorrect": worse, "total_completions": better + worse}


def _reordered(record: Record, losers: set[int]) -> Record:
    """The record with the better answers first."""
    order = sorted(range(len(record.answers)), key=lambda place: (place in losers, place))
    places = {old: new for new, old in enumerate(order)}
    votes = [
        Vote(places[v.a], places[v.b], v.choice, v.annotator, v.dimension, v.strength, v.rationale)
        for v in record.votes
    ]
    answers = [record.answers[place] for place in order]
    return Record(record.turns, answers, votes, record.images, record.context, record.metadata)
