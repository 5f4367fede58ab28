"""The heavy half of classifiers of harm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.evaluation.fill import fill
from pref_assets.evaluation.safety.judges import VERDICTS, HarmClassifier, Item, item_id
from pref_assets.features.store import Store
from pref_assets.training.job import Reporter

if TYPE_CHECKING:
    import torch


def classify(judge: HarmClassifier, items: Sequence[Item], store: Store, save_every: int, report: Reporter) -> int:
    """Stores the classifier's verdict on every item that has none; how many those were."""
    texts = {item_id(item): judge.text(item) for item in items}
    frame = pl.DataFrame({"id": sorted(texts), "text": [texts[each] for each in sorted(texts)]}, schema=_ITEMS)

    def ask(part: pl.DataFrame, model: "Classifier") -> pl.DataFrame:
        return part.select("id", pl.Series("harmful", model.harmful(part["text"].to_list()), dtype=pl.Boolean))

    def done(now: int, total: int) -> None:
        report.progress(now, total, "answers classified")

    return fill(store, VERDICTS, judge.key(), frame, lambda: Classifier(judge), ask, save_every, done)


_ITEMS = {"id": pl.String, "text": pl.String}


class Classifier:
    """A loaded classifier of harm."""

    def __init__(self, judge: HarmClassifier) -> None:
        """Raises ``ValueError`` where a sequence classifier has no such label."""
        from pref_assets.models.loading import load_tokenizer

        self._judge = judge
        self.tokenizer = load_tokenizer(judge.model)
        self.model = _loaded(judge)
        self._label = self._number() if judge.head == "sequence" else None

    def harmful(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text is harmful."""
        found: dict[int, bool] = {}
        ids = [self._ids(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), ids[i]))
        for start in range(0, len(order), self._judge.batch_size):
            batch = order[start : start + self._judge.batch_size]
            found |= dict(zip(batch, self._batch([ids[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(texts))]

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"][-self._judge.max_length :]

    def _batch(self, ids: Sequence[Sequence[int]]) -> list[bool]:
        """Padded on the left, so that the last token is the text's own."""
        import torch

        width, device = max(map(len, ids)), self.model.device
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        tokens = torch.tensor([[pad] * (width - len(each)) + list(each) for each in ids], device=device)
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in ids], device=device)
        with torch.inference_mode():
            if self._judge.head == "causal":
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                logits = self.model(tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits
                return self._is_said(logits[:, -1])
            # One by one: sequence classifiers differ in where they look for the last token.
            rows = [self.model(torch.tensor([list(each)], device=device)).logits[0] for each in ids]
        shares = torch.stack(rows).float().softmax(-1)[:, self._label]
        return (shares >= self._judge.threshold).tolist()

    def _is_said(self, logits: "torch.Tensor") -> list[bool]:
        """Whether the most likely token, as text, is the word: a tokenizer may have it with a space before it."""
        return [self.tokenizer.decode([token]).strip() == self._judge.harmful for token in logits.argmax(-1).tolist()]

    def _number(self) -> int:
        labels: dict[int, str] = self.model.config.id2label
        found = [number for number, name in labels.items() if name == self._judge.harmful]
        if len(found) != 1:
            raise ValueError(
                f"{self._judge.model}: no label {self._judge.harmful!r}; there are {sorted(labels.values())}"
            )
        return int(found[0])


def _loaded(judge: HarmClassifier) -> Any:
    if judge.head == "causal":
        from pref_assets.models.loading import load_causal_lm

        return load_causal_lm(judge.model)
    import torch
    from transformers import AutoModelForSequenceClassification

    from pref_assets.models.loading import local_path

    model = AutoModelForSequenceClassification.from_pretrained(local_path(judge.model), dtype=torch.float32)
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
