"""Reward models on MM-RLHF's reward bench, or on any pairs counted as it counts them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.content import content_hash
from pref_assets.evaluation import baselines
from pref_assets.evaluation.accuracy import VERSUS, Margins, mirrored, row
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.benches.critics import REASONS, bench_pool, rewards
from pref_assets.evaluation.benches.formats import BenchRowError
from pref_assets.evaluation.benches.mm_rlhf_rows import CATEGORIES, PAIRED, read_pairs, read_results
from pref_assets.evaluation.benches.overlap import overlap, refuse
from pref_assets.evaluation.benches.paired import PAIR_REWARDS, category_of, pair_accuracies
from pref_assets.evaluation.heldout import held_out
from pref_assets.evaluation.intervals import Estimate, bootstrap_mean, group_numbers, share
from pref_assets.evaluation.reward import REWARD_SCORES, score_margins
from pref_assets.home import Home
from pref_assets.pairs.image_controls import ImageControl
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pairs.texts import text_of
from pref_assets.pool import seeded_uniform
from pref_assets.scoring.reward import CritiqueReward
from pref_assets.scoring.reward.critique import CritiqueSampling
from pref_assets.settings import ScoresName
from pref_assets.training.checkpoint import Kind
from pref_assets.training.critique_reward import KIND
from pref_assets.training.job import TaskName

SEEN = ("seen_prompts", "seen_images", "unknown_pairs")
"""Metrics of what a checkpoint has seen of the bench; 0 where it has seen nothing."""


class MMRLHFBench(Evaluation):
    """ACC and ACC+ of reward models by category, as MM-RLHF-RewardBench counts them (Zhang et al. 2025,
    arXiv:2502.10391, section 4.3):

    - ``accuracy``: share of pairs whose chosen answer has strictly the higher reward; equal rewards, NaN and a missing
      reward are wrong;
    - ``accuracy_plus``: share of prompts (the rows' ``id``) all of whose pairs are right; chance is 1 / n! for n ranked
      answers. It may lie above accuracy where prompts have different numbers of pairs;
    - ``undecided``: share of pairs with equal rewards or without one;
    - ``repeated_rows``: how many rows only repeat a pair (counted once);
    - ``seen_prompts``, ``seen_images``: share of the prompts that a checkpoint trained on, by id and by image;
      ``unknown_pairs``: how many of its training pairs are gone, so that nobody can say.

    Slices: ``all``; ``category:<name>``, the first folder of the image's (else the video's) path;
    ``category:uncategorised`` for rows that no category fits; ``vs:<other>``, the difference to another scorer on the
    same pairs. Intervals: bootstrap over prompts. Baselines: the longer, the shorter and a random answer.

    Pairs come from `location`, else they are the held-out pairs of this pipeline. Who is measured: reward models that
    trained here (those that read text alone only with `images: none`), score tables of the held-out pairs, and rewards
    that another program wrote.
    """

    type: Literal["mm_rlhf_bench"] = "mm_rlhf_bench"
    checkpoint_kind: ClassVar[Kind] = "critique_reward_model"
    task: ClassVar[TaskName] = "evaluate_reward_model"

    location: str | None = None
    """Rows of the bench (``id``, ``prompt``, ``chosen``, ``rejected``, ``image`` or ``video``): files, a folder, a
    glob, ``package://…``, a URL or ``hf://org/name[@revision][:split]``. Null: this pipeline's held-out pairs."""
    image_folder: str | None = None
    """Folder or zip archive of the bench's images; a video is a folder of frames. Null: prompts without images."""
    results: dict[str, str] = Field(default_factory=dict)
    """Names of scorers and the JSON lines that hold their ``rewards: [of chosen, of rejected]`` on the bench, as
    MM-RLHF's released evaluation writes them."""
    scores: list[ScoresName] = Field(default_factory=list)
    """Score tables to measure on the held-out pairs."""
    categories: tuple[str, ...] | None = CATEGORIES
    """Folders that are categories; null: every first folder is one."""
    path_fields: tuple[str, ...] = Field(default=("image", "video"), min_length=1)
    """Metadata of held-out prompts with the path whose first folder is the category; the first that is there counts."""
    images: ImageControl = "own"
    """What checkpoints are shown: a prompt's own images, those of another prompt (drawn by `seed`), or `none`: how far
    words alone go."""
    mode: Literal["generate", "given", "none"] = "generate"
    """After which critique a model that criticises is read: its own, the bench's ``chosen_reason`` and
    ``rejected_reason`` (pairs that lack one are undecided), or none."""
    samples: int = Field(default=1, ge=1, le=1000)
    """Critiques of its own whose rewards are averaged."""
    sampling: CritiqueSampling = CritiqueSampling()
    """How it writes them."""
    batch_tokens: int = Field(default=2048, ge=1, le=10_000_000)
    """Tokens, padding included, that go through a model that criticises at once; changes no number."""
    overlap: Literal["refuse", "report"] = "refuse"
    """Where a checkpoint trained on prompts or images of the bench: fail, or only say so. Of held-out pairs, which the
    splits keep apart, it is only said."""

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.image_folder is not None and self.location is None:
            raise ValueError("`image_folder` belongs to a bench; name its rows under `location`")
        if self.scores and self.location is not None:
            raise ValueError(
                "`scores` judge this pipeline's own pairs, not a bench's; leave out `location` or `scores`"
            )
        if self.mode == "given" and self.location is None:
            raise ValueError("`mode: given` reads the reasons of a bench's rows; name them under `location`")
        if self.samples > 1 and (self.mode != "generate" or self.sampling.temperature == 0):
            raise ValueError("`samples` above 1 needs `mode: generate` and a sampling.temperature above 0")
        return self

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``pairs`` for models that criticise; ``items``, every answer after its prompt's words, for others."""
        pairs, _ = self.pairs(inputs, Home.default())
        for each in inputs.checkpoints:
            self.check(each, pairs)
        sides = [pairs.select("prompt", completion_id=f"{s}_id", messages=s) for s in ("chosen", "rejected")]
        return {"pairs": pairs, "items": pl.concat(sides).unique("completion_id", keep="first").sort("completion_id")}

    def scorer(self, checkpoint: str) -> CritiqueReward:
        """How a model that criticises is read."""
        return CritiqueReward(
            checkpoint=checkpoint,
            mode=self.mode,
            critiques=REASONS if self.mode == "given" else None,
            samples=self.samples,
            sampling=self.sampling,
            images=self.images,
            seed=self.seed,
            batch_tokens=self.batch_tokens,
            save_every=self.save_every,
        )

    def pairs(self, inputs: Inputs, home: Home) -> tuple[pl.DataFrame, int]:
        """The pairs to judge as ``PAIRED``, and how many rows of the bench repeated one.

        Raises:
            BenchRowError: see ``read_pairs``.
            NothingHeldOutError: no bench is named, and no pair is held out.
        """
        if self.location is not None:
            return read_pairs(self.location, self.image_folder, self.categories, MediaStore(home.media))
        held = held_out(inputs.pairs, inputs.completions)
        prompts = inputs.prompts.select("prompt_id", "messages", "images", "metadata")
        found = held.rename({"group": "prompt_id"}).join(prompts, on="prompt_id")
        for side in ("chosen", "rejected"):
            said = inputs.completions.select(
                pl.col("completion_id").alias(f"{side}_id"), pl.col("messages").alias(side)
            )
            found = found.join(said, on=f"{side}_id")
        paths = [pl.col("metadata").str.json_path_match(f"$.{name}") for name in self.path_fields]
        path = pl.coalesce(pl.when(each != "").then(each) for each in paths)
        category = path.map_elements(self._category, return_dtype=pl.String, skip_nulls=False)
        found = found.rename({"messages": "prompt"}).with_columns(
            group="prompt_id",
            category=category,
            images=pl.col("images").fill_null([]),
            chosen_reason=pl.lit(None, pl.String),
            rejected_reason=pl.lit(None, pl.String),
        )
        return found.select(pl.col(name).cast(dtype) for name, dtype in PAIRED.items()).sort("pair_id"), 0

    def _category(self, path: str | None) -> str:
        return category_of(path, self.categories)

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        rows: list[dict[str, Any]] = []
        judged: list[tuple[Margins, pl.DataFrame]] = []
        # Results alone need no pairs of this pipeline.
        pairs = None
        if self.location is not None or self.scores or inputs.checkpoints:
            pairs, repeated = self.pairs(inputs, home)
            for each in inputs.checkpoints:
                rows += self._seen(each, pairs, inputs)
                given = self._of_checkpoint(each, pairs, home)
                judged.append((Margins(each.name, each.version, given), given))
            for name in self.scores:
                scored = _of_scores(name, inputs.scores[name], pairs)
                judged.append((Margins(f"scores/{name}", content_hash(inputs.scores[name]), scored), scored))
            judged += [(Margins(n, None, f, baseline=True), f) for n, f in _baselines(pairs, self.seed).items()]
            if self.location is not None:
                asked = Margins("bench", None, pairs, baseline=True)
                rows.append(row(asked, "repeated_rows", "all", Estimate(repeated, None, None, pairs.height)))
        bench = None if self.location is None else pairs
        for name in self.results:
            of, written, repeated = self._of_results(name, bench)
            judged.append((of, written))
            rows.append(row(of, "repeated_rows", "all", Estimate(repeated, None, None, written.height)))
        for of, frame in judged:
            found = pair_accuracies(frame, self.seed, self.resamples)
            rows += [row(of, part.metric, part.subset, part.drawn.estimate()) for part in found]
        return EVALUATIONS.frame(rows + versus(judged, self.seed, self.resamples))

    def _seen(self, checkpoint: CheckpointRef, pairs: pl.DataFrame, inputs: Inputs) -> list[dict[str, Any]]:
        found = overlap(checkpoint, pairs, inputs)
        if self.overlap == "refuse" and self.location is not None:
            refuse(checkpoint, found)
        groups = sorted(set(pairs["group"]))
        of = Margins(checkpoint.name, checkpoint.version, pairs)
        *named, unknown = SEEN
        shares = dict(zip(named, (found.prompts, found.images), strict=True))
        rows = [
            row(of, metric, "all", share(np.array([float(each in seen) for each in groups]), np.arange(len(groups))))
            for metric, seen in shares.items()
        ]
        return [*rows, row(of, unknown, "all", Estimate(found.unknown, None, None, pairs.height))]

    def _of_checkpoint(self, checkpoint: CheckpointRef, pairs: pl.DataFrame, home: Home) -> pl.DataFrame:
        from pref_assets.features.store import Store

        store = Store(home.store)
        if checkpoint.kind == KIND:
            return rewards(self.scorer(checkpoint.name), bench_pool(pairs, checkpoint), pairs, store)
        ids = pl.concat([pairs["chosen_id"], pairs["rejected_id"]]).unique().sort()
        stored = store.read(REWARD_SCORES, checkpoint.version, ids.to_list())
        return _judged(pairs, stored.select(completion_id="id", reward="score"))

    def check(self, checkpoint: CheckpointRef, pairs: pl.DataFrame) -> None:
        """Raises ``BenchRowError`` for a checkpoint that cannot judge the pairs as asked."""
        if checkpoint.kind == "policy":
            raise BenchRowError(f"checkpoint {checkpoint.name!r} is a policy; name reward models under `checkpoints`")
        pictured = pairs.filter(pl.col("images").list.len() > 0).height
        if checkpoint.kind == "reward_model" and pictured and self.images != "none":
            raise BenchRowError(
                f"checkpoint {checkpoint.name!r} reads text alone, and {pictured} of {pairs.height} pairs are about "
                "images; set `images: none` to measure it as a text-only baseline"
            )

    def _of_results(self, name: str, bench: pl.DataFrame | None) -> tuple[Margins, pl.DataFrame, int]:
        """Rewards of a results file, of exactly the bench's pairs where there is one, and its repeated rows."""
        found, repeated = read_results(self.results[name], self.categories)
        if bench is not None:
            absent = bench.join(found, on="pair_id", how="anti")
            if not absent.is_empty():
                raise BenchRowError(
                    f"results of {name!r} lack {absent.height} of the bench's {bench.height} pairs, such as one of id "
                    f"{absent['group'][0]!r}; the released evaluation, resumed, skips pairs of ids it has begun: "
                    "judge the bench anew in one run"
                )
            found = found.join(bench.select("pair_id"), on="pair_id", how="semi")
        return Margins(f"results/{name}", content_hash(found), found), found, repeated


def _judged(pairs: pl.DataFrame, rewards: pl.DataFrame) -> pl.DataFrame:
    """``PAIR_REWARDS`` from rewards (completion_id, reward) of the answers."""
    for side in ("chosen", "rejected"):
        given = rewards.select(pl.col("completion_id").alias(f"{side}_id"), pl.col("reward").alias(f"of_{side}"))
        pairs = pairs.join(given, on=f"{side}_id", how="left", validate="m:1")
    found = pairs.select("pair_id", "group", "category", chosen="of_chosen", rejected="of_rejected")
    return found.select(pl.col(name).cast(dtype) for name, dtype in PAIR_REWARDS.items()).sort("pair_id")


def _of_scores(name: str, scores: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """A score table's margins as rewards: the margin of the chosen side, 0 of the other; null where it has none.

    Raises:
        ValueError: it has none for any of the pairs.
    """
    of_pairs = scores.join(pairs.select("pair_id"), on="pair_id", how="semi")
    silent = pl.all_horizontal(pl.col("score_chosen", "score_rejected", "p_correct").is_null())
    spoken = of_pairs.filter(~silent)
    margins = score_margins(name, of_pairs if spoken.is_empty() else spoken).frame
    found = pairs.join(margins, on="pair_id", how="left", validate="1:1")
    rewards = found.select("pair_id", "group", "category", chosen="margin", rejected=pl.lit(0.0))
    return rewards.select(pl.col(column).cast(dtype) for column, dtype in PAIR_REWARDS.items()).sort("pair_id")


def _baselines(pairs: pl.DataFrame, seed: int) -> dict[str, pl.DataFrame]:
    """What needs no model: the longer answer, the shorter one, a random number for each."""
    answers = pl.concat(
        [
            pairs.select(completion_id=f"{side}_id", length=text_of(side).str.len_chars().cast(pl.Float64))
            for side in ("chosen", "rejected")
        ]
    )
    answers = answers.unique("completion_id", keep="first").sort("completion_id")
    chance = pl.Series(seeded_uniform(answers["completion_id"], seed, "bench"))
    rules = {
        baselines.LONGER: pl.col("length"),
        baselines.SHORTER: -pl.col("length"),
        baselines.RANDOM: pl.lit(chance),
    }
    return {n: _judged(pairs, answers.select("completion_id", reward=each)) for n, each in rules.items()}


def versus(judged: Sequence[tuple[Margins, pl.DataFrame]], seed: int, resamples: int) -> list[dict[str, Any]]:
    """``accuracy`` and ``accuracy_plus`` of each scorer less those of each other one that judged the same pairs: slices
    ``vs:<other>``, bootstrap over prompts. Baselines are left out."""
    right: dict[str, Mapping[str, pl.DataFrame]] = {}
    compared = [(of, frame.sort("group", "pair_id")) for of, frame in judged if not of.baseline]
    for of, frame in compared:
        known = pl.all_horizontal(pl.col(side).is_not_nan().fill_null(False) for side in ("chosen", "rejected"))
        points = frame.select(
            "group",
            "pair_id",
            right=(known & (pl.col("chosen") > pl.col("rejected")).fill_null(False)).cast(pl.Float64),
        )
        whole = points.group_by("group").agg(pl.col("right").min()).sort("group")
        right[of.name] = {"accuracy": points, "accuracy_plus": whole}
    rows = []
    for j, (other, theirs) in enumerate(compared):
        for one, ours in compared[:j]:
            if not ours["pair_id"].equals(theirs["pair_id"]):
                continue
            for metric, points in right[one.name].items():
                gap = points["right"].to_numpy() - right[other.name][metric]["right"].to_numpy()
                estimate = bootstrap_mean(gap, group_numbers(points["group"].to_list()), seed, resamples)
                rows.append(row(one, metric, f"{VERSUS}{other.name}", estimate))
                rows.append(row(other, metric, f"{VERSUS}{one.name}", mirrored(estimate)))
    return rows
