"""A model that sees reads images where they stand, alone or beside prompts without any."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pref_assets.home import Home
from pref_assets.models.generation import Sampling, generate
from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.models.vision import Sight, SightError
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown
from pref_assets.training.data import Encoded, encode
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.logprobs import completion_logps

MAX_LENGTH = 200


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 14), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module")
def uris(home: Home) -> list[str]:
    return [MediaStore(home.media).put(picture(colour)) for colour in ("red", "blue", "green")]


@pytest.fixture(scope="module")
def sight(llava: Path, home: Home) -> Sight:
    found = load_reader(str(llava))
    assert isinstance(found, Sight)
    return found


def asked(text: str, images: list[str]) -> list[dict[str, str]]:
    return shown([{"role": "user", "content": text}], images)


def encoded(sight: Sight, text: str, images: list[str], answer: str) -> Encoded:
    return encode(sight, asked(text, images), [{"role": "assistant", "content": answer}], MAX_LENGTH)


def test_log_probabilities_do_not_depend_on_the_batch_whatever_is_seen(sight: Sight, llava: Path, uris: list[str]):
    batch = [
        encoded(sight, "What colour?", uris[:1], "Red."),
        encoded(sight, "What colour?", uris[1:2], "Red."),
        encoded(sight, "No image at all here", [], "Fine."),
        encoded(sight, "Two of them, one after the other", uris[:2], "Red and blue."),
    ]
    model = load_causal_lm(str(llava), "cpu")
    together, counts = completion_logps(model, batch, batch_tokens=10_000)
    alone, _ = completion_logps(model, batch, batch_tokens=1)
    assert together == pytest.approx(alone, abs=1e-4)
    assert counts.tolist() == [each.n_completion for each in batch]
    # The same words of another image are something else.
    assert abs(together[0] - together[1]) > 0.1


def test_an_image_takes_the_tokens_that_its_processor_says(sight: Sight, uris: list[str]):
    none, one, two = (encoded(sight, "Look", uris[:n], "Yes").n_prompt for n in range(3))
    assert (one - none, two - one) == (4, 4)


def test_answers_do_not_depend_on_their_neighbours(sight: Sight, llava: Path, uris: list[str]):
    model = load_causal_lm(str(llava), "cpu")
    questions = [asked("What colour?", uris[:1]), asked("Hello there, you", []), asked("All of them?", uris)]
    for temperature in (0.0, 1.0):
        sampling = Sampling(max_new_tokens=5, temperature=temperature)
        together = generate(model, sight, questions, sampling)
        assert together == [generate(model, sight, [each], sampling)[0] for each in questions]


@pytest.mark.parametrize(
    ("text", "images", "places"),
    [
        ("Which?", 2, ["image", "image", "text"]),
        ("<image>\nWhich?", 1, ["image", "text"]),
        ("First <image> then <image>", 2, ["text", "image", "text", "image"]),
        ("What does <image> mean?", 2, ["image", "image", "text"]),
    ],
)
def test_images_stand_where_the_turns_say_else_in_front(text: str, images: int, places: list[str]):
    from pref_assets.pairs.messages import chat

    turns, _ = chat(asked(text, [f"media://{i}" for i in range(images)]))
    assert [part["type"] for part in turns[0]["content"]] == places


def test_what_cannot_be_seen_is_said(sight: Sight, uris: list[str], tmp_path: Path):
    with pytest.raises(TrainingDataError, match="stands for an image"):
        encoded(sight, "What does <image> mean?", uris[:2], "A place.")
    with pytest.raises(TrainingDataError, match="not on this machine"):
        encoded(sight, "Look", ["https://example.org/cat.png"], "A cat.")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(TrainingDataError, match="cannot be opened"):
        encoded(sight, "Look", [str(tmp_path / "broken.png")], "Nothing.")
    with pytest.raises(TrainingDataError, match="images are not cut: raise max_length"):
        encode(sight, asked("Look", uris), [{"role": "assistant", "content": "Yes"}], 20)


def changed(llava: Path, folder: Path, file: str, **fields: object) -> Path:
    """A copy of a model's small files, with other fields in one of them; null takes a field away."""
    folder.mkdir()
    for path in llava.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    content = {**json.loads((folder / file).read_text()), **fields}
    (folder / file).write_text(json.dumps({name: each for name, each in content.items() if each is not None}))
    return folder


def test_the_end_token_pads_where_there_is_no_other(llava: Path, uris: list[str], tmp_path: Path):
    reader = load_reader(str(changed(llava, tmp_path / "copy", "tokenizer_config.json", pad_token=None)))
    assert reader.tokenizer.pad_token == reader.tokenizer.eos_token
    assert encoded(reader, "Look", uris[:1], "Yes").seen


def test_models_that_cannot_be_read_say_why(llava: Path, tmp_path: Path):
    bare = changed(llava, tmp_path / "bare", "config.json")
    (bare / "processor_config.json").unlink()
    with pytest.raises(SightError, match="bare: LlavaProcessor cannot be built"):
        load_reader(str(bare))
    own = {"auto_map": {"AutoConfig": "code.OwnConfig"}, "model_type": "own_chat"}
    with pytest.raises(ValueError, match="code that a repository brings is not run"):
        load_reader(str(changed(llava, tmp_path / "own", "config.json", **own)))
    (tmp_path / "own" / "code.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match="code that a repository brings is not run"):
        load_causal_lm(str(tmp_path / "own"))
    # A tower alone reads no conversations.
    with pytest.raises(SightError, match="has no processor for"):
        load_reader(str(changed(llava, tmp_path / "odd", "config.json", model_type="janus_vision_model")))
