"""Loads a checkpoint that was logged to MLflow: the loader module of ``mlflow.pyfunc.load_model``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.training.checkpoint import read_manifest

if TYPE_CHECKING:
    from pref_assets.training.reward_model import RewardModel

SAMPLING: dict[str, int | float] = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}
"""What a caller of a policy may set, with its defaults: greedy answers."""


class Policy:
    """Answers the column ``prompt``."""

    def __init__(self, folder: Path) -> None:
        from pref_assets.training.policy import load_policy

        self._model, self._tokenizer = load_policy(folder)

    def predict(self, model_input: Mapping[str, Iterable[str]], params: Mapping[str, Any] | None = None) -> list[str]:
        """A completion for each row."""
        from pref_assets.models.generation import Sampling, generate

        prompts = [[{"role": "user", "content": text}] for text in model_input["prompt"]]
        return generate(self._model, self._tokenizer, prompts, Sampling(**{**SAMPLING, **(params or {})}))


class Scorer:
    """Scores the column ``completion`` as an answer to the column ``prompt``."""

    def __init__(self, folder: Path) -> None:
        from pref_assets.training.reward_model import load_reward_model

        self._model: RewardModel = load_reward_model(folder)

    def predict(self, model_input: Mapping[str, Iterable[str]], params: Mapping[str, Any] | None = None) -> list[float]:
        """A reward for each row; higher is better."""
        from pref_assets.training.reward_model import reward_text

        rows = zip(model_input["prompt"], model_input["completion"], strict=True)
        texts = [
            reward_text([{"role": "user", "content": prompt}], [{"role": "assistant", "content": completion}])
            for prompt, completion in rows
        ]
        return self._model.score(texts).tolist()


def _load_pyfunc(path: str) -> Policy | Scorer:
    """What MLflow calls with the folder it copied."""
    folder = Path(path)
    return Policy(folder) if read_manifest(folder).kind == "policy" else Scorer(folder)
