"""Whether a bench is news to a checkpoint: its prompts and images against those of the pairs that trained it."""

from dataclasses import dataclass

import polars as pl

from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.training.checkpoint import pair_ids


class SeenInTrainingError(ValueError):
    """A checkpoint trained on what it is measured on; the message names it, an example, and what to do."""


@dataclass(frozen=True)
class Overlap:
    """What a checkpoint has seen of a bench.

    Attributes:
        prompts: the bench's prompts (``group``) whose text with its images, or whose id, is among its training pairs.
        images: those one of whose images is.
        unknown: training pairs that the pairs table no longer holds, so that nobody can say.
    """

    prompts: frozenset[str]
    images: frozenset[str]
    unknown: int


def overlap(checkpoint: CheckpointRef, bench: pl.DataFrame, inputs: Inputs) -> Overlap:
    """Compares a ``PAIRED`` bench with the pairs behind a checkpoint, by prompt id, by the ``id`` that rows of MM-RLHF
    have, and by the content of images."""
    trained = pl.DataFrame({"pair_id": pair_ids(checkpoint.folder)}, schema={"pair_id": pl.String})
    known = trained.join(inputs.pairs.select("pair_id", "chosen_id", "rejected_id"), on="pair_id")
    sides = pl.concat([known["chosen_id"].rename("completion_id"), known["rejected_id"].rename("completion_id")])
    asked = sides.unique().to_frame().join(inputs.completions.select("completion_id", "prompt_id"), on="completion_id")
    prompts = inputs.prompts.join(asked.select("prompt_id").unique(), on="prompt_id", how="semi")
    ids = set(prompts["prompt_id"])
    names = set(prompts["metadata"].str.json_path_match("$.id").drop_nulls()) - {""}
    images = set(prompts["images"].explode().drop_nulls())
    groups = bench.select("group", "prompt_id", "images").iter_rows()
    seen_prompts, seen_images = set(), set()
    for group, prompt, shown in groups:
        if prompt in ids or group in names:
            seen_prompts.add(group)
        if images & set(shown or ()):
            seen_images.add(group)
    return Overlap(frozenset(seen_prompts), frozenset(seen_images), trained.height - known.height)


def refuse(checkpoint: CheckpointRef, found: Overlap) -> None:
    """Raises ``SeenInTrainingError`` where the checkpoint has seen a prompt or an image of the bench, or nobody can
    say."""
    for what, seen in (("prompts", found.prompts), ("images", found.images)):
        if seen:
            raise SeenInTrainingError(
                f"checkpoint {checkpoint.name!r} trained on {what} of {len(seen)} prompts of the bench, such as "
                f"{min(seen)!r}; leave them out of its pairs and train again, or set `overlap: report`"
            )
    if found.unknown:
        raise SeenInTrainingError(
            f"checkpoint {checkpoint.name!r}: {found.unknown} pairs that trained it are no longer in the pairs table, "
            "so whether it has seen the bench is unknown; train it again, or set `overlap: report`"
        )
