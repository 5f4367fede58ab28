"""Models with random weights, built from a configuration: what is trained from scratch."""

import shutil
from pathlib import Path


def draw_model(plan: Path, seed: int, target: Path) -> None:
    """Writes to ``target`` the model of ``plan``'s ``config.json``, with weights drawn by ``seed``, and everything
    else that lies there (tokenizer, processor, chat template).

    Equal seeds and configurations give equal weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    from pref_assets.models.vision import sees

    config = AutoConfig.from_pretrained(plan)
    family = AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.from_config(config)
    for each in plan.iterdir():
        if each.is_file() and each.suffix != ".py":
            shutil.copyfile(each, target / each.name)
    model.save_pretrained(target)
