"""Readable names of clusters."""

import polars as pl


def cluster_words(assignments: pl.DataFrame, texts: pl.DataFrame, words: int, members: int) -> dict[int, str]:
    """The words that set each cluster apart, best first, joined by `` · ``; empty for a cluster without words.

    Class-based TF-IDF: score of word t in cluster c = tf(t, c) log(1 + A / f(t)), where tf counts t in the cluster's
    texts, f in all of them, and A is the mean number of words a cluster (Grootendorst, arXiv:2203.05794, eq. 2).
    Counted on the ``members`` texts nearest each centre. A word has three letters or more, is no English stop word,
    and occurs in two texts of the cluster where it has two.

    Args:
        assignments: ``CLUSTERS``. texts: frame (id, text); ids that are not in it are left out.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    near = assignments.sort("cluster", "distance", "id").group_by("cluster", maintain_order=True).head(members)
    tokens = (
        near.join(texts, on="id", how="inner")
        .with_columns(size=pl.len().over("cluster"))
        .select(
            "cluster", "id", "size", word=pl.col("text").str.to_lowercase().str.extract_all(r"\p{L}[\p{L}'’-]+\p{L}")
        )
        .explode("word")
        .filter(pl.col("word").is_not_null() & ~pl.col("word").is_in(list(ENGLISH_STOP_WORDS)))
    )
    counts = tokens.group_by("cluster", "word").agg(
        tf=pl.len(), texts=pl.col("id").n_unique(), size=pl.col("size").first()
    )
    mean_words = len(tokens) / max(counts["cluster"].n_unique(), 1)
    scored = counts.with_columns(score=pl.col("tf") * (1 + mean_words / pl.col("tf").sum().over("word")).log()).filter(
        pl.col("texts") >= pl.min_horizontal("size", 2)
    )
    best = scored.sort(["cluster", "score", "word"], descending=[False, True, False]).group_by(
        "cluster", maintain_order=True
    )
    labels = best.head(words).group_by("cluster").agg(label=pl.col("word").str.join(" · "))
    return dict(zip(labels["cluster"].to_list(), labels["label"].to_list(), strict=True))
