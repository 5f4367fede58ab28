"""From a subset's decisions to token sequences: which pairs train, and what the model reads of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pref_assets.pairs.labels import with_decisions
from pref_assets.pairs.messages import chat, function_names
from pref_assets.pairs.schema import MESSAGES
from pref_assets.training.errors import TrainingDataError, name_pairs

MIN_PROMPT_TOKENS = 16
"""Prompt tokens that truncation leaves, so that a long completion still has something to be an answer to."""

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
}
TRAINING_ROWS = pl.Schema(_COLUMNS)
"""A pair as it trains: ``p_chosen`` is at least one half, ``margin`` is what the loss demands of the chosen side over
the rejected one (null: none), ``swapped`` says whether the pairs table has the sides the other way round."""


@dataclass(frozen=True)
class Encoded:
    """One completion after its prompt: ``ids[:n_prompt]`` is the prompt, the rest is the completion."""

    ids: tuple[int, ...]
    n_prompt: int
    truncated: bool
    """Whether completion tokens were cut off."""

    @property
    def n_completion(self) -> int:
        return len(self.ids) - self.n_prompt

    @property
    def completion_ids(self) -> tuple[int, ...]:
        return self.ids[self.n_prompt :]


def training_rows(
    decisions: pl.DataFrame, pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame
) -> pl.DataFrame:
    """The selected pairs with their texts, as ``TRAINING_ROWS`` sorted by pair id, with the labels that the selector
    decided on where it did (``pairs.labels``).

    Raises:
        TrainingDataError: a selected pair, its prompt or a completion is not in the tables, its two completions answer
            different prompts, the votes' ``p_chosen`` is below a half, the selector's is no probability or its margin
            not finite, or the prompt has images, which no model here looks at.
    """
    selected = decisions.filter("selected").select("pair_id", "weight", "stage", "p_chosen", "margin")
    known = pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id", "p_chosen")
    _refuse(selected.join(known, on="pair_id", how="anti"), pl.lit(True), "selected but not in the pairs table")
    _refuse(selected, ~pl.col("p_chosen").is_between(0, 1), "the selector's p_chosen is no probability")
    _refuse(selected, ~pl.col("margin").is_finite(), "the selector's margin is not finite")
    turns = completions.select("completion_id", "messages")
    rows = (
        with_decisions(known.lazy(), selected.lazy())
        .collect()
        .join(prompts.select("prompt_id", "images", prompt="messages"), on="prompt_id", how="left")
        .join(turns.rename({"completion_id": "chosen_id", "messages": "chosen"}), on="chosen_id", how="left")
        .join(turns.rename({"completion_id": "rejected_id", "messages": "rejected"}), on="rejected_id", how="left")
        .sort("pair_id")
    )
    _refuse(rows, pl.col("prompt_id").is_null(), "the two completions answer different prompts")
    _refuse(rows, pl.any_horizontal(pl.col("prompt", "chosen", "rejected").is_null()), "prompt or completion missing")
    _refuse(rows, pl.col("images").list.len() > 0, "the prompt has images, which no model here looks at")
    _refuse(rows, pl.col("p_chosen") < 0.5, "the label contradicts the orientation (p_chosen below 0.5)")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in TRAINING_ROWS.items())


def _refuse(rows: pl.DataFrame, bad: pl.Expr, why: str) -> None:
    ids = rows.filter(bad)["pair_id"].to_list()
    if ids:
        raise TrainingDataError(f"{len(ids)} pairs cannot train: {why}: {name_pairs(ids)}")


def encode(
    tokenizer: Any,
    prompt: Iterable[Mapping[str, str]],
    completion: Iterable[Mapping[str, str]],
    max_length: int,
    min_prompt: int = MIN_PROMPT_TOKENS,
) -> Encoded:
    """Tokens of a completion after its prompt, through the chat template.

    The prompt is rendered up to the point where the assistant starts to write; the completion is everything that the
    template renders after that (text and end of turn). The two are tokenised apart, as they are when a model
    generates, so the prompt of chosen and rejected is one and the same. A sequence above ``max_length`` loses the
    start of its prompt first (``min_prompt`` tokens stay), then the end of its completion.

    Raises:
        TrainingDataError: no chat template, or one that does not render a conversation as prompt + answer.
        ValueError: ``max_length`` leaves no room for a completion.
    """
    if max_length <= min_prompt:
        raise ValueError(f"max_length {max_length} leaves no completion beside {min_prompt} prompt tokens")
    if tokenizer.chat_template is None:
        raise TrainingDataError("the model's tokenizer has no chat template; use an instruction-tuned model")
    before, whole = _render(tokenizer, list(prompt), list(completion))
    prompt_ids = tokenizer(before, add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
    excess = max(0, len(prompt_ids) + len(completion_ids) - max_length)
    cut = min(excess, max(0, len(prompt_ids) - min_prompt))
    prompt_ids = prompt_ids[cut:]
    kept = completion_ids[: max_length - len(prompt_ids)]
    return Encoded((*prompt_ids, *kept), len(prompt_ids), len(kept) < len(completion_ids))


def _render(tokenizer: Any, prompt: list[Mapping[str, str]], completion: list[Mapping[str, str]]) -> tuple[str, str]:
    from jinja2 import TemplateError

    asked, tools = chat(prompt)
    messages = [*asked, *chat(completion)[0]]
    if parts := [message["role"] for message in messages if isinstance(message.get("content"), list)]:
        raise TrainingDataError(f"a turn by {parts[0]!r} shows an image or another part; only text trains")
    try:
        before = tokenizer.apply_chat_template(asked, tools=tools, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    except TemplateError as error:
        roles = [message["role"] for message in messages]
        raise TrainingDataError(f"the model's chat template refuses the roles {roles}: {error}") from error
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
