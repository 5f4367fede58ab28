"""What DSIR matches: texts of a file, of a source, or of a held-out split that is named."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.decontamination import Bench
from pref_assets.pairs.texts import contents_of
from pref_assets.pool import Pool
from pref_assets.settings import Settings, digest


class FileTarget(Bench):
    """Texts of files: prompts of the deployment or of another benchmark. Repeated texts count once."""

    type: Literal["file"] = "file"
    allow_held_out: bool = False
    """Accept a target that holds prompts or answers of this pipeline's validation or test pairs."""

    def digest(self) -> str:
        """Changes with the settings and with the content of files that lie on this machine."""
        from pref_assets.pairs.locations import file_hashes

        return digest([super().digest(), file_hashes(self.location)])

    def texts_of(self, pool: Pool) -> pl.Series:
        """The target's texts.

        Raises:
            BenchError: a row cannot be read, or holds no text where the settings say.
            ValueError: texts of held-out pairs are among them, and nobody allowed it.
        """
        from pref_assets.pairs.decontamination import Decontamination
        from pref_assets.pairs.decontamination.benches import bench_texts

        bench = Bench(location=self.location, texts=self.texts)
        found = bench_texts(Decontamination(benches={"target": bench})).frame["text"]
        if not self.allow_held_out:
            leaked = found.to_frame("text").filter(plain("text").is_in(_held_out(pool).implode()))
            if len(leaked):
                raise ValueError(
                    f"{len(leaked)} of {len(found)} target texts are prompts or answers of this pipeline's held-out "
                    f"pairs, e.g. {leaked['text'][0][:60]!r}; selecting by them leaks the test: take them out of "
                    f"{self.location}, or set `allow_held_out`"
                )
        return found


class SourceTarget(Settings):
    """Train pairs that came from some of the pipeline's sources."""

    type: Literal["source"] = "source"
    sources: tuple[str, ...] = Field(min_length=1)
    """Names of sources, as in the pipeline file."""

    def pairs_of(self, pairs: pl.DataFrame) -> pl.Series:
        """Which pairs these are. Raises ``ValueError`` when a source gave no train pair."""
        train = pl.col("split") == "train"
        came = pl.col("provenance").list.eval(pl.element().struct.field("source"))
        for source in self.sources:
            if not pairs.select((train & came.list.contains(source)).any()).item():
                raise ValueError(f"no train pair came from source {source!r}; name a source of this pipeline")
        named = pl.lit(pl.Series(list(self.sources), dtype=pl.String).implode())
        return pairs.select(train & (came.list.set_intersection(named).list.len() > 0)).to_series()


class SplitTarget(Settings):
    """Held-out pairs of this pipeline: the selection then knows them, and they no longer measure it fairly."""

    type: Literal["split"] = "split"
    split: Literal["validation", "test"]
    """Which split; naming it is what allows it."""

    def pairs_of(self, pairs: pl.DataFrame) -> pl.Series:
        """Which pairs these are. Raises ``ValueError`` when the split is empty."""
        found = pairs["split"] == self.split
        if not found.any():
            raise ValueError(f"there is no {self.split} pair to take as target")
        return found


DsirTarget = Annotated[FileTarget | SourceTarget | SplitTarget, Field(discriminator="type")]


def plain(column: str) -> pl.Expr:
    """A text column in lower case with single spaces, for comparison."""
    return pl.col(column).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def _held_out(pool: Pool) -> pl.Series:
    """Prompts, their turns, and answers of the pairs that do not train, as ``plain`` texts."""
    pairs = pool.pairs.filter(pl.col("split") != "train")
    sides = pl.concat([pairs.select(completion_id=side) for side in ("chosen_id", "rejected_id")]).unique()
    answers = pool.completions.join(sides, on="completion_id", how="semi")
    prompts = pool.prompts.join(answers, on="prompt_id", how="semi")
    turns = prompts.select("messages").explode("messages", empty_as_null=False)
    texts = [
        prompts.select(text=contents_of("messages")),
        answers.select(text=contents_of("messages")),
        turns.select(text=pl.col("messages").struct.field("content")),
    ]
    return pl.concat(texts).select(text=plain("text"))["text"].unique()
