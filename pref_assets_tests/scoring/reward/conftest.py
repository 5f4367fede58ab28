"""Tiny reward models of real architectures, pools of conversations, and scorers run as the pipeline runs them."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma2Config, Gemma2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER, tiny_llama
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.scoring.measure import measure, measured_alone
from pref_assets.training.job import Job
from pref_assets_tests.training.conftest import Recorder, message

# What the families' templates do: the first begins the text and strips, the second knows no system turn.
HEADERS = (
    "<|endoftext|>{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
TURNS = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.4}


def save_classifier(folder, family="llama", labels=("reward",), template=HEADERS, pad=None, seed=0):
    """A random sequence classifier with SmolLM2's tokenizer; ``pad`` is what its configuration pads with."""
    tokenizer = load_tokenizer(TOKENIZER)
    tokenizer.chat_template = template
    extra = {"head_dim": 8, "sliding_window": 16} if family == "gemma2" else {}
    config_type = Gemma2Config if family == "gemma2" else LlamaConfig
    config = config_type(
        vocab_size=len(tokenizer),
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **SIZES,
        **extra,
    )
    torch.manual_seed(seed)
    model = {"llama": LlamaForSequenceClassification, "gemma2": Gemma2ForSequenceClassification}[family](config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_gated(folder, objectives=5, temperature=10.0, seed=0):
    """A random model in the layout of the ArmoRM weights, with the same tokenizer."""
    save_classifier(folder, seed=seed)
    state = {name: value for name, value in load_file(folder / "model.safetensors").items() if name != "score.weight"}
    torch.manual_seed(seed + 1)
    width = 32
    for layer, (inner, outer) in enumerate([(width, 16), (16, 16), (16, objectives)]):
        state[f"gating.layers.{layer}.weight"] = torch.randn(outer, inner)
        state[f"gating.layers.{layer}.bias"] = torch.randn(outer)
    state["gating.logit_scale"] = torch.tensor([1.3])
    state["regression_layer.weight"] = torch.randn(objectives, width)
    state["reward_transform_matrix"] = torch.eye(objectives) - 0.1 * torch.rand(objectives, objectives)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForRewardModelWithGating"], "num_objectives": objectives}
    config |= {"gating_temperature": temperature, "gating_hidden_dim": 16, "gating_n_hidden": 2}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


PLAIN = [
    (message("user", "Count to three."), "one two three", "no"),
    (message("user", "Name a river, and say where it flows, in one long sentence."), "The Rhine.", "I cannot. " * 9),
    (
        [*message("user", "Hi"), *message("assistant", "Hello"), *message("user", "Bye")],
        " spaces around \n",
        "See you later, and thank you very much for asking.",
    ),
]


def conversation_pool(rows=None, **more):
    """Pairs p0, p1, … of (prompt turns, chosen text, rejected text); sides c0, r0, …; prompts q0, …"""
    rows = PLAIN if rows is None else rows
    metadata = more.pop("metadata", [None] * len(rows))
    prompts = [
        {"prompt_id": f"q{i}", "messages": asked, "images": [], "split": "train", "metadata": metadata[i]}
        for i, (asked, _, _) in enumerate(rows)
    ]
    completions = [
        {"completion_id": f"{side}{i}", "prompt_id": f"q{i}", "messages": message("assistant", text)}
        for i, (_, chosen, rejected) in enumerate(rows)
        for side, text in (("c", chosen), ("r", rejected))
    ]
    pairs = [
        {
            "pair_id": f"p{i}",
            "prompt_id": f"q{i}",
            "chosen_id": f"c{i}",
            "rejected_id": f"r{i}",
            "p_chosen": 1.0,
            "split": "train",
        }
        for i in range(len(rows))
    ]
    return Pool(PAIRS.frame(pairs), COMPLETIONS.frame(completions), prompts=PROMPTS.frame(prompts), **more)


def job_of(home: Path, scorer, pool, task="measure"):
    path = home / "items.parquet"
    home.mkdir(exist_ok=True)
    scorer.items(pool).write_parquet(path)
    return Job(
        task=task,
        home=str(home),
        config=scorer.model_dump(mode="json"),
        inputs={"items": str(path)},
        params={"key": scorer.key(pool), "sources": scorer.sources(pool)},
    )


def scored(home: Path, scorer, pool):
    """``PAIR_SCORES`` as the asset makes them, and what measuring counted."""
    counted = measure(job_of(home, scorer, pool), Recorder())
    stored = Store(Home(home).store).read(scorer.kind, scorer.key(pool), scorer.items(pool)["id"])
    return scorer.combine(pool, stored), counted


def difference_alone(home: Path, scorer, pool):
    """What the asset check finds: the largest difference when items are measured one by one."""
    return max(measured_alone(job_of(home, scorer, pool), Recorder())["differences"])


def details(table: pl.DataFrame, name: str) -> list[float | None]:
    return Pool(PAIRS.empty(), COMPLETIONS.empty(), {"s": table}).value("s", name)["value"].to_list()


@pytest.fixture(scope="session")
def language_model(tmp_path_factory):
    return str(tiny_llama(tmp_path_factory.mktemp("language_model")))
