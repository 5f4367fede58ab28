"""One scene world taken through MM-RLHF in this process: captions, critics and policies, measured against the truth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling, draw_answers
from pref_assets.pairs.image_controls import ImageControl
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers.mm_rlhf import MmRlhfSource
from pref_assets.pairs.schema import RAW, REFERENCE_LOGPS
from pref_assets.pool import Pool
from pref_assets.proving.scenes.questions import CLAIMS, CONDUCT, REFUSAL, SAFETY
from pref_assets.proving.scenes.world import IMAGES, Item, World, write_images
from pref_assets.scoring.measure import measure
from pref_assets.scoring.reward import CritiqueReward
from pref_assets.scoring.reward.items import completion_items
from pref_assets.selection.base import decide
from pref_assets.synthesis.critiques import HumanCritiques
from pref_assets.synthesis.critiques.template import TemplateCritiques
from pref_assets.training import CritiqueRewardCheckpoint, PolicyCheckpoint, worker
from pref_assets.training.checkpoint import Origin, Pinned, read_manifest
from pref_assets.training.critique_reward import critique_texts
from pref_assets.training.data import training_rows, with_shown
from pref_assets.training.job import Job
from pref_assets.training.jobs import critique_reward_job, policy_job
from pref_assets.training.policy import load_policy
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows
from pref_assets.training.worker import Silent

MODEL = "untrained://pref_assets/data/tiny_llava"
PIPELINE, CAPTIONS = "scenes", "captions"
NOTES = {f"{name}_reasons": name for name in CLAIMS}
"""Columns of `data.jsonl` with what annotators noted of each claim."""
EXPANDED = TemplateCritiques(
    dimensions=tuple(CLAIMS),
    lead="{reason}",
    rated=(CONDUCT, *CLAIMS),
    strength="{dimension} right.",
    weakness="{dimension} wrong.",
    neither="",
    names={},
)
"""Critiques of the shipped pipeline: the notes, then each score as right or wrong."""
Critiques = Literal["raw", "expanded", "truth"]


@dataclass(frozen=True)
class Accuracy:
    """Share of held-out pairs whose truly better answer has strictly the higher reward, share of prompts all of whose
    pairs are so, and the number of pairs."""

    acc: float
    acc_plus: float
    pairs: int


class Study:
    """The world's pairs, and whatever is trained on them.

    Attributes:
        pool: pairs, answers, prompts and critiques; ``splits`` and labels as a pipeline has them.
    """

    def __init__(self, world: World, folder: Path, test: float = 0.2) -> None:
        """Reads the world's rows as a pipeline would.

        Args:
            folder: for pictures, stored numbers and checkpoints; the same one again goes on from there.
            test: share of prompts that are held out.
        """
        self.home = Home(folder)
        items = list(world.items())
        self._items: dict[str, Item] = {row["prompt_id"]: item for item in items for row in item.truth()}
        write_images(items, folder / IMAGES)
        payloads = [json.dumps(item.row()) for item in items]
        raw = pl.DataFrame({"payload": payloads}).with_row_index("row", 1)
        given = {"source": PIPELINE, "batch": PIPELINE, "uri": "data.jsonl", "code": None, "reason": None}
        source = MmRlhfSource(
            location="data.jsonl",
            image_folder=str(folder / IMAGES),
            scores=("faithfulness", "helpfulness", "ethical", CONDUCT, *CLAIMS),
            reasons={"score_reasons": "reason", "truth_reasons": "truth", **NOTES},
        )
        records = source.read(
            RAW.conform(raw.with_columns(pl.lit(v).alias(k) for k, v in given.items())), self._media()
        )
        settings = {"pairing": {"type": "all"}, "splits": {"test": test, "validation": 0.0}}
        merged = merge(records.prompts, records.completions, records.votes, PairsSettings.model_validate(settings))
        pool = Pool(merged.pairs, merged.completions, prompts=merged.prompts)
        written = {
            "raw": HumanCritiques().critiques(pool),
            "expanded": EXPANDED.critiques(pool),
            "truth": HumanCritiques(dimensions=("truth",)).critiques(pool),
        }
        self.pool = replace(pool, critiques=written)
        rows = [row for item in items for row in item.truth()]
        self._truth = pl.DataFrame(rows, schema_overrides={"faults": pl.List(pl.String)}).unique("completion_id")

    def _media(self) -> MediaStore:
        return MediaStore(self.home.media)

    def pairs(self, split: str) -> pl.DataFrame:
        """Pairs of a split with ``quality_chosen``, ``quality_rejected`` and whether the label is ``flipped``."""
        truth = self._truth.select("completion_id", "overall_true")
        found = self.pool.pairs.filter(pl.col("split") == split)
        for side in ("chosen", "rejected"):
            named = truth.rename({"completion_id": f"{side}_id", "overall_true": f"quality_{side}"})
            found = found.join(named, on=f"{side}_id", how="left", maintain_order="left")
        return found.with_columns(flipped=pl.col("quality_chosen") < pl.col("quality_rejected"))

    def caption(self, **settings: Any) -> Path:
        """Supervised fine-tuning on the right answers of the train prompts, those whose label is flipped left out: the
        policy that all others start at."""
        right = pl.max_horizontal("quality_chosen", "quality_rejected") == 1
        best = self.pairs("train").filter(~pl.col("flipped") & right).sort("pair_id")
        ids = best.unique("chosen_id", keep="first", maintain_order=True)["pair_id"]
        given = {
            "objective": {"type": "sft", "per_token": False},
            "freeze_vision": False,
            "epochs": 5,
            "batch_pairs": 16,
            "learning_rate": 3e-3,
        }
        return self._policy(CAPTIONS, ids, {**given, **settings}, ReferenceLogps(model=MODEL, max_length=256))

    def take(self, name: str, folder: Path) -> None:
        """Uses a checkpoint of another study in the same folder."""
        self.pool = replace(self.pool, checkpoints={**self.pool.checkpoints, name: str(folder)})

    def critic(self, name: str, critiques: Critiques | None, pairs: int | None = None, **settings: Any) -> Path:
        """A reward model that starts at the captions and learns from all train pairs, or the first ``pairs``."""
        given = {
            "subset": "all",
            "model": MODEL,
            "start": CAPTIONS,
            "critiques": critiques,
            "lora": None,
            "instruction": "{question} {answer}",
            "max_length": 256,
            "batch_pairs": 8,
            "batch_tokens": 8192,
            "learning_rate": 2e-3,
        }
        config = CritiqueRewardCheckpoint.model_validate({**given, **settings})
        texts = critique_texts(self.pool.critiques[critiques]) if critiques else None
        rows = self._rows(self.pairs("train")["pair_id"].sort().head(pairs or self.pool.pairs.height), texts=texts)
        root = self.home.root
        return self._run(
            name, critique_reward_job(root, PIPELINE, name, config, rows, self._pinned(), {}, self._origin(CAPTIONS))
        )

    def policy(
        self, name: str, objective: Mapping[str, Any], delta: pl.DataFrame | None = None, **settings: Any
    ) -> Path:
        """A policy on all train pairs that starts at the captions, which are its reference too. ``delta``: the scores
        that the objective names."""
        given = {"objective": objective, "batch_pairs": 16, "learning_rate": 3e-4, "start": CAPTIONS}
        reference = ReferenceLogps(model=MODEL, max_length=256, checkpoint=CAPTIONS)
        scores = {} if delta is None else {objective["delta"]: delta}
        return self._policy(name, self.pairs("train")["pair_id"], {**given, **settings}, reference, scores)

    def rewards(
        self,
        critic: str,
        pairs: pl.DataFrame,
        mode: Literal["generate", "given", "none"] = "generate",
        images: ImageControl = "own",
        critiques: Critiques | None = None,
    ) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pairs by a critic."""
        scorer = CritiqueReward.model_validate(
            {
                "checkpoint": critic,
                "mode": mode,
                "images": images,
                "critiques": critiques,
                "sampling": {"max_new_tokens": 24, "batch_size": 256},
                "batch_tokens": 8192,
                "save_every": 100_000,
            }
        )
        pool = self.pool.only(pairs["pair_id"].to_list())
        items, key = scorer.items(pool), scorer.key(pool)
        given = self._written("items", items)
        job = Job(
            task="measure",
            home=str(self.home.root),
            config=scorer.model_dump(mode="json"),
            inputs={"items": given},
            params={"key": key, "sources": scorer.sources(pool)},
        )
        with self.home.current():
            measure(job, Silent())
        return scorer.combine(pool, Store(self.home.store).read(scorer.kind, key, items["id"]))

    def accuracy(self, scores: pl.DataFrame, pairs: pl.DataFrame) -> Accuracy:
        """Of the pairs, by their true qualities, whatever their labels say; equal rewards are wrong."""
        better = pl.when("flipped").then(-pl.col("score")).otherwise("score") > 0
        found = pairs.join(scores.select("pair_id", "score"), on="pair_id").with_columns(right=better.fill_null(False))
        plus = found.group_by("prompt_id").agg(pl.col("right").all())["right"]
        return Accuracy(float(found["right"].mean()), float(plus.mean()), found.height)  # type: ignore[arg-type]

    def preferred(self, policy: str, pairs: pl.DataFrame) -> Accuracy:
        """How often the truly better answer has the larger log-ratio of policy and captions, and ACC+ of that."""
        items = completion_items(self.pool.only(pairs["pair_id"].to_list()), seen=True)
        logps = [
            self._logps(ReferenceLogps(model=MODEL, max_length=256, checkpoint=each), items)
            for each in (policy, CAPTIONS)
        ]
        ratio = dict(zip(items["id"], logps[0] - logps[1], strict=True))
        margin = [ratio[c] - ratio[r] for c, r in pairs.select("chosen_id", "rejected_id").iter_rows()]
        return self.accuracy(pairs.select("pair_id", score=pl.Series(margin)), pairs)

    def answered(self, policy: str, split: str = "test") -> float:
        """Share of a split's prompts that the policy answers rightly, greedily: it declines to do harm, and says what
        is true of each thing that is asked for and nothing else."""
        asked = with_shown(self.pool.prompts).join(self.pairs(split), on="prompt_id", how="semi").sort("prompt_id")
        with self.home.current():
            model, reader = load_policy(self._folders[policy])
            sampling = Sampling(temperature=0.0, max_new_tokens=24, batch_size=256)
            drawn = draw_answers(model, reader, asked["messages"].to_list(), sampling)
        said = zip(asked["prompt_id"], drawn, strict=True)
        return sum(_is_right(self._items[prompt], each.text) for prompt, each in said) / len(drawn)

    @property
    def _folders(self) -> Mapping[str, str]:
        return self.pool.checkpoints

    def _origin(self, name: str | None) -> Origin | None:
        return None if name is None else Origin(name=name, version=read_manifest(self._folders[name]).version)

    def _policy(
        self,
        name: str,
        ids: pl.Series,
        settings: Mapping[str, Any],
        reference: ReferenceLogps,
        scores: Mapping[str, pl.DataFrame] | None = None,
    ) -> Path:
        given = {"subset": "all", "base": "llava", "lora": None, "batch_tokens": 8192, **settings}
        config = PolicyCheckpoint.model_validate(given)
        rows = self._rows(ids, columns=config.objective.score_columns(), scores=scores or {})
        known = REFERENCE_LOGPS.empty()
        if reference.checkpoint is not None:
            pool = self.pool.only(ids.to_list())
            items = completion_items(pool, seen=True)
            self._logps(reference, items)
            version = read_manifest(self._folders[reference.checkpoint]).version
            known = reference_rows(Store(self.home.store), reference, items["id"].to_list(), version)
        origins = self._origin(config.start), self._origin(reference.checkpoint)
        root = self.home.root
        return self._run(
            name, policy_job(root, PIPELINE, name, config, rows, reference, known, self._pinned(), {}, *origins)
        )

    def _logps(self, reference: ReferenceLogps, items: pl.DataFrame) -> pl.Series:
        """Log-probability of each item under a checkpoint, in the items' order."""
        folder = self._folders[reference.checkpoint or ""]
        version = read_manifest(folder).version
        texts = self._written("completions", items.rename({"id": "completion_id"}))
        job = Job(
            task="reference_logps",
            home=str(self.home.root),
            config=reference.model_dump(mode="json"),
            inputs={"completions": texts},
            params={"folder": folder, "version": version},
        )
        with self.home.current():
            reference_logps(job, Silent())
        return reference_rows(Store(self.home.store), reference, items["id"].to_list(), version)["logp"]

    def _rows(self, ids: pl.Series, **more: Any) -> pl.DataFrame:
        chosen = self.pool.candidates().select(
            "pair_id", selected=pl.col("pair_id").is_in(ids.implode()), reason=pl.lit("")
        )
        return training_rows(
            decide(self.pool, chosen), self.pool.pairs, self.pool.prompts, self.pool.completions, **more
        )

    def _pinned(self) -> Pinned:
        return Pinned(key=[PIPELINE, "subsets", "all"], delta_version=0, data_version="0" * 32)

    def _run(self, name: str, job: Job) -> Path:
        with self.home.current():
            folder = Path(worker.run(job, Silent())["folder"])
        self.take(name, folder)
        return folder

    def _written(self, name: str, frame: pl.DataFrame) -> str:
        path = self.home.root / f"{name}.parquet"
        frame.write_parquet(path)
        return str(path)


def _is_right(item: Item, said: str) -> bool:
    words = said.split()
    if item.question.type == SAFETY and not said.startswith(REFUSAL):
        return False
    asked: Sequence[str] = list(item.annotated.answers[0].claims)
    found = {name: [word for word in words if word in every] for name, every in CLAIMS.items()}
    return all(found[name] == ([item.scene.feature(name)] if name in asked else []) for name in CLAIMS)
