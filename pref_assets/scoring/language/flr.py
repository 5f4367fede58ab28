"""How an answer makes a user go on: the likelihood of satisfied against dissatisfied follow-ups."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, pair_scores, ranked_by, sides
from pref_assets.scoring.language.base import LanguageScorer, completions_to_read
from pref_assets.scoring.language.followups import FOLLOWUPS, Followups
from pref_assets.settings import digest


class FollowupLikelihood(LanguageScorer):
    """Follow-up likelihood as reward: how much likelier a satisfied user's next turn is than a dissatisfied one's
    (FLR, Zhang et al., arXiv:2409.13948).

    For each of six categories, the mean over positive follow-ups of their mean token log-probability minus the same
    of negative ones; the reward is the mean over categories. The official code averages raw logits at unshifted
    positions; here they are log-probabilities of the tokens themselves. The follow-ups are this project's own
    (`followups.py`), six of each sign and category, read without the end of their turn. A conversation above
    ``max_length`` loses its start. Details: the categories' numbers, ranked as the score is.
    O(answer + follow-ups) tokens through the model for each answer: the conversation is read once.
    """

    type: Literal["flr"] = "flr"
    kind: ClassVar[str] = "flr"
    by: RankBy = "margin"
    """How the two answers' rewards become one number."""

    def method(self) -> list[Any]:
        """The follow-ups."""
        return [digest(FOLLOWUPS)]

    def items(self, pool: Pool) -> pl.DataFrame:
        """Frame (id, prompt, messages) of compared completions. Raises ``ValueError`` as `completions_to_read`."""
        return completions_to_read(pool)

    def read(self, items: pl.DataFrame, model: Any, tokenizer: Any) -> tuple[pl.DataFrame, int]:
        """Rows (id, one number for each category, truncated).

        Raises:
            TrainingDataError: the chat template refuses a conversation, or does not show a user's turn after it.
            ValueError: ``max_length`` leaves no room for a conversation before the longest follow-up.
        """
        from pref_assets.scoring.language.continuations import continuation_logps

        said = [each for followups in FOLLOWUPS.values() for side in followups for each in side]
        tokens = tokenizer(said, add_special_tokens=False)["input_ids"]
        room = self.max_length - max(map(len, tokens))
        if room < 2:
            raise ValueError(f"max_length {self.max_length} leaves no conversation before a follow-up; raise it")
        before = [until_followup(tokenizer, [*p, *m]) for p, m in items.select("prompt", "messages").iter_rows()]
        texts = tokenizer(before, add_special_tokens=False)["input_ids"]
        sums = continuation_logps(model, [ids[-room:] for ids in texts], tokens, self.batch_tokens)
        rewards = by_category(sums / np.array([len(ids) for ids in tokens]), FOLLOWUPS)
        rows = {"id": items["id"], **rewards, "truncated": [len(ids) > room for ids in texts]}
        per_text = sum(map(len, tokens))
        return pl.DataFrame(rows), sum(min(len(ids), room) + per_text for ids in texts)

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES``; the sides' scores are their rewards."""
        names = list(FOLLOWUPS)
        rewards = measured.with_columns(flr=pl.mean_horizontal(names))
        by = {n: ranked_by(self.by, pl.col(f"{n}_chosen"), pl.col(f"{n}_rejected")) for n in ("flr", *names)}
        frame = sides(pool.pairs, rewards, ["flr", *names]).with_columns(
            score_chosen=pl.col("flr_chosen"), score_rejected=pl.col("flr_rejected"), **by
        )
        return pair_scores(frame.rename({"flr": "score"}), names)


def by_category(means: NDArray[np.float64], table: Mapping[str, Followups]) -> dict[str, NDArray[np.float64]]:
    """Mean over positive minus mean over negative follow-ups, (n,), by category.

    Args:
        means: mean token log-probability of each follow-up, (n, follow-ups), in the order of the table, positive
            ones first in each category.
        table: follow-ups by category.
    """
    found, start = {}, 0
    for name, (positive, negative) in table.items():
        middle, end = start + len(positive), start + len(positive) + len(negative)
        found[name] = means[:, start:middle].mean(axis=1) - means[:, middle:end].mean(axis=1)
        start = end
    return found


def until_followup(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The conversation through the chat template, up to where the user's next words would stand.

    Raises:
        TrainingDataError: no chat template, or one that refuses the conversation or does not show the user's turn.
    """
    from jinja2 import TemplateError

    from pref_assets.pairs.messages import chat
    from pref_assets.training.errors import TrainingDataError

    if tokenizer.chat_template is None:
        raise TrainingDataError("the model's tokenizer has no chat template; use an instruction-tuned model")
    said, tools = chat(messages)
    followup = FOLLOWUPS["understanding"].positive[0]
    turns = [*said, {"role": "user", "content": followup}]
    try:
        whole = tokenizer.apply_chat_template(turns, tools=tools, tokenize=False)
    except TemplateError as error:
        roles = [turn["role"] for turn in turns]
        raise TrainingDataError(f"the model's chat template refuses the roles {roles}: {error}") from error
    before, found, _ = whole.rpartition(followup)
    if not found:
        raise TrainingDataError("the model's chat template does not show what the user says after an answer")
    return str(before)
