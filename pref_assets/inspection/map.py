"""A map of the data: train pairs on a plane, coloured by cluster, with the pairs of each subset marked."""

import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.inspection.map_page import PAGE
from pref_assets.pool import Pool, seeded_hash
from pref_assets.settings import Settings

Floats = NDArray[np.float64]
FEWEST_FOR_TSNE = 10  # with fewer points neighbourhoods say nothing; the first two components do
PICTURE_POINTS, PICTURE_INCHES, PICTURE_DPI = 700, (3.6, 2.7), 76


class DataMap(Settings):
    """The plane: principal components, then t-SNE (van der Maaten & Hinton, 2008) from there, of a bounded sample.

    Near points are near in the space that the clusterer works in; far ones, sizes and densities mean little. Time
    O(points · log points · iterations), by Barnes and Hut's approximation.
    """

    points: int = Field(default=2000, ge=10, le=20_000)
    """Most pairs on the map, drawn by a hash of their ids."""
    projection: Literal["tsne", "pca"] = "tsne"
    """How the plane is found; `pca` is the first two components alone, and what fewer than ten points get."""
    components: int = Field(default=50, ge=2)
    """Principal components that t-SNE works on."""
    perplexity: float = Field(default=30.0, gt=1)
    """Neighbours that count; lowered to a third of the points where there are few."""
    iterations: int = Field(default=350, ge=250)
    """Steps of t-SNE."""
    seed: int = Field(default=0, ge=0)
    """Seed of sample and t-SNE."""
    characters: int = Field(default=280, ge=20)
    """Characters of a text that are shown."""

    def sample(self, pool: Pool) -> pl.DataFrame:
        """The train pairs on the map, ordered by id."""
        pairs = pool.candidates()
        drawn = pairs.sort(seeded_hash(pairs["pair_id"], self.seed, "map")).head(self.points)
        return drawn.sort("pair_id")

    def plane(self, matrix: NDArray[np.float32]) -> Floats:
        """Places (n, 2) of the vectors (n, d), in [0, 1]."""
        flat = _principal(matrix, max(self.components, 2))
        if self.projection == "tsne" and len(matrix) >= FEWEST_FOR_TSNE:
            flat = self._tsne(flat)
        flat = flat[:, :2]
        if not len(flat):
            return flat
        low, high = flat.min(axis=0), flat.max(axis=0)
        widest = float((high - low).max())
        return (flat - (low + high) / 2) / (widest if widest > 0 else 1) + 0.5

    def _tsne(self, matrix: Floats) -> Floats:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        perplexity = min(self.perplexity, (len(matrix) - 1) / 3)
        start = matrix[:, :2] / max(float(matrix[:, 0].std()), 1e-12) * 1e-4
        with threadpool_limits(1):
            found = TSNE(
                2, perplexity=perplexity, max_iter=self.iterations, init=start, random_state=self.seed, n_jobs=1
            )
            return np.asarray(found.fit_transform(matrix), dtype=np.float64)


@dataclass(frozen=True)
class View:
    """One clustering of the pairs on the map: ``places`` (n, 2), ``clusters`` (n,), ``CENTROIDS`` as ``labels``."""

    name: str
    places: Floats
    clusters: NDArray[np.int64]
    labels: pl.DataFrame


def page(
    title: str,
    pool: Pool,
    pairs: pl.DataFrame,
    views: Sequence[View],
    subsets: Mapping[str, pl.DataFrame],
    characters: int,
) -> str:
    """The map as one HTML file that loads nothing.

    Args:
        pairs: the pairs on the map. views: places and clusters in the same order. subsets: ``DECISIONS`` by name.
    """
    texts = pool.texts(pairs).select(
        "pair_id", *(_short(name, characters) for name in ("prompt", "chosen", "rejected"))
    )
    data = {
        "shown": _shown(len(pairs), len(pool.candidates())),
        "points": [
            {"id": id_, "prompt": prompt, "chosen": chosen, "rejected": rejected}
            for id_, prompt, chosen, rejected in texts.iter_rows()
        ],
        "views": [_packed(view) for view in views],
        "subsets": [_picked(name, decisions, pairs) for name, decisions in subsets.items()],
    }
    # In a script element only "<" could end it early.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return PAGE.replace("__TITLE__", html.escape(title)).replace("__DATA__", text)


def picture(view: View) -> bytes:
    """A view as a PNG small enough to travel in metadata, of at most ``PICTURE_POINTS`` points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=PICTURE_INCHES, dpi=PICTURE_DPI, layout="constrained")
    axes = figure.subplots()
    rows = np.linspace(0, len(view.places) - 1, min(len(view.places), PICTURE_POINTS)).astype(int)
    colours = [_colour(cluster) for cluster in view.clusters[rows].tolist()]
    axes.scatter(view.places[rows, 0], view.places[rows, 1], c=colours, s=4, linewidths=0, antialiased=False)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_title(view.name, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _principal(matrix: NDArray[np.float32], components: int) -> Floats:
    """The first principal components (n, components); zeros where there are fewer dimensions. The sign of each is such
    that its largest number in size is positive."""
    moved = matrix.astype(np.float64) - matrix.mean(axis=0)
    _, directions = np.linalg.eigh(moved.T @ moved)
    found = moved @ directions[:, ::-1][:, :components]
    if len(found):
        found = found * np.where(np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], 0) < 0, -1, 1)
    return np.pad(found, ((0, 0), (0, max(2 - found.shape[1], 0))))


def _packed(view: View) -> dict[str, Any]:
    clusters = view.labels.sort("size", "cluster", descending=[True, False]).select("cluster", "label", "size")
    return {
        "name": view.name,
        "x": view.places[:, 0].round(4).tolist(),
        "y": view.places[:, 1].round(4).tolist(),
        "cluster": view.clusters.tolist(),
        "clusters": [{"number": number, "label": label, "size": size} for number, label, size in clusters.iter_rows()],
    }


def _picked(name: str, decisions: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, Any]:
    kept = decisions.filter("selected")
    places = pairs.select("pair_id").with_row_index("place").join(kept, on="pair_id", how="semi", maintain_order="left")
    return {"name": name, "size": len(kept), "picked": places["place"].to_list()}


def _short(name: str, characters: int) -> pl.Expr:
    text = pl.col(name).fill_null("")
    cut = text.str.slice(0, characters - 1) + "…"
    return pl.when(text.str.len_chars() > characters).then(cut).otherwise(text).alias(name)


def _shown(shown: int, of: int) -> str:
    return f"{shown:,} train pairs" if shown == of else f"{shown:,} of {of:,} train pairs, drawn at random"


def _colour(cluster: int) -> str:
    import colorsys

    if cluster < 0:
        return "#9a9aa5"
    red, green, blue = colorsys.hls_to_rgb((cluster * 137.508 + 250) % 360 / 360, 0.5, 0.65)
    return f"#{int(255 * red):02x}{int(255 * green):02x}{int(255 * blue):02x}"
