"""Loads a checkpoint that was logged to MLflow: the loader module of ``mlflow.pyfunc.load_model``."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.training.checkpoint import read_manifest

if TYPE_CHECKING:
    from pref_assets.training.critique_backbone import CritiqueModel
    from pref_assets.training.reward_model import RewardModel

SAMPLING: dict[str, int | float] = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}
"""What a caller of a policy may set, with its defaults: greedy answers."""
CRITIQUE_TOKENS = 512
"""Longest critique of a served reward model."""


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


class Critic:
    """Scores the column ``completion`` as an answer to the column ``prompt``, after a critique of its own where it
    learned to write one."""

    def __init__(self, folder: Path) -> None:
        from pref_assets.training.critique_reward import CritiqueRewardCheckpoint, load_critique_model

        self._model: CritiqueModel = load_critique_model(folder)
        config = CritiqueRewardCheckpoint.model_validate(read_manifest(folder).config)
        self._criticises = config.critiques is not None

    def predict(self, model_input: Mapping[str, Iterable[str]], params: Mapping[str, Any] | None = None) -> list[float]:
        """A reward for each row; higher is better."""
        from pref_assets.models.generation import Sampling
        from pref_assets.training.critique_backbone import judge_turn

        model = self._model
        rows = [
            ([{"role": "user", "content": prompt}], [{"role": "assistant", "content": completion}])
            for prompt, completion in zip(model_input["prompt"], model_input["completion"], strict=True)
        ]
        said: list[str | None] = [None] * len(rows)
        if self._criticises:
            asked = [judge_turn(model.instruction, *row) for row in rows]
            sampling = Sampling(max_new_tokens=CRITIQUE_TOKENS, temperature=0.0)
            said = [text for text, _ in model.criticise(asked, sampling)]
        return model.score([model.read(*row, each) for row, each in zip(rows, said, strict=True)]).tolist()


def _load_pyfunc(path: str) -> Policy | Scorer | Critic:
    """What MLflow calls with the folder it copied."""
    folder = Path(path)
    kinds: dict[str, Callable[[Path], Policy | Scorer | Critic]]
    kinds = {"policy": Policy, "reward_model": Scorer, "critique_reward_model": Critic}
    return kinds[read_manifest(folder).kind](folder)
