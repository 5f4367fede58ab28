"""The gallery: pairs with their images, and what is known of them, on one page."""

from pathlib import Path
from typing import Any

import dagster as dg

from pref_assets.home import Home
from pref_assets.inspection.gallery import Gallery, page
from pref_assets.pairs.media import MediaStore
from pref_assets.pipeline.assets.common import FOLLOW, Assets, named_inputs, pairs_inputs, seen
from pref_assets.pipeline.metadata import bounded, series
from pref_assets.pipeline.naming import asset_spec, describe
from pref_assets.pipeline.pools import pool_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.folders import write_atomically
from pref_assets.settings import digest

NAME = "gallery"


def build(spec: PipelineSpec) -> Assets:
    return [_gallery(spec)] if spec.shows_images() else []


def _gallery(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings = Gallery()
    ins = pairs_inputs(spec.name, "pairs", "prompts", "completions")
    ins |= named_inputs(spec.name, "critiques", list(spec.critiques))
    ins |= named_inputs(spec.name, "scores", list(spec.scores))

    @dg.asset(
        **asset_spec(
            spec.name,
            "reports",
            NAME,
            description=describe(
                "Pairs drawn at random with their images, answers, votes, reasons, critiques and scores. One HTML "
                "file that loads nothing else.",
                inputs="`pairs`, their texts and images, every entry of `critiques` and `scores`",
                settings=settings,
            ),
            settings=settings,
            automation=FOLLOW,
        ),
        ins=ins,
    )
    def gallery(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[Any]:
        pool = pool_of(home, inputs)
        pairs = settings.sample(pool)
        text = page(f"Gallery of {spec.name}", pool, pairs, MediaStore(home.media), settings)
        file = gallery_file(home, spec.name)
        write_atomically(file, text)
        notes = {
            **series({"pairs": len(pairs), "bytes": len(text.encode())}),
            "file": dg.MetadataValue.path(str(file)),
            **seen(pairs, pool.prompts, home),
        }
        return dg.MaterializeResult(data_version=dg.DataVersion(digest(text)), metadata=bounded(notes))

    return gallery


def gallery_file(home: Home, pipeline: str) -> Path:
    """The gallery as HTML."""
    return home.root / "reports" / pipeline / f"{NAME}.html"
