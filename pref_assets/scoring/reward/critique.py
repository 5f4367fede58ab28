"""What a reward model that criticises says of both sides of every pair: its critiques and its rewards."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.features.store import Store
from pref_assets.models.generation import Sampling
from pref_assets.pairs.image_controls import ImageControl, controlled_images
from pref_assets.pairs.texts import compared
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, Write, pair_scores, sides
from pref_assets.scoring.reward.items import longest_first
from pref_assets.settings import CritiqueRewardName, CritiquesName, digest
from pref_assets.training.checkpoint import pair_ids, read_manifest
from pref_assets.training.critique_reward import KIND
from pref_assets.training.data import with_shown
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Reporter

TRAINED_ON, TRUNCATED, NO_CRITIQUE, WHOLE = "trained_on", "truncated", "no_critique", "whole"
_ROWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "reward": pl.Float64,
    "critiques": pl.List(pl.String),
    "rewards": pl.List(pl.Float64),
    "n_tokens": pl.Int64,
    "truncated": pl.Boolean,
}


class CritiqueSampling(Sampling):
    """How critiques are drawn; greedy unless asked otherwise."""

    max_new_tokens: int = Field(default=512, ge=1)
    """Critiques are cut after this many tokens; the paper's limit is 4096."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""


class CritiqueReward(MeasuredScorer):
    """The reward of both answers of every pair under a reward model that criticises, which this pipeline trained
    (MM-RLHF, Zhang et al., arXiv 2502.10391, section 4.1).

    ``mode: generate`` is the paper's inference: the model writes a critique, greedily, and the reward is read after
    it. ``given`` reads it after a critique of an entry of `critiques`, such as the annotators' own, the paper's upper
    bound; ``none``, for a checkpoint that does not criticise, at the end of the prompt. ``samples`` above 1 average the
    rewards of several critiques, which the paper found to hurt.

    ``score`` is the reward of the chosen side minus that of the rejected one. ``category``: ``trained_on`` (the
    checkpoint learned from this very pair), ``no_critique`` (no score: under `given`, a side has no critique),
    ``truncated`` (of either side, what was read, or a critique of the model's own that came to no end), ``whole``.
    Critiques and rewards of each answer stay in the store (`said`), and `pref-assets trace` shows them.

    ``images`` shows how much the reward hangs on what is seen: ``shuffled`` shows another prompt's images of the same
    split, ``none`` no image; a model that looks falls to chance on questions that need the image.

    Needs: a checkpoint `critique_reward_model`; arithmetic is float32. Cost: a critique and a pass over each answer.
    """

    kind: ClassVar[str] = "critique_rewards"
    type: Literal["critique_reward"] = "critique_reward"
    checkpoint: CritiqueRewardName
    """The reward model."""
    mode: Literal["generate", "given", "none"] = "generate"
    """After which critique the reward is read: the model's own, one that is given, or none."""
    critiques: CritiquesName | None = None
    """The critiques that `mode: given` reads."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Critiques that the model writes of each answer."""
    sampling: CritiqueSampling = CritiqueSampling()
    """How it writes them."""
    images: ImageControl = "own"
    """A prompt's own images, those of another prompt, or none."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Of `images: shuffled`."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """Tokens, padding included, that go through the model at once; changes no number. A GPU likes more."""
    save_every: int = Field(default=64, ge=1)
    """Answers between two commits to the store; a killed run loses at most this many."""

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if (self.mode == "given") != (self.critiques is not None):
            raise ValueError("`critiques` is what `mode: given` reads, and no other")
        if self.mode != "generate" and self.samples > 1:
            raise ValueError("`samples` counts critiques that the model writes; use `mode: generate`")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0: all critiques of an answer would be the same; raise it")
        return self

    @property
    def draws(self) -> bool:
        return self.mode == "generate"

    def key(self, pool: Pool) -> str:
        """Store key: the checkpoint's version, and how critiques are written. Which images and given critiques are read
        is in the ids of the items.

        Raises:
            ValueError: the checkpoint is no reward model that criticises.
        """
        manifest = read_manifest(pool.checkpoints[self.checkpoint])
        if manifest.kind != KIND:
            raise ValueError(f"checkpoint {self.checkpoint!r} is a {manifest.kind}, not a {KIND}")
        written = [self.samples, self.sampling.model_dump(exclude={"batch_size"})] if self.draws else None
        return digest([self.kind, manifest.version, self.mode, written])

    def items(self, pool: Pool) -> pl.DataFrame:
        """What is read of each compared answer: frame (id, completion_id, prompt, messages, images, critique) ordered
        by id, which is the completion's, or of completion, images and critique where those are not its own. Under
        `given`, answers without a critique are left out.

        Raises:
            ValueError: a side of a pair, or its prompt, is not in its table; or see `controlled_images`.
        """
        asked = with_shown(pool.prompts).select("prompt_id", prompt="messages")
        found = compared(pool.completions, pool.pairs).select("completion_id", "prompt_id", "messages")
        found = found.join(asked, on="prompt_id", how="left").filter(pl.col("prompt").is_not_null())
        named = pl.concat([pool.pairs["chosen_id"], pool.pairs["rejected_id"]]).n_unique()
        if found.height < named:
            raise ValueError(
                f"{named - found.height} of {named} compared completions, or their prompts, are in no table"
            )
        shown = controlled_images(pool.prompts, self.images, self.seed)
        images = pl.Series("images", [shown[each] for each in found["prompt_id"]], dtype=pl.List(pl.String))
        found = found.with_columns(images, critique=pl.lit(None, pl.String))
        if self.critiques is not None:
            said = pool.critiques[self.critiques].filter(pl.col("critique").str.strip_chars() != "")
            found = found.drop("critique").join(said.select("completion_id", "critique"), on="completion_id")
        ids = [self._id(*each) for each in found.select("completion_id", "images", "critique").iter_rows()]
        found = found.with_columns(id=pl.Series(ids, dtype=pl.String)).sort("id")
        return found.select("id", "completion_id", "prompt", "messages", "images", "critique")

    def _id(self, completion_id: str, images: list[str], critique: str | None) -> str:
        if self.images == "own" and critique is None:
            return completion_id
        return digest([completion_id, None if self.images == "own" else images, critique])

    def sources(self, pool: Pool) -> dict[str, str]:
        return {"checkpoint": pool.checkpoints[self.checkpoint]}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Writes rows (id, reward, critiques, rewards, n_tokens, truncated): the mean of ``rewards``, which belong to
        ``critiques`` one by one; ``critiques`` is empty under `none`; ``n_tokens`` read for all of them.

        Returns:
            ``tokens`` read, ``truncated`` answers, mean ``critique_characters``.

        Raises:
            TrainingDataError: an answer cannot be read; the message has its completion id.
        """
        from pref_assets.training.critique_reward import load_critique_model

        model = load_critique_model(sources["checkpoint"])
        counted = {"tokens": 0.0, "truncated": 0.0}
        done, characters, written = 0, 0, 0
        for part in longest_first(items).iter_slices(self.save_every):
            rows = self._rows(model, part)
            write(rows)
            done += rows.height
            report.progress(done, items.height, "answers")
            counted["tokens"] += float(rows["n_tokens"].sum())
            counted["truncated"] += float(rows["truncated"].sum())
            said = [each for critiques in rows["critiques"].to_list() for each in critiques]
            characters, written = characters + sum(map(len, said)), written + len(said)
        return {**counted, "critique_characters": characters / written if written else 0.0}

    def _rows(self, model: Any, part: pl.DataFrame) -> pl.DataFrame:
        """Rows of some items, in their order."""
        read = list(part.select("prompt", "messages", "images").iter_rows())
        said = self._said(model, part)
        sequences, owners = [], []
        for owner, (row, critiques) in enumerate(zip(read, said, strict=True)):
            prompt, answer, images = row
            for critique, _ in critiques:
                try:
                    sequences.append(model.read(prompt, answer, critique, images))
                except TrainingDataError as error:
                    raise TrainingDataError(f"completion {part['completion_id'][owner]}: {error}") from error
                owners.append(owner)
        found: list[list[tuple[float, int, bool]]] = [[] for _ in read]
        for owner, reward, each in zip(owners, model.score(sequences, self.batch_tokens), sequences, strict=True):
            found[owner].append((float(reward), len(each.ids), each.truncated))
        rows = [
            (
                id_,
                sum(reward for reward, _, _ in rewards) / len(rewards),
                [text for text, _ in critiques if text is not None],
                [reward for reward, _, _ in rewards],
                sum(tokens for _, tokens, _ in rewards),
                any(cut for _, _, cut in rewards) or not all(finished for _, finished in critiques),
            )
            for id_, critiques, rewards in zip(part["id"], said, found, strict=True)
        ]
        return pl.DataFrame(rows, schema=_ROWS, orient="row")

    def _said(self, model: Any, part: pl.DataFrame) -> list[list[tuple[str | None, bool]]]:
        """The critiques after which each item's rewards are read, and whether each came to an end."""
        if self.mode != "generate":
            return [[(each, True)] for each in part["critique"]]
        from pref_assets.training.critique_backbone import judge_turn

        together = max(1, min(self.sampling.batch_size, self.batch_tokens // self.sampling.max_new_tokens))
        asked = [judge_turn(model.instruction, *row) for row in part.select("prompt", "messages", "images").iter_rows()]
        found = model.criticise(
            [each for each in asked for _ in range(self.samples)],
            self.sampling.model_copy(update={"batch_size": together}),
        )
        return [found[start : start + self.samples] for start in range(0, len(found), self.samples)]

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows."""
        known = self._by_completion(pool, measured).select("reward", "truncated", id="completion_id")
        frame = sides(pool.pairs, known, ["reward", "truncated"])
        chosen, rejected = pl.col("reward_chosen"), pl.col("reward_rejected")
        cut = (pl.col("truncated_chosen") | pl.col("truncated_rejected")).fill_null(value=False)
        category = (
            pl.when(chosen.is_null() | rejected.is_null())
            .then(pl.lit(NO_CRITIQUE))
            .when(pl.col("pair_id").is_in(pair_ids(pool.checkpoints[self.checkpoint])))
            .then(pl.lit(TRAINED_ON))
            .when(cut)
            .then(pl.lit(TRUNCATED))
            .otherwise(pl.lit(WHOLE))
        )
        scores = {"score": chosen - rejected, "score_chosen": chosen, "score_rejected": rejected}
        return pair_scores(frame.with_columns(**scores, category=category))

    def said(self, pool: Pool, store: Store) -> pl.DataFrame:
        """What every compared answer got, as `lineage` shows it: frame (completion_id, reward, critiques, rewards,
        n_tokens, truncated) ordered by completion id; answers that were not measured are left out.

        Args:
            pool: as the scorer's asset makes it; only its pairs' answers are looked up.
            store: of the deployment.
        """
        key, items = self.key(pool), self.items(pool)
        missing = set(store.missing(self.kind, key, items["id"]))
        known = items.filter(~pl.col("id").is_in(list(missing)))
        if known.is_empty():
            return pl.DataFrame(schema={"completion_id": pl.String, **{n: t for n, t in _ROWS.items() if n != "id"}})
        rows = store.read(self.kind, key, known["id"])
        found = known.select("id", "completion_id").join(rows, on="id")
        return found.select("completion_id", *(name for name in _ROWS if name != "id")).sort("completion_id")

    def _by_completion(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """The measured rows with their completion ids."""
        if measured.is_empty():
            return pl.DataFrame(schema={"completion_id": pl.String, "reward": pl.Float64, "truncated": pl.Boolean})
        return self.items(pool).select("id", "completion_id").join(measured, on="id")
