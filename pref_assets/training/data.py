"""From a subset's decisions to token sequences: which pairs train, and what the model reads of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pref_assets.models.vision import Seen, Sight, SightError
from pref_assets.pairs.labels import with_decisions
from pref_assets.pairs.messages import chat, function_names, shown, shown_images
from pref_assets.pairs.schema import MESSAGES, NAMED_VALUE, PAIR_SCORES, completion_id, prompt_id
from pref_assets.training.errors import TrainingDataError, name_pairs

MIN_PROMPT_TOKENS = 16
"""Prompt tokens that truncation leaves, so that a long completion still has something to be an answer to."""

NAMED_TEXT = pl.Struct({"name": pl.String, "text": pl.String})
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "pair_id": pl.String,
    "prompt": MESSAGES,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
    "chosen_id": pl.String,
    "rejected_id": pl.String,
    "p_chosen": pl.Float64,
    "weight": pl.Float64,
    "stage": pl.Int64,
    "margin": pl.Float64,
    "swapped": pl.Boolean,
    "rejected_prompt": MESSAGES,
    "columns": pl.List(NAMED_VALUE),
    "texts": pl.List(NAMED_TEXT),
}
_NO_TEXTS = pl.lit(pl.Series([[]], dtype=_COLUMNS["texts"])).first()
TRAINING_ROWS = pl.Schema(_COLUMNS)
"""A pair as it trains: ``p_chosen`` is at least one half, ``margin`` is what the loss demands of the chosen side over
the rejected one (null: none), ``swapped`` says whether the pairs table has the sides the other way round,
``rejected_prompt`` is null where both sides answer ``prompt``, ``columns`` and ``texts`` are numbers and texts of the
pair that the objective asked for."""
_PARTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "pair_id": pl.String,
    "part": pl.String,
    "sequence_id": pl.String,
    "prompt": MESSAGES,
    "completion": MESSAGES,
}
PARTS = pl.Schema(_PARTS)
"""Further sequences of pairs beside the two sides: ``sequence_id`` is the completion's id under its prompt
(``sequence_id``), an empty prompt means that every token of the rendered conversation but the first counts."""
PAIR_NAMED_TEXTS = pl.Schema({"pair_id": pl.String(), "name": pl.String(), "text": pl.String()})
"""Texts of pairs by name, such as a rationale; no name twice for a pair."""
TextSource = Callable[[pl.DataFrame, pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""Makes ``PAIR_NAMED_TEXTS`` from training rows, pairs and completions."""


@dataclass(frozen=True)
class ScoreColumn:
    """Where an objective finds a number of each pair.

    Attributes:
        scores: entry of ``scores``.
        column: a column of its table, or one of its named details.
        signed: whether the number changes its sign with the label, as a margin does.
        probability: whether it lies in [0, 1] and becomes 1 minus itself with the other label; checked.
    """

    scores: str
    column: str = "score"
    signed: bool = True
    probability: bool = False


@dataclass(frozen=True)
class Encoded:
    """One completion after its prompt: ``ids[:n_prompt]`` is the prompt, the rest is the completion."""

    ids: tuple[int, ...]
    n_prompt: int
    truncated: bool
    """Whether completion tokens were cut off."""
    seen: Seen | None = None
    """The images of the prompt."""

    @property
    def n_completion(self) -> int:
        return len(self.ids) - self.n_prompt

    @property
    def completion_ids(self) -> tuple[int, ...]:
        return self.ids[self.n_prompt :]


def training_rows(
    decisions: pl.DataFrame,
    pairs: pl.DataFrame,
    prompts: pl.DataFrame,
    completions: pl.DataFrame,
    columns: Mapping[str, ScoreColumn] | None = None,
    scores: Mapping[str, pl.DataFrame] | None = None,
    stage: int | None = None,
    texts: TextSource | None = None,
) -> pl.DataFrame:
    """The selected pairs with their texts, as ``TRAINING_ROWS`` sorted by pair id, with the labels that the selector
    decided on where it did (``pairs.labels``).

    Args:
        columns: what the objective asks for, by the kernel's names.
        scores: the score tables that they name.
        stage: only the pairs of this stage; null for all.
        texts: makes the texts of pairs that the objective asks for (``Objective.texts``); null for none.

    Raises:
        TrainingDataError: a selected pair, its prompt or a completion is not in the tables, the votes' ``p_chosen`` is
            below a half, the selector's is no probability or its margin not finite, a column that the objective asks
            for has no finite value, or a prompt has other images than places for them.
    """
    selected = decisions.filter("selected").select("pair_id", "weight", "stage", "p_chosen", "margin")
    if stage is not None:
        selected = selected.filter(pl.col("stage") == stage)
    known = pairs.select("pair_id", "chosen_id", "rejected_id", "p_chosen")
    _refuse(selected.join(known, on="pair_id", how="anti"), pl.lit(True), "selected but not in the pairs table")
    _refuse(selected, ~pl.col("p_chosen").is_between(0, 1), "the selector's p_chosen is no probability")
    _refuse(selected, ~pl.col("margin").is_finite(), "the selector's margin is not finite")
    rows = with_decisions(known.lazy(), selected.lazy()).collect()
    for side in ("chosen", "rejected"):
        rows = rows.join(_side(side, prompts, completions), on=f"{side}_id", how="left")
    read = ("chosen", "rejected", "chosen_prompt", "rejected_prompt")
    _refuse(rows, pl.any_horizontal(pl.col(read).is_null()), "prompt or completion missing")
    _refuse(rows, pl.col("p_chosen") < 0.5, "the label contradicts the orientation (p_chosen below 0.5)")
    one = pl.col("chosen_prompt_id") == pl.col("rejected_prompt_id")
    rows = rows.rename({"chosen_prompt": "prompt"}).with_columns(
        rejected_prompt=pl.when(~one).then("rejected_prompt"),
        columns=_columns(rows, columns or {}, scores or {}),
        texts=_NO_TEXTS,
    )
    rows = rows.sort("pair_id").select(pl.col(name).cast(dtype) for name, dtype in TRAINING_ROWS.items())
    return rows if texts is None else with_texts(rows, texts(rows, pairs, completions))


def with_texts(rows: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Training rows with these texts (``PAIR_NAMED_TEXTS``) in the place of theirs, sorted by name."""
    named = texts.sort("pair_id", "name").group_by("pair_id").agg(texts=pl.struct("name", "text"))
    joined = rows.drop("texts").join(named, on="pair_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("texts").fill_null(_NO_TEXTS)).select(TRAINING_ROWS.names())


def texts_named(rows: pl.DataFrame, name: str) -> dict[str, str]:
    """The text of that name by pair id, of the training rows that bring one."""
    found = rows.select("pair_id", "texts").explode("texts").unnest("texts").filter(name=name)
    return dict(found.select("pair_id", "text").iter_rows())


def _side(side: str, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Texts of completions and their prompts, images in their places, under the names of one side."""
    turns = completions.select(pl.col("completion_id").alias(f"{side}_id"), pl.col("messages").alias(side), "prompt_id")
    asked = with_shown(prompts).select("prompt_id", pl.col("messages").alias(f"{side}_prompt"))
    return turns.join(asked, on="prompt_id", how="left").rename({"prompt_id": f"{side}_prompt_id"})


def with_shown(prompts: pl.DataFrame) -> pl.DataFrame:
    """Prompts (prompt_id, messages, images, …) with each image's place in its image part, as models that see read them.

    Raises:
        TrainingDataError: a prompt has other images than places for them.
    """
    having = prompts.filter(pl.col("images").list.len() > 0)
    if having.is_empty():
        return prompts
    found = []
    for prompt_id_, messages, images in having.select("prompt_id", "messages", "images").iter_rows():
        try:
            found.append((prompt_id_, shown(messages, images)))
        except ValueError as error:
            raise TrainingDataError(f"prompt {prompt_id_}: {error}") from error
    seen = pl.DataFrame(found, schema={"prompt_id": pl.String, "shown": MESSAGES}, orient="row")
    joined = prompts.join(seen, on="prompt_id", how="left", maintain_order="left")
    return joined.with_columns(messages=pl.coalesce("shown", "messages")).drop("shown")


def _columns(rows: pl.DataFrame, columns: Mapping[str, ScoreColumn], scores: Mapping[str, pl.DataFrame]) -> pl.Series:
    """``TRAINING_ROWS``' columns: the named numbers of each row, mirrored where its sides were."""
    values = {}
    for name, asked in columns.items():
        column = _mirrored(rows, scores[asked.scores], asked)
        where = f"no usable {asked.column!r} in scores {asked.scores!r}, which the objective needs as {name}"
        _refuse(rows.filter(~column.is_finite().fill_null(False)), pl.lit(True), where)
        if asked.probability:
            where = f"{asked.column!r} in scores {asked.scores!r}, the objective's {name}, is not in [0, 1]"
            _refuse(rows.filter(~column.is_between(0, 1)), pl.lit(True), where)
        values[name] = column
    named = [pl.struct(name=pl.lit(name), value=pl.lit(column)) for name, column in values.items()]
    empty = pl.Series("columns", [[]] * len(rows), dtype=pl.List(NAMED_VALUE))
    return rows.select(pl.concat_list(named).alias("columns"))["columns"] if named else empty


_OTHER_SIDE = {"score_chosen": "score_rejected", "score_rejected": "score_chosen"}


def _mirrored(rows: pl.DataFrame, table: pl.DataFrame, asked: ScoreColumn) -> pl.Series:
    def values(column: str) -> pl.Series:
        found = score_values(table, column)
        return rows.select("pair_id").join(found, on="pair_id", how="left", maintain_order="left")["value"]

    straight = values(asked.column)
    if asked.column in _OTHER_SIDE:
        mirrored = values(_OTHER_SIDE[asked.column])
    elif asked.probability:
        mirrored = 1 - straight
    else:
        mirrored = -straight if asked.signed else straight
    return straight.zip_with(~rows["swapped"], mirrored)


def score_values(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Frame (pair_id, value): a column of a ``PAIR_SCORES`` table, or one of the named values in its ``details``."""
    if column in PAIR_SCORES.columns:
        return table.select("pair_id", value=pl.col(column))
    named = pl.col("details").list.filter(pl.element().struct.field("name") == column)
    return table.select("pair_id", value=named.list.first().struct.field("value"))


def sequence_id(prompt: Iterable[Mapping[str, str]], completion: Iterable[Mapping[str, str]]) -> str:
    """Id of a completion under a prompt that is in no table, for its reference log-probability."""
    return completion_id(prompt_id(prompt), completion)


def _refuse(rows: pl.DataFrame, bad: pl.Expr, why: str) -> None:
    ids = rows.filter(bad)["pair_id"].to_list()
    if ids:
        raise TrainingDataError(f"{len(ids)} pairs cannot train: {why}: {name_pairs(ids)}")


def encode(
    reader: Any,
    prompt: Iterable[Mapping[str, str]],
    completion: Iterable[Mapping[str, str]],
    max_length: int,
    min_prompt: int = MIN_PROMPT_TOKENS,
) -> Encoded:
    """Tokens of a completion after its prompt, through the chat template.

    The prompt is rendered up to the point where the assistant starts to write; the completion is everything that the
    template renders after that (text and end of turn). The two are tokenised apart, as they are when a model
    generates, so the prompt of chosen and rejected is one and the same. A sequence above ``max_length`` loses the
    start of its prompt first (``min_prompt`` tokens stay), then the end of its completion. Without a prompt the whole
    rendered conversation is the completion, but for its first token, which nothing predicts. A prompt with images
    keeps all of its tokens.

    Args:
        reader: a tokenizer, or the `Sight` of a model that sees.

    Raises:
        TrainingDataError: no chat template, or one that does not render a conversation as prompt + answer; images and a
            model that sees none, an image that cannot be opened, a prompt with images that is too long, or a whole
            conversation with an image.
        ValueError: ``max_length`` leaves no room for a completion.
    """
    if max_length <= min_prompt:
        raise ValueError(f"max_length {max_length} leaves no completion beside {min_prompt} prompt tokens")
    sight = reader if isinstance(reader, Sight) else None
    tokenizer = reader.tokenizer if sight else reader
    if (sight.processor if sight else tokenizer).chat_template is None:
        raise TrainingDataError("the model's tokenizer has no chat template; use an instruction-tuned model")
    if not (asked := list(prompt)):
        return _whole(reader, list(completion), max_length)
    before, whole = _render(reader, asked, list(completion))
    uris, seen = shown_images(asked), None
    try:
        prompt_ids, seen = sight.prompt(before, uris) if sight else (_ids(tokenizer, before), None)
    except SightError as error:
        raise TrainingDataError(str(error)) from error
    completion_ids = _ids(tokenizer, whole[len(before) :])
    excess = max(0, len(prompt_ids) + len(completion_ids) - max_length)
    cut = min(excess, max(0, len(prompt_ids) - min_prompt))
    if seen and len(prompt_ids) >= max_length:
        raise TrainingDataError(
            f"a prompt takes {len(prompt_ids)} tokens with its {len(uris)} images, and max_length is {max_length}; "
            "images are not cut: raise max_length"
        )
    prompt_ids = prompt_ids if seen else prompt_ids[cut:]
    kept = completion_ids[: max_length - len(prompt_ids)]
    return Encoded((*prompt_ids, *kept), len(prompt_ids), len(kept) < len(completion_ids), seen)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _whole(reader: Any, messages: list[Mapping[str, str]], max_length: int) -> Encoded:
    if shown_images(messages):
        raise TrainingDataError(
            "a conversation shows an image, and this objective asks how likely all of it is: a model says that of "
            "words, not of images; use an objective that reads answers alone"
        )
    if isinstance(reader, Sight):
        ids = _ids(reader.tokenizer, reader.render(messages))
    else:
        turns, tools = chat(messages)
        ids = reader.apply_chat_template(turns, tools=tools, tokenize=True, return_dict=True)["input_ids"]
    return Encoded(tuple(ids[:max_length]), 1, len(ids) > max_length)


def _render(reader: Any, prompt: list[Mapping[str, str]], completion: list[Mapping[str, str]]) -> tuple[str, str]:
    from jinja2 import TemplateError

    asked, tools = chat(prompt)
    answered, _ = chat(completion)
    messages = [*asked, *answered]
    sight = isinstance(reader, Sight)
    parts = [m["role"] for m in (answered if sight else messages) if isinstance(m.get("content"), list)]
    if parts:
        why = "an answer is text" if sight else "only a model that sees can read it"
        raise TrainingDataError(f"a turn by {parts[0]!r} shows an image or another part; {why}")
    try:
        if isinstance(reader, Sight):
            before, whole = reader.render(prompt, ask=True), reader.render([*prompt, *completion])
        else:
            before = reader.apply_chat_template(asked, tools=tools, tokenize=False, add_generation_prompt=True)
            whole = reader.apply_chat_template(messages, tools=tools, tokenize=False)
    except TemplateError as error:
        roles = [message["role"] for message in messages]
        raise TrainingDataError(f"the model's chat template refuses the roles {roles}: {error}") from error
    except SightError as error:
        raise TrainingDataError(str(error)) from error
    if unseen := [name for name in function_names(messages, tools) if name not in whole]:
        raise TrainingDataError(
            f"the model's chat template does not show the function {unseen[0]!r}, which is on offer or called; "
            "use a model whose template knows tools"
        )
    if not whole.startswith(before):
        raise TrainingDataError(
            "the model's chat template does not render the conversation as its prompt followed by the answer; "
            f"prompt ends {before[-80:]!r}, conversation has {whole[len(before) - 80 : len(before)]!r} there"
        )
    return before, whole


def buckets(lengths: Sequence[int], batch_tokens: int, rows: int = 1) -> list[list[int]]:
    """Indices in batches of similar length: longest first, ``rows`` sequences an item, padded size in the budget.

    ``lengths[i]`` is the longest sequence of item ``i``. An item larger than the budget has a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        if batches and lengths[batches[-1][0]] * rows * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
