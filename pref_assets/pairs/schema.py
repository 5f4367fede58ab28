"""The three tables of preference data, the tables around them, and the ids that join them.

Everything below the ``pairs`` room depends on this file and on nothing else of the project.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
RATINGS = pl.List(
    pl.Struct({"dimension": pl.String, "value": pl.Float64, "annotator": pl.String, "rationale": pl.String})
)
PAIR_VOTES = pl.List(
    pl.Struct(
        {
            "annotator": pl.String,
            "dimension": pl.String,
            "choice": pl.String,
            "strength": pl.Float64,
            "rationale": pl.String,
        }
    )
)
PROVENANCE = pl.List(pl.Struct({"source": pl.String, "uri": pl.String, "row": pl.Int64, "batch": pl.String}))


@dataclass(frozen=True)
class Column:
    dtype: pl.DataType | type[pl.DataType]
    description: str
    may_be_null: bool = False
    """Of a key column: whether it may be null all the same."""


@dataclass(frozen=True)
class Table:
    """A named table: its columns in order, the columns that identify a row, and those it is stored in the order of
    (the key when left out), so that a range of them is read without reading the rest."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    order: tuple[str, ...] = ()

    @property
    def schema(self) -> pl.Schema:
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
        """Rows as a frame of exactly this schema; a missing column is null."""
        return pl.DataFrame(list(rows), schema=self.schema, strict=True, orient="row")

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with exactly these columns in this order; ``ValueError`` names what does not fit."""
        missing = [name for name in self.columns if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.columns]
        if missing or extra:
            raise ValueError(f"table {self.name}: missing columns {missing}, unexpected columns {extra}")
        return frame.select(pl.col(name).cast(column.dtype) for name, column in self.columns.items())


_ID = Column(pl.String, "Content hash, 32 hex characters.")
_SOURCE = {
    "source": Column(pl.String, "Name of the source in the pipeline file."),
    "uri": Column(pl.String, "File or hub location the row was read from."),
    "row": Column(pl.Int64, "Row number in the file, from 1."),
    "batch": Column(pl.String, "Ingestion batch (partition key)."),
}
_PROMPT = {
    "prompt_id": _ID,
    "messages": Column(MESSAGES, "The conversation up to the answer."),
    "images": Column(pl.List(pl.String), "URIs of images that belong to the prompt."),
    "context": Column(pl.String, "Criterion or scenario under which answers are compared, if any."),
    "metadata": Column(pl.String, "Everything else the source said of the prompt, as JSON."),
}
_COMPLETION = {
    "completion_id": _ID,
    "prompt_id": Column(pl.String, "The prompt it answers."),
    "messages": Column(MESSAGES, "The answer, one or more turns."),
    "model": Column(pl.String, "Who wrote it, if known."),
    "ratings": Column(RATINGS, "Judgements for each dimension and annotator; one without a value is a comment."),
}

RAW = Table(
    "raw",
    ("batch", "uri", "row"),
    {
        **_SOURCE,
        "payload": Column(pl.String, "The row as JSON; the text as read where it is no JSON."),
        "code": Column(pl.String, "Why the row cannot be read; null when it can."),
        "reason": Column(pl.String, "The same in a sentence."),
    },
)
RECORD_PROMPTS = Table("record_prompts", ("prompt_id", "uri", "row"), {**_PROMPT, **_SOURCE})
RECORD_COMPLETIONS = Table(
    "record_completions",
    ("completion_id", "uri", "row"),
    {
        **_COMPLETION,
        "position": Column(pl.Int32, "Place of the answer in its row, from 0."),
        **_SOURCE,
    },
    order=("prompt_id", "completion_id", "uri", "row", "position"),
)
RECORD_VOTES = Table(
    "record_votes",
    ("completion_a", "completion_b", "annotator", "dimension", "uri", "row"),
    {
        "prompt_id": Column(pl.String, "The prompt of both; null when they answer different prompts."),
        "completion_a": Column(pl.String, "The completion with the smaller id."),
        "completion_b": Column(pl.String, "The completion with the larger id."),
        "annotator": Column(pl.String, "Who judged; `unknown` when the source does not say."),
        "dimension": Column(pl.String, "What was judged; `overall` when the source does not say."),
        "choice": Column(pl.String, "`a`, `b` or `tie`."),
        "strength": Column(pl.Float64, "How much better, in the source's unit; null when not said."),
        "rationale": Column(pl.String, "Why, in the annotator's words."),
        **_SOURCE,
    },
    order=("prompt_id", "completion_a", "completion_b", "annotator", "dimension", "uri", "row"),
)
QUARANTINE = Table(
    "quarantine",
    ("batch", "uri", "row"),
    {
        **_SOURCE,
        "code": Column(pl.String, "Which rule refused the row."),
        "reason": Column(pl.String, "What was wrong and where, in a sentence."),
        "payload": Column(pl.String, "The row as read, whole."),
    },
)
PROMPTS = Table(
    "prompts",
    ("prompt_id",),
    {
        **_PROMPT,
        "group_id": Column(pl.String, "Earliest prompt that this one nearly repeats, itself when there is none."),
        "split": Column(pl.String, "`train`, `validation` or `test`; all pairs of a group share it."),
        "provenance": Column(PROVENANCE, "Every row that held this prompt."),
    },
)
COMPLETIONS = Table(
    "completions",
    ("completion_id",),
    {**_COMPLETION, "provenance": Column(PROVENANCE, "Every row that held this completion.")},
    order=("prompt_id", "completion_id"),
)
_PAIR = {
    "pair_id": Column(pl.String, "Content hash of the two completions; orientation does not change it."),
    "prompt_id": Column(pl.String, "The prompt; null when the two completions answer different prompts."),
    "chosen_id": Column(pl.String, "Completion that the votes prefer (the smaller id in a tie)."),
    "rejected_id": Column(pl.String, "The other completion."),
    "p_chosen": Column(pl.Float64, "Share of vote weight for the chosen side; 0.5 is a tie."),
    "strength": Column(pl.Float64, "Mean strength of the votes for the chosen side; null when not said."),
    "votes": Column(PAIR_VOTES, "Every vote; choice is `chosen`, `rejected` or `tie`."),
    "split": Column(pl.String, "`train`, `validation` or `test`."),
    "provenance": Column(PROVENANCE, "Every row a vote came from."),
}
COMPARISONS = Table(
    "comparisons",
    ("pair_id",),
    {
        **_PAIR,
        "code": Column(pl.String, "Why the votes do not settle it; null when they do."),
        "reason": Column(pl.String, "The same in a sentence."),
    },
    order=("prompt_id", "pair_id"),
)
PAIRS = Table("pairs", ("pair_id",), _PAIR, order=("prompt_id", "pair_id"))
PAIR_DROPS = Table(
    "pair_drops",
    ("pair_id",),
    {
        "pair_id": _ID,
        "chosen_id": Column(pl.String, "One completion."),
        "rejected_id": Column(pl.String, "The other."),
        "action": Column(pl.String, "`drop`, or `quarantine` where a person should look."),
        "code": Column(pl.String, "Which rule took the comparison out."),
        "reason": Column(pl.String, "The same in a sentence."),
        "provenance": Column(PROVENANCE, "Every row a vote came from."),
    },
)
ANNOTATORS = Table(
    "annotators",
    ("annotator", "dimension"),
    {
        "annotator": Column(pl.String, "Who judged."),
        "dimension": Column(pl.String, "What was judged."),
        "votes": Column(pl.Int64, "Votes given."),
        "ties": Column(pl.Int64, "Of them, ties."),
        "judged_with_others": Column(pl.Int64, "Votes on pairs that someone else judged on the same dimension."),
        "agreed": Column(pl.Float64, "Share of the others' votes on the same pairs that say the same."),
        "weight": Column(pl.Float64, "Weight of a vote under the pipeline's vote policy."),
    },
)
AGREEMENT = Table(
    "agreement",
    ("source", "dimension"),
    {
        "source": Column(pl.String, "Name of the source; `all` for all together."),
        "dimension": Column(pl.String, "What was judged."),
        "pairs": Column(pl.Int64, "Pairs with at least two votes."),
        "votes": Column(pl.Int64, "Votes on them."),
        "annotators": Column(pl.Int64, "Who gave them."),
        "alpha": Column(pl.Float64, "Krippendorff's alpha, nominal over {a, b, tie}; null where it is not defined."),
        "unanimous": Column(pl.Float64, "Share of these pairs on which all votes agree."),
    },
)
FLAGS = Table(
    "flags",
    ("pair_id", "code"),
    {
        "pair_id": _ID,
        "code": Column(pl.String, "The rule."),
        "severity": Column(pl.String, "`error`, `warning` or `info`."),
        "detail": Column(pl.String, "What was found, in a sentence."),
    },
)
_DUPLICATE = {
    "similarity": Column(pl.Float64, "Jaccard similarity of their word shingles."),
    "batch": Column(pl.String, "Batch that brought the later one."),
    "of_batch": Column(pl.String, "Batch that brought the earlier one."),
}
PROMPT_DUPLICATES = Table(
    "prompt_duplicates",
    ("prompt_id", "of"),
    {
        "prompt_id": Column(pl.String, "A prompt."),
        "of": Column(pl.String, "An earlier prompt that it nearly repeats."),
        **_DUPLICATE,
    },
)
IMAGES = Table(
    "images",
    ("uri",),
    {
        "uri": Column(pl.String, "Where the image is: its place in the media store, an address or a name."),
        "width": Column(pl.Int64, "Pixels; null where the image is no file of the store."),
        "height": Column(pl.Int64, "The same."),
        "format": Column(pl.String, "Format of the file, in small letters."),
        "bytes": Column(pl.Int64, "Size of the file."),
        "prompts": Column(pl.Int64, "Prompts that show it."),
        "phash": Column(pl.String, "Perceptual hash, 64 bits as 16 hexadecimal digits."),
        "near": Column(pl.String, "The earliest image that it nearly repeats; null when there is none."),
        "distance": Column(pl.Int64, "Bits in which the hashes of the two differ."),
        "difference": Column(pl.Float64, "Largest difference of a colour between their 16 x 16 copies, 0 to 1."),
    },
)
PAIR_DUPLICATES = Table(
    "pair_duplicates",
    ("pair_id", "of"),
    {
        "pair_id": _ID,
        "of": Column(pl.String, "An earlier pair, itself no duplicate, that it nearly repeats."),
        **_DUPLICATE,
    },
)
CONTAMINATION = Table(
    "contamination",
    ("pair_id", "bench", "bench_row", "part", "kind"),
    {
        "pair_id": _ID,
        "bench": Column(pl.String, "Name of the bench in the pipeline file."),
        "bench_row": Column(pl.Int64, "Row of the bench, from 1."),
        "part": Column(pl.String, "`prompt`, `chosen` or `rejected`."),
        "kind": Column(pl.String, "`ngram` or `near_duplicate`."),
        "similarity": Column(pl.Float64, "Share of the bench text's n-grams found, or Jaccard similarity."),
        "detail": Column(pl.String, "The words they share."),
    },
)
WITHDRAWALS = Table(
    "withdrawals",
    ("withdrawal_id",),
    {
        "withdrawal_id": Column(pl.String, "Content hash of what was withdrawn."),
        "kind": Column(pl.String, "`source`, `file`, `row`, `annotator`, `prompt`, `completion` or `pair`."),
        "value": Column(pl.String, "Which one."),
        "reason": Column(pl.String, "Why, in words."),
        "at": Column(pl.String, "When, ISO 8601."),
    },
)
BIAS = Table(
    "bias",
    ("data", "metric", "group"),
    {
        "data": Column(pl.String, "`comparisons`, before curation, or `pairs`, after it."),
        "metric": Column(pl.String, "What was measured; see `inspection.bias.METRICS`."),
        "group": Column(pl.String, "Slice of the data: a trait, a model, a source, a code."),
        "value": Column(pl.Float64, "The value: a share, a mean or a median."),
        "lo": Column(pl.Float64, "Lower end of the 95 % interval; null when none is defined."),
        "hi": Column(pl.Float64, "Upper end."),
        "n": Column(pl.Int64, "What was counted: comparisons, votes or rows."),
    },
)
_TEXTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "pair_id": pl.String,
    "prompt_id": pl.String,
    "chosen_id": pl.String,
    "rejected_id": pl.String,
    "prompt": MESSAGES,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
}
PAIR_TEXTS = pl.Schema(_TEXTS)
"""A chunk of comparisons with their conversations (`pairs.chunks`); ``prompt`` is null where the sides answer two."""
CRITIQUES = Table(
    "critiques",
    ("completion_id",),
    {
        "completion_id": _ID,
        "critique": Column(pl.String, "What is good and bad about the answer, in words; null where nobody said."),
        "reasons": Column(pl.String, "The annotators' own words that it was made of; null where there are none."),
        "writer": Column(pl.String, "Who wrote it: `human`, `template`, or a model."),
        "category": Column(pl.String, "What became of it, as its entry documents."),
    },
)
EMBEDDINGS = Table(
    "embeddings",
    ("id",),
    {
        "id": Column(pl.String, "Completion id."),
        "key": Column(pl.String, "Store key: the embedder, its model and settings."),
        "vector_id": Column(pl.String, "Id of its vector there: the completion, or the image of its prompt."),
        "n_tokens": Column(pl.Int64, "Tokens before truncation; null of images."),
        "truncated": Column(pl.Boolean, "Whether the text was longer than the model reads."),
    },
)
CLUSTERS = Table(
    "clusters",
    ("id",),
    {
        "id": Column(pl.String, "Completion or pair id, as the clusterer says."),
        "cluster": Column(pl.Int32, "Cluster number."),
        "distance": Column(pl.Float32, "Euclidean distance to the centroid."),
    },
)
CENTROIDS = Table(
    "centroids",
    ("cluster",),
    {
        "cluster": Column(pl.Int32, "Cluster number."),
        "label": Column(pl.String, "Words that set the cluster apart."),
        "size": Column(pl.Int64, "Members."),
        "mean_distance": Column(pl.Float32, "Mean distance of members to the centroid."),
        "centroid": Column(pl.List(pl.Float32), "The centre."),
    },
)
NAMED_VALUE = pl.Struct({"name": pl.String, "value": pl.Float64})
PAIR_SCORES = Table(
    "pair_scores",
    ("pair_id",),
    {
        "pair_id": _ID,
        "score": Column(pl.Float64, "The number that selectors rank by."),
        "spread": Column(pl.Float64, "Its standard deviation over members; null for a single scorer."),
        "p_correct": Column(pl.Float64, "Calibrated probability that the label is right; null when not known."),
        "score_chosen": Column(pl.Float64, "Score of the chosen completion alone."),
        "score_rejected": Column(pl.Float64, "Score of the rejected completion alone."),
        "category": Column(pl.String, "Named band of the score, as the scorer documents."),
        "details": Column(pl.List(NAMED_VALUE), "Further numbers of the scorer by name; selectors can rank by them."),
    },
)
DECISIONS = Table(
    "subset",
    ("pair_id",),
    {
        "pair_id": _ID,
        "selected": Column(pl.Boolean, "Whether the pair trains."),
        "rank": Column(pl.Int64, "Order of selection from 1; null when the pair was never a candidate."),
        "score": Column(pl.Float64, "The number it was ranked by."),
        "reason": Column(pl.String, "Why it was kept or not, as `code` or `code: detail`."),
        "weight": Column(pl.Float64, "Weight of the pair in the loss."),
        "stage": Column(pl.Int64, "Training stage, from 1."),
        "p_chosen": Column(pl.Float64, "Label to train with; below 0.5 the sides swap. Null: what the votes say."),
        "margin": Column(pl.Float64, "Margin that the loss demands of the side that trains as chosen; null: none."),
    },
)
REFERENCE_LOGPS = Table(
    "reference_logps",
    ("completion_id",),
    {
        "completion_id": _ID,
        "key": Column(pl.String, "Store key: model, template and length."),
        "logp": Column(pl.Float64, "Sum of log-probabilities of the completion's tokens, in nats."),
        "n_tokens": Column(pl.Int64, "Completion tokens counted."),
        "truncated": Column(pl.Boolean, "Whether completion tokens were cut off."),
        "token_logps": Column(pl.List(pl.Float32), "Log-probability of each completion token; null unless asked for."),
    },
)
ONLINE_SAMPLES = Table(
    "online_samples",
    ("completion_id",),
    {
        "completion_id": _ID,
        "prompt_id": Column(pl.String, "The prompt it answers."),
        "messages": Column(MESSAGES, "The answer."),
        "count": Column(pl.Int64, "How many times it was drawn."),
        "reward": Column(pl.Float64, "What it earned; null where the judge gave no readable verdict."),
        "finished": Column(pl.Boolean, "Whether the policy ended it; otherwise it was cut."),
        "sampled_tokens": Column(pl.Int64, "How many of its tokens the policy drew; the template adds the others."),
        "sampler_logp": Column(pl.Float64, "Sum of their log-probabilities under the policy that drew them, in nats."),
        "reference_logp": Column(pl.Float64, "Sum of log-probabilities of all its tokens under the reference."),
        "n_tokens": Column(pl.Int64, "Completion tokens."),
        "truncated": Column(pl.Boolean, "Whether completion tokens were cut off."),
        "reference_tokens": Column(pl.List(pl.Float32), "The reference's, of each token; null unless asked for."),
        "reference_key": Column(pl.String, "Store key of the reference: model, template and length."),
    },
    order=("prompt_id", "completion_id"),
)
TRIALS = Table(
    "trials",
    ("method", "budget", "world", "flips", "seed", "metric"),
    {
        "method": Column(pl.String, "Name of the selector in the pipeline file."),
        "type": Column(pl.String, "Its type."),
        "budget": Column(pl.String, "How much it was to keep; `own` where it decides that itself."),
        "world": Column(pl.String, "What it was tried on."),
        "flips": Column(pl.Float64, "Share of labels planted wrong; null where nothing was planted.", may_be_null=True),
        "seed": Column(pl.Int64, "Seed of the world and the method."),
        "metric": Column(pl.String, "What was measured."),
        "value": Column(pl.Float64, "The value; null where the method refused."),
        "problem": Column(pl.String, "Why the method refused the pool, else null."),
    },
)
PROVEN = Table(
    "proven",
    ("method", "budget", "world", "flips", "metric"),
    {
        "method": Column(pl.String, "Name of the selector in the pipeline file."),
        "type": Column(pl.String, "Its type."),
        "budget": Column(pl.String, "How much it was to keep; `own` where it decides that itself."),
        "world": Column(pl.String, "What it was tried on; `every` is the mean over all."),
        "flips": Column(pl.Float64, "Share of labels planted wrong; null for the mean over all.", may_be_null=True),
        "metric": Column(pl.String, "What was measured; `vs_<control>` is a paired difference of accuracies."),
        "value": Column(pl.Float64, "Mean over seeds."),
        "lo": Column(pl.Float64, "Lower end of the 95 % interval over seeds (Student's t); null for one seed."),
        "hi": Column(pl.Float64, "Upper end."),
        "p": Column(pl.Float64, "Two-sided p of a difference of zero, Holm-adjusted over all methods and budgets."),
        "n": Column(pl.Int64, "Seeds."),
    },
)
EVALUATIONS = Table(
    "evaluation",
    ("checkpoint", "metric", "subset"),
    {
        "checkpoint": Column(pl.String, "Checkpoint, scorer or baseline that was evaluated."),
        "version": Column(pl.String, "Its version; null for a baseline."),
        "metric": Column(pl.String, "What was measured."),
        "subset": Column(pl.String, "Slice of the data, `all` for the whole."),
        "value": Column(pl.Float64, "The value."),
        "lo": Column(pl.Float64, "Lower end of the 95 % interval; null when none is defined."),
        "hi": Column(pl.Float64, "Upper end."),
        "n": Column(pl.Int64, "Items measured."),
        "baseline": Column(pl.Boolean, "Whether this row is a baseline (longer, shorter, random, untrained)."),
    },
)


def content_id(*parts: Any) -> str:
    """Hash of canonical JSON, 32 hex characters."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _turns(messages: Iterable[Mapping[str, str]]) -> list[list[str]]:
    return [[m["role"], m["content"]] for m in messages]


def prompt_id(messages: Iterable[Mapping[str, str]], images: Iterable[str] = (), context: str | None = None) -> str:
    """Id of a prompt: its turns, images and context."""
    return content_id("prompt", _turns(messages), list(images), context)


def completion_id(prompt: str, messages: Iterable[Mapping[str, str]]) -> str:
    """Id of a completion of a prompt: the prompt's id and the answer's turns."""
    return content_id("completion", prompt, _turns(messages))


def pair_id(completion_a: str, completion_b: str) -> str:
    """Id of a comparison; the order of the two completions does not matter."""
    return content_id("pair", *sorted((completion_a, completion_b)))
