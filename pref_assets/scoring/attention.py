"""How much of its attention a model gives to the image that a question is about, while it reads a wrong answer."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.readers.multi_image import composition
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, Write, pair_scores
from pref_assets.scoring.reward.classifiers import Dtype
from pref_assets.scoring.reward.items import longest_first
from pref_assets.scoring.reward.model import check_pinned
from pref_assets.settings import PolicyName, digest
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.data import with_shown
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Reporter

NO_TARGET = "no_target"
DETAILS = ("images", "ratio_of_sums", "mean_target", "sum_target", "sum_images", "pseudo_perplexity")
_NUMBERS = pl.List(pl.Float64)
_MEASURED = pl.Schema(
    {"completion_id": pl.String(), "means": _NUMBERS, "sums": _NUMBERS, "pseudo_perplexity": pl.Float64()}
)
_COMPOSED = pl.Schema(
    {"prompt_id": pl.String(), "layout": pl.String(), "count": pl.Int64(), "target": pl.Int64(), "box": _NUMBERS}
)


class AttentionRatio(MeasuredScorer):
    """The share of its attention on images that a model gives to the image in question while it reads the rejected
    answer, of pairs whose images source `multi_image` put together (MIA-DPO, Liu et al., arXiv:2410.17637, section 3).

    The answer is teacher-forced; the attention of one layer is averaged over heads and over the positions that predict
    the answer's tokens, as they are when it is written. Of images in a sequence, ``score`` is the mean over the
    target's tokens, over the sum of such means of all images, so that an image with more tokens has no more; of a grid
    or a picture in a picture it is the share of the image's attention that lies on the target's patches. Low is a
    model that looked elsewhere, and errs for that reason. ``details``: ``images`` put together; ``ratio_of_sums``,
    with sums in place of means (a mean over many tokens hides a hit on a few; equal to the score in a grid);
    ``mean_target``, ``sum_target`` and ``sum_images``, attention itself; ``pseudo_perplexity``, exp(-mean log max p)
    over the answer, 1 where the model is always sure. ``category``: the layout, or ``no_target`` (no score: the prompt
    was not put together).

    Choices: the paper's code reads layer 16 of 32, hence the middle one; which positions count it does not say. A
    grid's patches are those whose middle is in the target's box, of a model whose tokens of an image are a square map.

    Needs: a vision-language model, or a policy of this pipeline, with eager attention. Cost: one pass over each
    rejected answer; one layer's weights, heads x T x T numbers a sequence, are in memory at a time.
    """

    kind: ClassVar[str] = "attention_on_images"
    type: Literal["attention_ratio"] = "attention_ratio"
    model: ModelReference | None = None
    """The model that looks."""
    checkpoint: PolicyName | None = None
    """In its place: a policy of this pipeline."""
    layer: int | None = Field(default=None, ge=0)
    """The decoder layer, from 0; null for the middle one, 16 of 32."""
    dtype: Dtype = "float32"
    """What the model computes in. Ignored by checkpoints, which say it themselves."""
    max_length: int = Field(default=4096, ge=64, le=1_000_000)
    """Tokens read of prompt and answer; images are not cut."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """Tokens, padding included, that go through the model at once; changes no number."""
    alone_above: int = Field(default=1024, ge=1)
    """A longer sequence goes through alone: attention grows with the square of its length. Changes no number."""
    save_every: int = Field(default=64, ge=1)
    """Answers between two commits to the store; a killed run loses at most this many."""

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("say either `model` or `checkpoint`")
        if self.model is not None:
            check_pinned(self.model)
        return self

    def key(self, pool: Pool) -> str:
        """Store key: the model, its arithmetic, the layer and the length.

        Raises:
            ModelNotFoundError: the model is not there.
        """
        if self.checkpoint is None:
            seen_by = f"{identity(str(self.model))} {self.dtype}"
        else:
            seen_by = read_manifest(pool.checkpoints[self.checkpoint]).version
        return digest([self.kind, seen_by, self.layer, self.max_length])

    def items(self, pool: Pool) -> pl.DataFrame:
        """Every rejected answer to a prompt that was put together: frame (id, completion_id, prompt, messages, box)
        ordered by id; ``box`` is null of images in a sequence.

        Raises:
            TrainingDataError: a prompt has other images than places for them.
        """
        asked = self._compositions(pool).drop_nulls("layout").select("prompt_id", "box")
        prompts = with_shown(pool.prompts.join(asked, on="prompt_id", how="semi")).select(
            "prompt_id", prompt="messages"
        )
        rejected = pool.completions.join(pool.pairs.select(completion_id="rejected_id"), on="completion_id", how="semi")
        found = rejected.select("completion_id", "prompt_id", "messages").join(prompts, on="prompt_id")
        found = found.join(asked, on="prompt_id")
        ids = [digest(each) if each[1] else each[0] for each in found.select("completion_id", "box").iter_rows()]
        found = found.with_columns(id=pl.Series(ids, dtype=pl.String))
        return found.select("id", "completion_id", "prompt", "messages", "box").sort("id")

    def sources(self, pool: Pool) -> dict[str, str]:
        return {} if self.checkpoint is None else {"checkpoint": pool.checkpoints[self.checkpoint]}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Writes rows (id, completion_id, means, sums, pseudo_perplexity, n_tokens, truncated): attention on each image
        of a sequence, or on the target and on the rest of one image.

        Returns:
            ``tokens`` read and ``truncated`` answers.

        Raises:
            TrainingDataError: an answer cannot be read, or its images cannot be told apart; has the completion id.
            ValueError: the model sees nothing or has no such layer.
        """
        from pref_assets.models.attention import attention_of, middle_layer
        from pref_assets.models.vision import Sight
        from pref_assets.training.loop import memory_advice

        model, sight = self._loaded(sources)
        if not isinstance(sight, Sight):
            raise ValueError(f"attention_ratio: {self.model or self.checkpoint} sees no images")
        layer = middle_layer(model) if self.layer is None else self.layer
        counted, done = {"tokens": 0.0, "truncated": 0.0}, 0
        alone: dict[str, int] = {}
        with attention_of(model, layer) as weights:
            for part in longest_first(items).iter_slices(self.save_every):
                with memory_advice(self.batch_tokens):
                    rows = self._rows(part, model, sight, weights, alone)
                write(rows)
                done += rows.height
                report.progress(done, items.height, "answers")
                counted["tokens"] += float(rows["n_tokens"].sum())
                counted["truncated"] += float(rows["truncated"].sum())
        return counted

    def _loaded(self, sources: Mapping[str, str]) -> Any:
        if self.checkpoint is not None:
            from pref_assets.training.policy import load_policy

            return load_policy(sources["checkpoint"])
        from pref_assets.models.loading import load_causal_lm, load_reader

        return load_causal_lm(str(self.model), dtype=self.dtype), load_reader(str(self.model))

    def _rows(
        self, part: pl.DataFrame, model: Any, sight: Any, weights: list[Any], alone: dict[str, int]
    ) -> pl.DataFrame:
        from pref_assets.models.attention import box_places, image_places
        from pref_assets.models.vision import SightError
        from pref_assets.training.data import buckets, encode

        read, parts = [], []
        for id_, prompt, answer, box in part.select("completion_id", "prompt", "messages", "box").iter_rows():
            try:
                each = encode(sight, prompt, answer, self.max_length)
                places = image_places(sight, each, alone)
                parts.append(list(box_places(places[0], box)) if box else places)
            except (TrainingDataError, SightError) as error:
                raise TrainingDataError(f"completion {id_}: {error}") from error
            if empty := [i for i, each_part in enumerate(parts[-1]) if not each_part]:
                raise TrainingDataError(f"completion {id_}: part {empty[0] + 1} of its image has no token of its own")
            read.append(each)
        found: list[tuple[list[float], list[float], float]] = [([], [], 0.0)] * len(read)
        lengths = [len(each.ids) for each in read]
        short = [i for i, length in enumerate(lengths) if length <= self.alone_above]
        batches = [[short[i] for i in batch] for batch in buckets([lengths[i] for i in short], self.batch_tokens)]
        for batch in [*batches, *([i] for i in range(len(read)) if lengths[i] > self.alone_above)]:
            attended = _attended(model, [read[i] for i in batch], [parts[i] for i in batch], weights)
            for i, numbers in zip(batch, attended, strict=True):
                found[i] = numbers
        means, sums, perplexities = zip(*found, strict=True)
        return part.select("id", "completion_id").with_columns(
            means=pl.Series(means, dtype=pl.List(pl.Float64)),
            sums=pl.Series(sums, dtype=pl.List(pl.Float64)),
            pseudo_perplexity=pl.Series(perplexities, dtype=pl.Float64),
            n_tokens=pl.Series(lengths, dtype=pl.Int64),
            truncated=pl.Series([each.truncated for each in read], dtype=pl.Boolean),
        )

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows."""
        asked = self._compositions(pool)
        prompt = pool.completions.select(rejected_id="completion_id", asked="prompt_id")
        frame = pool.pairs.select("pair_id", "rejected_id").join(prompt, on="rejected_id", how="left")
        frame = frame.join(asked.rename({"prompt_id": "asked"}), on="asked", how="left")
        if measured.is_empty():
            measured = pl.DataFrame(schema=_MEASURED)
        known = measured.select("means", "sums", "pseudo_perplexity", rejected_id="completion_id")
        frame = frame.join(known, on="rejected_id", how="left")
        collage = pl.col("box").is_not_null()
        place = pl.when(collage).then(0).otherwise("target")
        mean, total = (pl.col(each).list.get(place, null_on_oob=True) for each in ("means", "sums"))
        of_sums = total / pl.col("sums").list.sum()
        frame = frame.with_columns(
            score=pl.when(collage).then(of_sums).otherwise(mean / pl.col("means").list.sum()),
            category=pl.col("layout").fill_null(NO_TARGET),
            images=pl.col("count").cast(pl.Float64),
            ratio_of_sums=of_sums,
            mean_target=mean,
            sum_target=total,
            sum_images=pl.col("sums").list.sum(),
        )
        return pair_scores(frame, DETAILS)

    def _compositions(self, pool: Pool) -> pl.DataFrame:
        """Frame (prompt_id, layout, count, target, box), null where nothing was put together."""
        rows = []
        for prompt_id, metadata in pool.prompts.select("prompt_id", "metadata").iter_rows():
            held = composition(metadata)
            told = (held.layout, held.count, held.target, held.box) if held else (None,) * 4
            rows.append((prompt_id, *told))
        return pl.DataFrame(rows, schema=_COMPOSED, orient="row")


def _attended(
    model: Any, batch: Sequence[Any], parts: Sequence[list[list[int]]], weights: list[Any]
) -> list[tuple[list[float], list[float], float]]:
    """Of each sequence the means and sums of attention on its parts, and its answer's pseudo-perplexity."""
    import torch

    from pref_assets.models.attention import masses, pseudo_perplexity
    from pref_assets.models.vision import vision_inputs
    from pref_assets.training.logprobs import head_on

    width, device = max(len(each.ids) for each in batch), next(model.parameters()).device
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for row, each in enumerate(batch):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
        mask[row, : len(each.ids)] = 1
    # The state of a token predicts the next: the answer is written at the places from one before it to one before its
    # end.
    rows = [slice(each.n_prompt - 1, len(each.ids) - 1) for each in batch]
    positions = [row * width + place for row, s in enumerate(rows) for place in range(s.start, s.stop)]
    weights.clear()
    with torch.inference_mode(), head_on(model, torch.tensor(positions, device=device), []):
        seen = vision_inputs([each.seen for each in batch], width, model)
        logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **seen).logits[0]
    found, start = [], 0
    for row, each in enumerate(batch):
        own = logits[start : start + each.n_completion]
        start += each.n_completion
        found.append((*masses(weights[-1][row], rows[row], parts[row]), pseudo_perplexity(own)))
    weights.clear()
    return found
