"""How much a prompt helps a language model to write the answer."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, pair_scores, ranked_by, sides
from pref_assets.scoring.language.base import LanguageScorer, completions_to_read
from pref_assets.training.data import Encoded

_MEASURED = ("ifd", "perplexity", "perplexity_alone")


class InstructionFollowingDifficulty(LanguageScorer):
    """Instruction-Following Difficulty of both answers: perplexity after the prompt over perplexity without it (IFD,
    Li et al., arXiv:2308.12032, section 2.2; with perplexities in Superfiltering, arXiv:2402.00530, equation 3).

    High: the prompt says little of the answer, which is hard to follow. Above 1 the prompt hurts, and the paper drops
    the row as misaligned: ``category`` is ``prompt_hurts`` where that is so of the chosen answer, else
    ``prompt_helps``. The two papers differ: the first divides mean losses, the second perplexities; ``ratio`` says
    which. Without its prompt an answer stands after the words that open an assistant's turn in the chat template, so
    that the same tokens are counted on both sides (choice; where a template has no such words, after the start token).
    Images of the prompt are shown to a model that sees, and belong to what is left out.
    Details: ifd, perplexity, perplexity_alone, each ``_chosen`` and ``_rejected``. Twice the cost of ``likelihood``.
    """

    type: Literal["ifd"] = "ifd"
    kind: ClassVar[str] = "ifd"
    looks: ClassVar[bool] = True
    ratio: Literal["perplexity", "loss"] = "perplexity"
    """What is divided: perplexities, or mean losses."""
    by: RankBy = "chosen"
    """How the two answers' difficulties become one number."""

    def items(self, pool: Pool) -> pl.DataFrame:
        """Frame (id, prompt, messages) of compared completions. Raises ``ValueError`` as `completions_to_read`."""
        return completions_to_read(pool, seen=True)

    def read(self, items: pl.DataFrame, model: Any, tokenizer: Any) -> tuple[pl.DataFrame, int]:
        """Rows (id, logp, logp_alone, n_tokens, truncated); log-probabilities are sums in nats."""
        from pref_assets.training.data import encode
        from pref_assets.training.logprobs import completion_logps

        turns = items.select("prompt", "messages").rows()
        after = [encode(tokenizer, prompt, messages, self.max_length) for prompt, messages in turns]
        alone = [without_prompt(tokenizer, turns[i][0], e) for i, e in enumerate(after)]
        logps, counts = completion_logps(model, [*after, *alone], self.batch_tokens)
        rows = {
            "id": items["id"],
            "logp": logps[: len(after)],
            "logp_alone": logps[len(after) :],
            "n_tokens": counts[: len(after)],
            "truncated": [e.truncated for e in after],
        }
        return pl.DataFrame(rows), sum(len(e.ids) for e in (*after, *alone))

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``; the sides' scores are their difficulties."""
        loss, alone = (-pl.col(name) / pl.col("n_tokens") for name in ("logp", "logp_alone"))
        found = measured.with_columns(
            ifd=(loss - alone).exp() if self.ratio == "perplexity" else loss / alone,
            perplexity=loss.exp(),
            perplexity_alone=alone.exp(),
        )
        chosen, rejected = pl.col("ifd_chosen"), pl.col("ifd_rejected")
        frame = sides(pool.pairs, found, _MEASURED).with_columns(
            score=ranked_by(self.by, chosen, rejected),
            score_chosen=chosen,
            score_rejected=rejected,
            category=pl.when(chosen > 1).then(pl.lit("prompt_hurts")).otherwise(pl.lit("prompt_helps")),
        )
        return pair_scores(frame, [f"{name}_{side}" for name in _MEASURED for side in ("chosen", "rejected")])


def without_prompt(reader: Any, prompt: list[Mapping[str, str]], encoded: Encoded) -> Encoded:
    """The same completion tokens after nothing but the opening of an assistant's turn.

    Raises:
        ValueError: the template opens no turn and the tokenizer has no start or end token to stand in for it.
    """
    from pref_assets.models.loading import tokenizer_of
    from pref_assets.models.vision import Sight
    from pref_assets.pairs.messages import chat

    tokenizer = tokenizer_of(reader)
    if isinstance(reader, Sight):
        closed, opened = (reader.render(prompt, ask=opens) for opens in (False, True))
    else:
        asked, tools = chat(prompt)
        closed, opened = (
            tokenizer.apply_chat_template(asked, tools=tools, tokenize=False, add_generation_prompt=opens)
            for opens in (False, True)
        )
    opening = tokenizer(opened.removeprefix(closed), add_special_tokens=False)["input_ids"]
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    starts = not opening or tokenizer(opened, add_special_tokens=False)["input_ids"][0] == start
    if starts and opening[:1] != [start]:
        if start is None:
            raise ValueError("the tokenizer has neither a start nor an end token for an answer without a prompt")
        opening = [start, *opening]
    return Encoded((*opening, *encoded.completion_ids), len(opening), encoded.truncated)
