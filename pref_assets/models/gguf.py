"""Conversion of a GGUF file to a folder that every Hugging Face tool can load, fine-tune and save again."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pref_assets.models.reference import ModelNotFoundError


def find_gguf(path: Path) -> Path | None:
    """The GGUF file at ``path``: the file itself, or the only one of a folder that holds no ready model.

    Raises:
        ModelNotFoundError: the folder holds several GGUF files, so the reference is ambiguous.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if (path / "config.json").exists():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(f.name for f in found)
        raise ModelNotFoundError(f"{path} holds several GGUF files ({names}); name one of them in the model reference")
    return found[0] if found else None


def convert_model(gguf: Path, folder: Path) -> None:
    """Writes the dequantised weights (bfloat16 safetensors), the configuration and the tokenizer to ``folder``.

    Storage is bfloat16 because the four-bit original holds no more; computation on a CPU is in float32.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # `save_pretrained` refuses a model that says it is quantised with GGUF, although its weights are plain floats now.
    del quantised.config.quantization_config
    plain = type(quantised)(quantised.config)
    plain.load_state_dict(quantised.state_dict())
    plain.to(torch.bfloat16).save_pretrained(folder)
    convert_tokenizer(gguf, folder)


def convert_tokenizer(gguf: Path, folder: Path) -> None:
    """Writes the tokenizer with its chat template to ``folder``."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def build_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """``folder``, filled by ``write`` if it does not exist yet.

    ``write`` fills a temporary neighbour that is renamed when complete, so nobody ever sees half a folder. Processes
    that ask at the same time wait for the first one. What a killed process left behind is removed.
    """
    from filelock import FileLock

    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            return folder
        for leftover in folder.parent.glob(f"{prefix}*.tmp"):
            shutil.rmtree(leftover)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix, suffix=".tmp"))
        try:
            write(temporary)
            temporary.chmod(0o755)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return folder
