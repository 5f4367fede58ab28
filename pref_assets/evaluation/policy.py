"""The heavy half of policy evaluations: what the store lacks is asked of the models, one model in memory at a time."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.evaluation.answering import answer, progress
from pref_assets.evaluation.answers import base, policy, stored_answers, with_bases
from pref_assets.evaluation.base import CheckpointRef
from pref_assets.evaluation.best_of_n import BestOfN
from pref_assets.evaluation.divergence import Divergence
from pref_assets.evaluation.diversity import Diversity
from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.judges import RewardJudge, answer_items, duels, others_of, store_of
from pref_assets.evaluation.judging import ask_about, ask_missing, reward_answers
from pref_assets.evaluation.ranking import POLICY_LOGPS, RankingAccuracy, logps_key
from pref_assets.evaluation.safety.classifying import classify
from pref_assets.evaluation.safety.evaluation import HARM, MENTION, Safety
from pref_assets.evaluation.safety.judges import AskedHarm, AskedMention, HarmClassifier
from pref_assets.evaluation.stances import AskedStance
from pref_assets.evaluation.token_logps import score_tokens
from pref_assets.evaluation.value_drift import ValueDrift
from pref_assets.evaluation.verifier import Verifier
from pref_assets.evaluation.win_rate import WinRate
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.scoring.judging.answers import questions as questions_of
from pref_assets.training.job import Job, Reporter


def evaluate_policy(job: Job, report: Reporter) -> dict[str, Any]:
    """Task of every evaluation of policies, told apart by ``config["type"]``.

    Args:
        job: ``config`` the evaluation; ``inputs`` as its ``tables`` makes them; ``params["checkpoints"]`` and
            ``params["others"]`` as ``CheckpointRef.dump`` makes them.
        report: told of progress.

    Returns:
        Items ``computed`` now and ``reused`` from the store, over all models.
    """
    return _TASKS[job.config["type"]](job, report)


def checkpoints(job: Job) -> list[CheckpointRef]:
    """The checkpoints that a job measures."""
    return [CheckpointRef.load(each) for each in job.params["checkpoints"]]


def _rank(job: Job, report: Reporter) -> dict[str, Any]:
    """Log-probabilities of the sampled completions under every checkpoint and its reference."""
    from pref_assets.training.data import encode
    from pref_assets.training.logprobs import completion_logps
    from pref_assets.training.policy import load_policy
    from pref_assets.training.reference import ReferenceLogps, reference_logps

    config = RankingAccuracy.model_validate(job.config)
    items = pl.read_parquet(job.inputs["items"]).rename({"completion_id": "id"})
    store = Store(Home(Path(job.home)).store)
    computed = reused = 0
    references = {(each.base, each.reference_version): each for each in checkpoints(job)}
    for each in references.values():
        settings = dict(each.reference or {})
        report.log(f"{each.base}: log-probabilities of {items.height} held-out completions, unless stored")
        params = {"folder": str(each.reference_folder), "version": each.reference_version}
        done = reference_logps(
            Job(
                task="reference_logps",
                home=job.home,
                config=settings,
                inputs={"completions": job.inputs["items"]},
                params=params if each.reference_version else {},
            ),
            report,
        )
        computed, reused = computed + done["computed"], reused + done["reused"]
    for each in checkpoints(job):
        settings = dict(each.reference or {})
        reference = ReferenceLogps.model_validate(settings)

        def ask(part: pl.DataFrame, loaded: Any, reference: ReferenceLogps = reference) -> pl.DataFrame:
            model, tokenizer = loaded
            encoded = [
                encode(tokenizer, prompt, messages, reference.max_length)
                for prompt, messages in part.select("prompt", "messages").iter_rows()
            ]
            logps, counts = completion_logps(model, encoded, reference.batch_tokens)
            truncated = [sequence.truncated for sequence in encoded]
            return part.select("id").with_columns(
                logp=pl.Series(logps), n_tokens=pl.Series(counts), truncated=pl.Series(truncated)
            )

        new = fill(
            store,
            POLICY_LOGPS,
            logps_key(each.version, settings),
            items,
            partial(load_policy, each.folder),
            ask,
            config.save_every,
            progress(report, f"{each.name}: log-probabilities"),
        )
        computed, reused = computed + new, reused + items.height - new
    return {"computed": computed, "reused": reused}


def _generate(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its base to the sampled prompts."""
    config = Verifier.model_validate(job.config)
    prompts = pl.read_parquet(job.inputs["prompts"])
    return answer(job.home, with_bases(checkpoints(job)), prompts, [config.sampling], config.save_every, report)


def _win_rate(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of all who fight, and the judge's opinion of them."""
    config = WinRate.model_validate(job.config)
    others, store = others_of(job.params["others"]), store_of(job.home)
    prompts = pl.read_parquet(job.inputs["prompts"])
    fights = config.fights(checkpoints(job), others)
    who = list({each.model: each for pair in fights for each in pair}.values())
    done = answer(job.home, who, prompts, config.draws(), config.save_every, report)
    ids, home, asked = prompts["id"].to_list(), Home(Path(job.home)), prompts.rename({"id": "prompt_id"})
    answers = {each.model: stored_answers(home, each, ids, config.draws()) for each in who}
    if isinstance(config.judge, RewardJudge):
        items = answer_items(asked, pl.concat(answers.values()))
        computed = reward_answers(config.judge, items, others, store, config.save_every, report)
        return {"computed": done["computed"] + computed, "reused": done["reused"] + items.height - computed}
    computed = 0
    for ours, theirs in fights:
        computed += ask_about(config.judge, duels(asked, answers[ours.model], answers[theirs.model]), store, report)
    return {"computed": done["computed"] + computed, "reused": done["reused"]}


def _divergence(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of each policy, and their tokens' log-probabilities under it and its reference."""
    config = Divergence.model_validate(job.config)
    prompts, store = pl.read_parquet(job.inputs["prompts"]), store_of(job.home)
    measured = checkpoints(job)
    done = answer(job.home, [policy(each) for each in measured], prompts, config.draws(), config.save_every, report)
    asked, ids, home = prompts.rename({"id": "prompt_id"}), prompts["id"].to_list(), Home(Path(job.home))
    computed = total = 0
    for each in measured:
        answers = stored_answers(home, policy(each), ids, config.draws())
        for who in (policy(each), base(each)):
            computed += score_tokens(config, who, asked, answers, store, report)
            total += answers["completion_id"].n_unique()
    return {"computed": done["computed"] + computed, "reused": done["reused"] + total - computed}


def _diversity(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its reference."""
    config = Diversity.model_validate(job.config)
    prompts = pl.read_parquet(job.inputs["prompts"])
    return answer(job.home, with_bases(checkpoints(job)), prompts, config.draws(), config.save_every, report)


def _best_of_n(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its reference, and their rewards."""
    config = BestOfN.model_validate(job.config)
    others, store = others_of(job.params["others"]), store_of(job.home)
    prompts, who = pl.read_parquet(job.inputs["prompts"]), with_bases(checkpoints(job))
    done = answer(job.home, who, prompts, config.draws(), config.save_every, report)
    asked, ids, home = prompts.rename({"id": "prompt_id"}), prompts["id"].to_list(), Home(Path(job.home))
    items = answer_items(asked, pl.concat([stored_answers(home, each, ids, config.draws()) for each in who]))
    judges = [judge for judge in (config.judge, config.gold) if judge is not None]
    computed = sum(reward_answers(judge, items, others, store, config.save_every, report) for judge in judges)
    reused = done["reused"] + items.height * len(judges) - computed
    return {"computed": done["computed"] + computed, "reused": reused}


def _value_drift(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint of the series and its start, and, of an asked judge, their stances."""
    config = ValueDrift.model_validate(job.config)
    prompts, series = pl.read_parquet(job.inputs["prompts"]), config.series(checkpoints(job))
    done = answer(job.home, series, prompts, config.draws(), config.save_every, report)
    if not isinstance(config.judge, AskedStance):
        return done
    home, topics, ids = Home(Path(job.home)), config.topic_prompts(), prompts["id"].to_list()
    parts = [topics.join(stored_answers(home, who, ids, config.draws()), on="prompt_id") for who in series]
    texts = list(pl.concat(parts).select("topic", "prompt", "text").iter_rows())
    asked = questions_of((id_, messages, 0) for id_, messages in config.judge.asked(texts))
    computed = ask_missing(config.judge.endpoint, config.judge.asking, asked, store_of(job.home), report)
    return {"computed": done["computed"] + computed, "reused": done["reused"] + asked.height - computed}


def _safety(job: Job, report: Reporter) -> dict[str, Any]:
    """Answers of every checkpoint and its reference to the bench, and verdicts on them and on those that are given."""
    config, home, store = Safety.model_validate(job.config), Home(Path(job.home)), store_of(job.home)
    prompts, questions = pl.read_parquet(job.inputs["prompts"]), pl.read_parquet(job.inputs["questions"])
    who = with_bases(checkpoints(job))
    done = answer(job.home, who, prompts, config.draws(), config.save_every, report)
    asked = config.asked(questions)
    texts = [pl.read_parquet(job.inputs["answers"]).select("row", "text")]
    for each in who:
        said = stored_answers(home, each, prompts["id"].to_list(), config.draws())
        texts.append(asked.join(said.select("prompt_id", "text"), on="prompt_id").select("row", "text"))
    answers = questions.join(pl.concat(texts).unique(), on="row").sort("row", "text")
    harm, mention = ([item for _, item in config.items(answers, metrics)] for metrics in (HARM, MENTION))
    computed = 0
    if isinstance(config.harm, HarmClassifier):
        computed += classify(config.harm, harm, store, config.save_every, report)
    for judge, items in ((config.harm, harm), (config.mention, mention)):
        if isinstance(judge, AskedHarm | AskedMention):
            todo = questions_of((id_, messages, 0) for id_, messages in judge.asked(items))
            computed += ask_missing(judge.endpoint, judge.asking, todo, store, report)
    return {"computed": done["computed"] + computed, "reused": done["reused"]}


_TASKS: dict[str, Callable[[Job, Reporter], dict[str, Any]]] = {
    "ranking_accuracy": _rank,
    "verifier": _generate,
    "win_rate": _win_rate,
    "kl": _divergence,
    "diversity": _diversity,
    "best_of_n": _best_of_n,
    "value_drift": _value_drift,
    "safety": _safety,
}
