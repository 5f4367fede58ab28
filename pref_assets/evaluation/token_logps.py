"""The heavy half of the divergence: log-probabilities of the tokens of drawn answers."""

from typing import Any

import polars as pl

from pref_assets.evaluation.answering import Loaded, progress
from pref_assets.evaluation.answers import Answerer
from pref_assets.evaluation.divergence import TOKEN_LOGPS, Divergence, token_key
from pref_assets.evaluation.fill import fill
from pref_assets.features.store import Store
from pref_assets.models.vision import Sight
from pref_assets.pairs.messages import chat, shown_images
from pref_assets.training.data import Encoded
from pref_assets.training.job import Reporter


def score_tokens(
    config: Divergence, who: Answerer, prompts: pl.DataFrame, answers: pl.DataFrame, store: Store, report: Reporter
) -> int:
    """Log-probabilities of answers under a model; the number of answers computed now.

    Args:
        prompts: (prompt_id, messages).
        answers: as ``answers.stored_answers`` returns them.
    """
    from pref_assets.training.logprobs import completion_token_logps

    distinct = answers.unique("completion_id", keep="first").sort("completion_id")
    items = distinct.join(prompts, on="prompt_id").select("messages", "text", id="completion_id")

    def ask(part: pl.DataFrame, loaded: tuple[Any, Any]) -> pl.DataFrame:
        model, tokenizer = loaded
        encoded = [
            encode_answer(tokenizer, messages, text, config.sampling.max_new_tokens)
            for messages, text in part.select("messages", "text").iter_rows()
        ]
        logps = completion_token_logps(model, encoded, config.batch_tokens)
        return part.select("id", pl.Series("logps", [each.tolist() for each in logps], dtype=pl.List(pl.Float64)))

    key = token_key(who.model, config.sampling)
    name = progress(report, f"{who.name}: answers read")
    return fill(store, TOKEN_LOGPS, key, items, Loaded(who).get, ask, config.save_every, name)


def encode_answer(tokenizer: Any, messages: list[dict[str, str]], text: str, max_new_tokens: int) -> Encoded:
    """A prompt as it is given to generate from (``tokenizer`` may be the `Sight` of a model that sees), and the answer
    after it, with its end where that was reached."""
    seen = None
    if isinstance(tokenizer, Sight):
        prompt, seen = tokenizer.prompt(tokenizer.render(messages, ask=True), shown_images(messages))
        tokenizer = tokenizer.tokenizer
    else:
        turns, tools = chat(messages)
        asked = tokenizer.apply_chat_template(turns, tools=tools, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
    answer = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(answer) < max_new_tokens:
        answer = [*answer, tokenizer.eos_token_id]
    return Encoded((*prompt, *answer), len(prompt), truncated=False, seen=seen)
