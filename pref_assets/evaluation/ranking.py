"""Whether a policy finds the preferred answer more likely: ranking accuracy, and that of its implicit reward.

Chen et al., "Preference Learning Algorithms Do Not Learn Preference Rankings" (NeurIPS 2024): policies tuned on
preferences often still rank held-out pairs wrongly, because the reference model did and the loss moves it little.
The three numbers tell the two apart.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.evaluation import baselines
from pref_assets.evaluation.accuracy import Margins, accuracy_rows, baseline_margins, joined, paired_rows, row
from pref_assets.evaluation.base import CheckpointRef, Evaluation, Inputs
from pref_assets.evaluation.heldout import sample
from pref_assets.evaluation.idealised import CERTAIN, ideal_log_ratio
from pref_assets.evaluation.intervals import bootstrap_mean, group_numbers
from pref_assets.evaluation.reward import items
from pref_assets.evaluation.seen import seen_prompts
from pref_assets.home import Home
from pref_assets.pairs.image_controls import ImageControl
from pref_assets.pairs.schema import EVALUATIONS, content_id
from pref_assets.settings import digest
from pref_assets.training.checkpoint import Kind
from pref_assets.training.job import TaskName

POLICY_LOGPS = "policy_logps"
"""Kind of the store: id (completion), logp, n_tokens, truncated; see ``logps_key``."""


class RankingAccuracy(Evaluation):
    """Log-probabilities of held-out pairs under each policy, against its reference.

    - ``ranking_accuracy``: share of pairs with ``log p(chosen) > log p(rejected)``;
    - ``ranking_accuracy_normalised``: the same per token, so that short answers have no head start;
    - ``implicit_reward_accuracy``: share where the policy moved towards the chosen side,
      ``log p(chosen) - log ref(chosen) > log p(rejected) - log ref(rejected)``: DPO's own training signal, held out;
    - ``ranking_accuracy_ideal``: ``ranking_accuracy`` of the policy that meets DPO's objective exactly on these pairs
      (theorem 3.1 of the paper), with the beta of the checkpoint and the votes' share for the chosen side;
    - ``ranking_gap``: the ideal less the observed, pair by pair, bootstrap interval over prompts.

    A checkpoint whose objective has no beta has no ideal, unless `beta` says one.
    """

    type: Literal["ranking_accuracy"] = "ranking_accuracy"
    checkpoint_kind: ClassVar[Kind] = "policy"
    task: ClassVar[TaskName] = "evaluate_policy"

    images: ImageControl = "own"
    """What is shown of prompts with images: their own, those of another prompt (drawn by `seed`), or `none`."""
    max_pairs: int = Field(default=256, ge=1)
    """Held-out pairs to measure, drawn by `seed`; all when there are fewer."""
    tie: float = Field(default=0.01, ge=0)
    """Log-probability differences (nats) up to this size count as undecided, one half."""
    beta: float | None = Field(default=None, gt=0)
    """Beta of the ideal policy; each checkpoint's own when left out."""
    certain: float = Field(default=CERTAIN, gt=0.5, lt=1)
    """What a vote without dissent counts as in the ideal policy, whose odds would be infinite otherwise."""

    def test_pairs(self, inputs: Inputs) -> pl.DataFrame:
        return sample(super().test_pairs(inputs), "pair_id", self.max_pairs, self.seed)

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """``items``: every completion of a sampled pair after its prompt, which shows its images."""
        return {"items": self.asked(self.test_pairs(inputs), inputs).drop("own_id")}

    def asked(self, test: pl.DataFrame, inputs: Inputs) -> pl.DataFrame:
        """Completions of the pairs after what is shown: frame(completion_id, prompt, messages, own_id).

        ``own_id`` is the completion's; ``completion_id`` is another where its prompt is shown other images than its
        own, so that its log-probability is another one.
        """
        plain = items(test, inputs)
        prompts = inputs.completions.join(plain.select("completion_id"), on="completion_id", how="semi")
        named = inputs.prompts.join(prompts.select("prompt_id").unique(), on="prompt_id", how="semi")
        shown = seen_prompts(named.sort("prompt_id"), self.images, self.seed)
        of = prompts.select("completion_id", "prompt_id").join(shown.rename({"messages": "prompt"}), on="prompt_id")
        found = plain.drop("prompt").join(of, on="completion_id")
        ids = [
            own if asked == prompt else content_id("asked", asked, own)
            for own, asked, prompt in found.select("completion_id", "asked", "prompt_id").iter_rows()
        ]
        found = found.rename({"completion_id": "own_id"}).with_columns(completion_id=pl.Series(ids, dtype=pl.String))
        return found.select("completion_id", "prompt", "messages", "own_id").sort("completion_id")

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        test = self.test_pairs(inputs)
        rows, untrained = [], set()
        names = dict(self.asked(test, inputs).select("own_id", "completion_id").iter_rows())
        measured: dict[str, list[Margins]] = {metric: [] for metric in MARGINS}
        for checkpoint in inputs.checkpoints:
            policy, reference = _stored(checkpoint, names, home)
            columns = pair_margins(test, policy, reference)
            if checkpoint.base not in untrained:
                untrained.add(checkpoint.base)
                base = pair_margins(test, reference, reference)
                name = baselines.untrained(str(checkpoint.base))
                for metric in ("ranking_accuracy", "ranking_accuracy_normalised"):
                    rows += accuracy_rows([self._margins(metric, (name, None, True), base)], test, metric)
            for metric in MARGINS:
                who = self._margins(metric, (checkpoint.name, checkpoint.version, False), columns)
                rows += accuracy_rows([who], test, metric)
                measured[metric].append(who)
            beta = self.beta or checkpoint.beta
            if beta is not None:
                rows += self._ideal(checkpoint, columns, test, inputs.pairs, reference, beta)
        for metric in MARGINS if inputs.checkpoints else ():
            rows += accuracy_rows(baseline_margins(test), test, metric)
            rows += paired_rows(measured[metric], test, metric, self.seed, self.resamples)
        return EVALUATIONS.frame(rows)

    def _margins(self, metric: str, who: tuple[str, str | None, bool], columns: pl.DataFrame) -> Margins:
        name, version, baseline = who
        tie = 0.0 if metric == "ranking_accuracy_normalised" else self.tie
        return Margins(name, version, columns.select("pair_id", margin=metric), baseline, tie)

    def _ideal(
        self,
        checkpoint: CheckpointRef,
        columns: pl.DataFrame,
        test: pl.DataFrame,
        pairs: pl.DataFrame,
        reference: pl.DataFrame,
        beta: float,
    ) -> list[dict[str, Any]]:
        shares = test.select("pair_id").join(pairs.select("pair_id", "p_chosen"), on="pair_id", maintain_order="left")
        apart = pair_margins(test, reference, reference)["ranking_accuracy"].to_numpy()
        ideal = ideal_log_ratio(apart, shares["p_chosen"].to_numpy(), beta, self.certain)
        best = Margins(checkpoint.name, checkpoint.version, shares.select("pair_id", margin=pl.Series(ideal)))
        own = Margins(
            checkpoint.name, checkpoint.version, columns.select("pair_id", margin="ranking_accuracy"), tie=self.tie
        )
        gap = joined(test, best)["points"].to_numpy() - joined(test, own)["points"].to_numpy()
        groups = group_numbers(test.sort("pair_id")["group"].to_list())
        estimate = bootstrap_mean(gap, groups, self.seed, self.resamples)
        return [*accuracy_rows([best], test, IDEAL), row(own, "ranking_gap", "all", estimate)]


IDEAL = "ranking_accuracy_ideal"
MARGINS = ("ranking_accuracy", "ranking_accuracy_normalised", "implicit_reward_accuracy")


def pair_margins(test: pl.DataFrame, policy: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Margins of each metric, positive for the chosen side.

    Args:
        test: has pair_id, chosen_id, rejected_id.
        policy, reference: (id, logp in nats, n_tokens) for every completion of the pairs.

    Returns:
        pair_id and one column for each of ``MARGINS``.
    """
    both = policy.select("id", "logp", "n_tokens").join(reference.select("id", reference="logp"), on="id")
    frame = test.select("pair_id", "chosen_id", "rejected_id")
    for side in ("chosen", "rejected"):
        columns = {name: f"{side}_{name}" for name in both.columns}
        frame = frame.join(both.rename(columns), on=f"{side}_id", how="left")

    def gap(of: str) -> pl.Expr:
        return pl.col(f"chosen_{of}") - pl.col(f"rejected_{of}")

    per_token = [pl.col(f"{side}_logp") / pl.col(f"{side}_n_tokens") for side in ("chosen", "rejected")]
    return frame.select(
        "pair_id",
        ranking_accuracy=gap("logp"),
        ranking_accuracy_normalised=per_token[0] - per_token[1],
        implicit_reward_accuracy=gap("logp") - gap("reference"),
    )


def logps_key(version: str, reference: dict[str, Any]) -> str:
    """Store key of a policy's log-probabilities: its version and everything that changes what it reads."""
    return digest({"version": version, "max_length": reference["max_length"]})


def _stored(checkpoint: CheckpointRef, names: Mapping[str, str], home: Home) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows (id, …) of policy and reference by the completions' own ids, which ``names`` leads to those in the store."""
    from pref_assets.features.store import Store
    from pref_assets.training.reference import ReferenceLogps, reference_rows

    store = Store(home.store)
    ids = sorted(names.values())
    own = pl.DataFrame({"id": list(names.values()), "own": list(names)}, schema={"id": pl.String, "own": pl.String})
    settings = dict(checkpoint.reference or {})
    policy = store.read(POLICY_LOGPS, logps_key(checkpoint.version, settings), ids)
    reference = reference_rows(store, ReferenceLogps.model_validate(settings), ids, checkpoint.reference_version)
    found = (policy, reference.rename({"completion_id": "id"}))
    first, second = (each.join(own, on="id").drop("id").rename({"own": "id"}) for each in found)
    return first, second
