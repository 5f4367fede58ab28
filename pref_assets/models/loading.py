"""From a model reference to something that runs."""

from pathlib import Path
from typing import Any

from pref_assets.home import Home, cache_dir
from pref_assets.models.gguf import build_once, convert_model, convert_tokenizer, find_gguf
from pref_assets.models.reference import (
    PACKAGE,
    UNTRAINED,
    ModelNotFoundError,
    hub_id,
    identity,
    is_local,
    package_path,
    untrained,
)
from pref_assets.models.untrained import draw_model
from pref_assets.models.vision import Sight, load_sight, sees
from pref_assets.pairs.media import MediaStore
from pref_assets.settings import digest

HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""What is fetched of a hub repository: weights as safetensors only, configuration, tokenizer."""


def local_path(reference: str) -> str:
    """Folder of the model, ready for ``from_pretrained`` or ``SentenceTransformer``.

    A GGUF file is converted once into the cache; a hub id is fetched (or found in the hub's own cache) at its
    revision. Two processes may ask at once.

    Raises:
        ModelNotFoundError: no such package, folder or hub repository; the message says what to do.
    """
    return str(_folder(reference, tokenizer_only=False))


def _folder(reference: str, *, tokenizer_only: bool) -> Path:
    if reference.startswith(UNTRAINED):
        plan, seed = untrained(reference)
        folder = cache_dir() / "models" / digest(identity(reference))
        return build_once(folder, lambda target: draw_model(Path(plan), seed, target))
    if not reference.startswith(PACKAGE) and not is_local(reference):
        return _hub_folder(reference)
    path = package_path(reference) if reference.startswith(PACKAGE) else Path(reference).expanduser()
    if not path.exists():
        raise ModelNotFoundError(f"{reference}: no such folder")
    gguf = find_gguf(path)
    if gguf is None:
        return path
    stat = gguf.stat()
    origin = identity(reference) if reference.startswith(PACKAGE) else f"{gguf.resolve()}@{stat.st_mtime_ns}"
    name = digest({"origin": origin, "bytes": stat.st_size})
    folder = cache_dir() / "models" / name
    if not tokenizer_only:
        return build_once(folder, lambda target: convert_model(gguf, target))
    if folder.exists():
        return folder
    return build_once(folder.with_name(f"{name}-tokenizer"), lambda target: convert_tokenizer(gguf, target))


def _hub_folder(reference: str) -> Path:
    from huggingface_hub import snapshot_download

    name, revision = hub_id(reference)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:
        raise ModelNotFoundError(
            f"{reference}: cannot get {name!r} from the Hugging Face hub ({type(error).__name__}: {error}). "
            "Check the name, the revision and the network, or use a local folder or `package://…`"
        ) from error


def _config(folder: Path, reference: str) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        raise ValueError(
            f"{reference}: transformers {transformers.__version__} has no architecture for it, and code that a "
            "repository brings is not run. Use a conversion that transformers knows (such repositories often end in "
            f"`-hf`), or a newer transformers. It said: {error}"
        ) from error


def load_tokenizer(reference: str) -> Any:
    """The tokenizer, with a pad token (the end token where the model has none of its own)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_folder(reference, tokenizer_only=True))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_reader(reference: str) -> Any:
    """What turns conversations into tokens: the tokenizer, or the `Sight` of a model that sees.

    Raises:
        ModelNotFoundError: the model is not there.
        ValueError: the model is of no architecture that transformers knows, or its processor cannot be built.
    """
    folder = _folder(reference, tokenizer_only=True)
    if (folder / "config.json").exists() and sees(_config(folder, reference)):
        return load_sight(str(folder), MediaStore(Home.default().media))
    return load_tokenizer(reference)


def tokenizer_of(reader: Any) -> Any:
    """The tokenizer of what `load_reader` gives."""
    return reader.tokenizer if isinstance(reader, Sight) else reader


def pick_device() -> str:
    """``cuda`` when there is one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_causal_lm(reference: str, device: str | None = None, dtype: str | None = None) -> Any:
    """The language model, with its vision tower where it has one, in eval mode, on ``device`` or the best there is,
    computing in ``dtype``.

    By default bfloat16 on CUDA; float32 on a CPU, where bfloat16 arithmetic is some seventy times slower.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    device = device or pick_device()
    kind = getattr(torch, dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    folder = _folder(reference, tokenizer_only=False)
    family = AutoModelForImageTextToText if sees(_config(folder, reference)) else AutoModelForCausalLM
    model = family.from_pretrained(folder, dtype=kind, trust_remote_code=False)
    return model.to(device).eval()
