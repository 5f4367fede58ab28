"""Made-up words in which planted points are written down, so that methods that read texts have something to read."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pref_assets.proving.worlds import Drawn

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "sh", "tr")
_VOWELS = ("a", "e", "i", "o", "u")
FILLERS, PLACE_WORDS = 200, 30
"""Words of no meaning, and words that name a topic."""
PROMPT_WORDS, ANSWER_FILLERS = (10, 24), (8, 40)
"""Fewest and most words of a prompt, and meaningless ones of an answer."""
PER_UNIT, MOST = 1.5, 5
"""How many times a word that says a dimension is written for each unit of it, and at most."""
WIDTH = 256
"""Dimensions of the embedding of a text."""


@dataclass(frozen=True)
class Answers:
    """Texts of n pairs."""

    prompts: list[str]
    better: list[str]
    worse: list[str]


class Vocabulary:
    """Words of topics and of dimensions: two for each dimension of each topic, one a sign."""

    def __init__(self, topics: int, width: int) -> None:
        words = iter(_words(FILLERS + topics * PLACE_WORDS + 2 * topics * width))
        self.fillers = [next(words) for _ in range(FILLERS)]
        self.places = [[next(words) for _ in range(PLACE_WORDS)] for _ in range(topics)]
        self.signs = [[(next(words), next(words)) for _ in range(width)] for _ in range(topics)]

    def write(self, drawn: "Drawn", rng: np.random.Generator) -> Answers:
        """Texts of every pair. A common dimension is said in the same words in every topic (those of topic 0)."""
        topics = drawn.topic.tolist()
        prompts = [self._prompt(topic, rng) for topic in topics]
        better, worse = (
            [self._answer(topic, point, drawn.common, rng) for topic, point in zip(topics, points, strict=True)]
            for points in (drawn.better, drawn.worse)
        )
        return Answers(prompts, better, worse)

    def _prompt(self, topic: int, rng: np.random.Generator) -> str:
        n = int(rng.integers(*PROMPT_WORDS))
        names = rng.choice(self.places[topic], size=n // 2).tolist()
        return " ".join([*names, *rng.choice(self.fillers, size=n - len(names)).tolist()])

    def _answer(self, topic: int, point: NDArray[np.float64], common: int, rng: np.random.Generator) -> str:
        said = rng.choice(self.fillers, size=int(rng.integers(*ANSWER_FILLERS))).tolist()
        times = np.minimum(np.rint(np.abs(point) * PER_UNIT), MOST).astype(int)
        for place, count in enumerate(times.tolist()):
            words = self.signs[0 if place < common else topic][place]
            said += [words[int(point[place] > 0)]] * count
        return " ".join(np.array(said)[rng.permutation(len(said))].tolist())


def _words(n: int) -> list[str]:
    """``n`` different words of three syllables, always the same."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    places = np.random.default_rng(0).permutation(len(syllables) ** 3)[:n]
    size = len(syllables)
    return [syllables[p // size**2] + syllables[p // size % size] + syllables[p % size] for p in places.tolist()]


def embedded(texts: list[str]) -> NDArray[np.float64]:
    """(n, ``WIDTH``): square roots of word counts under a fixed random projection, unit length. What an embedder that
    knows nothing of these words can do."""
    known: dict[str, NDArray[np.float64]] = {}
    matrix = np.zeros((len(texts), WIDTH))
    for row, text in enumerate(texts):
        words, counts = np.unique(text.split(), return_counts=True)
        for word, count in zip(words.tolist(), counts.tolist(), strict=True):
            if word not in known:
                seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
                known[word] = np.random.default_rng(seed).normal(size=WIDTH)
            matrix[row] += np.sqrt(count) * known[word]
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))
