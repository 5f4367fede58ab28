"""Every family that sees: what is computed is what its own processor and model compute, in any company."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pref_assets.home import Home
from pref_assets.models.generation import Sampling, generate
from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.models.vision import Sight, vision_tower
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown, shown_images
from pref_assets.training.data import Encoded, encode
from pref_assets.training.logprobs import SHARING_FAMILIES, completion_logps, sequence_logps, shares_prompts
from pref_assets.training.policy import Lora, adapted
from pref_assets_tests.models.families import FAMILIES

SIZES = {"red": (16, 16), "blue": (40, 12), "green": (9, 30)}
"""A square, a wide and a high one: other numbers of tokens in most families."""
ANSWER = [{"role": "assistant", "content": "Red, I say."}]


@dataclass
class Family:
    name: str
    folder: Path
    sight: Sight
    model: Any
    uris: list[str]

    def encoded(self, text: str, images: list[str]) -> Encoded:
        return encode(self.sight, asked(text, images), ANSWER, 400)


def asked(text: str, images: list[str]) -> list[dict[str, str]]:
    return shown([{"role": "user", "content": text}], images)


def picture(colour: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    image = Image.new("RGB", size, colour)
    image.putpixel((0, 0), (9, 99, 199))
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Home) -> Family:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp("models") / request.param)
    store = MediaStore(home.media)
    uris = [store.put(picture(colour, size)) for colour, size in SIZES.items()]
    sight = load_reader(str(folder))
    assert isinstance(sight, Sight)
    return Family(request.param, folder, sight, load_causal_lm(str(folder), "cpu"), uris)


def questions(family: Family) -> list[tuple[str, list[str]]]:
    one, two, three = family.uris
    return [
        ("What colour?", [one]),
        ("What colour is this one, then?", [two]),
        ("No image at all here", []),
        ("Two of them, the larger first", [two, one]),
        ("Which?", [three]),
    ]


def test_log_probabilities_are_the_models_own_in_any_company(family: Family) -> None:
    batch = [family.encoded(*each) for each in questions(family)]
    together, counts = completion_logps(family.model, batch, batch_tokens=10_000)
    alone, _ = completion_logps(family.model, batch, batch_tokens=1)
    assert together == pytest.approx(alone, abs=2e-4)
    assert counts.tolist() == [each.n_completion for each in batch]
    assert together == pytest.approx([plain_logp(family, *each) for each in questions(family)], abs=2e-4)
    # The same words about another image are something else.
    other = family.encoded("What colour?", [family.uris[2]])
    assert abs(completion_logps(family.model, [other], 1)[0][0] - together[0]) > 1e-3


def plain_logp(family: Family, text: str, images: list[str]) -> float:
    """The sum over the answer of one forward pass over what the family's processor makes of all of it."""
    import torch

    messages = asked(text, images)
    before = family.sight.render(messages, ask=True)
    rendered = family.sight.render([*messages, *ANSWER])
    seen = [[family.sight.open(uri) for uri in shown_images(messages)]] if images else None
    made = family.sight.processor(text=[rendered], images=seen, return_tensors="pt")
    answer = family.sight.tokenizer(rendered[len(before) :], add_special_tokens=False)["input_ids"]
    ids = made["input_ids"][0]
    assert ids[-len(answer) :].tolist() == answer
    with torch.inference_mode():
        logits = family.model(**made).logits[0].float()
    found = torch.log_softmax(logits[:-1], -1).gather(1, ids[1:, None])[:, 0]
    return float(found[-len(answer) :].sum())


def test_answers_to_one_prompt_read_its_images_once_where_the_family_can(family: Family) -> None:
    prompts = [asked(*each) for each in questions(family)]
    answers = [[{"role": "assistant", "content": text}] for text in ("Red.", "It is blue, isn't it?")]
    batch = [encode(family.sight, prompt, answer, 400) for prompt in prompts for answer in answers]
    alone, _ = completion_logps(family.model, batch, batch_tokens=1)
    assert shares_prompts(family.model) == (family.name in SHARING_FAMILIES)
    read: list[int] = []

    def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read.append((args[0] if args else kwargs["pixel_values"]).numel())

    handle = vision_tower(family.model).register_forward_pre_hook(count, with_kwargs=True)
    together, _ = completion_logps(family.model, batch, batch_tokens=10_000)
    completion_logps(family.model, batch[::2], batch_tokens=10_000)
    handle.remove()
    assert together == pytest.approx(alone, abs=2e-4)
    both, one = read
    assert both == one * (1 if shares_prompts(family.model) else 2)


def test_answers_do_not_depend_on_their_neighbours(family: Family) -> None:
    conversations = [asked(*each) for each in questions(family)]
    for temperature in (0.0, 1.0):
        sampling = Sampling(max_new_tokens=4, temperature=temperature)
        together = generate(family.model, family.sight, conversations, sampling)
        # The one without an image is asked after those with images: nothing of them is left in the model.
        assert together == [generate(family.model, family.sight, [each], sampling)[0] for each in conversations]


def test_a_first_token_is_drawn_from_the_models_own_distribution(family: Family) -> None:
    import torch

    text, images = questions(family)[3]
    messages = asked(text, images)
    made = family.sight.processor(
        text=[family.sight.render(messages, ask=True)],
        images=[[family.sight.open(uri) for uri in images]],
        return_tensors="pt",
    )
    with torch.inference_mode():
        ids = family.model.generate(**made, do_sample=False, max_new_tokens=4, pad_token_id=0)[0]
    said = family.sight.tokenizer.decode(ids[made["input_ids"].shape[1] :], skip_special_tokens=True)
    sampling = Sampling(max_new_tokens=4, temperature=0)
    assert generate(family.model, family.sight, [messages], sampling) == [said]


def test_adapters_learn_and_the_tower_stays(family: Family) -> None:
    import torch

    model = adapted(load_causal_lm(str(family.folder), "cpu"), Lora(r=2, last_layers=1))
    learning = [name for name, each in model.named_parameters() if each.requires_grad]
    assert learning
    assert all(".layers.1." in name and "vision" not in name and "visual" not in name for name in learning)
    batch = [family.encoded(*each) for each in questions(family)]
    before, _ = completion_logps(family.model, batch, 10_000)
    assert sequence_logps(model, batch).tolist() == pytest.approx(before, abs=2e-4)
    sequence_logps(model, batch).sum().backward()
    assert all(each.grad is not None for name, each in model.named_parameters() if name in learning)
    tower = vision_tower(model.get_base_model())
    assert isinstance(tower, torch.nn.Module)
    assert not any(each.requires_grad for each in tower.parameters())


def test_checkpointed_gradients_are_the_same(family: Family) -> None:
    from pref_assets.training.policy import _checkpoint_gradients

    batch = [family.encoded(*each) for each in questions(family)]
    found = []
    for checkpointed in (False, True):
        model = adapted(load_causal_lm(str(family.folder), "cpu"), Lora(r=2))
        parameters = dict(model.named_parameters())
        for name, each in parameters.items():
            if "lora_B" in name:
                each.data.fill_(0.01)
            elif "lora_A" in name:
                each.data.fill_(0.02)
        if checkpointed:
            _checkpoint_gradients(model)
        # Also a batch without any image: what a family asks for while training is there.
        for part in (batch, batch[2:3]):
            sequence_logps(model, part).sum().backward()
        found.append({name: each.grad for name, each in parameters.items() if each.requires_grad})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert found[1][name].numpy() == pytest.approx(gradient.numpy(), abs=1e-3, rel=1e-3), name


def test_the_files_of_a_reader_are_copied_whole(family: Family, tmp_path: Path) -> None:
    family.sight.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((family.folder / "config.json").read_text())
    again = load_reader(str(tmp_path))
    text, images = questions(family)[3]
    assert encode(again, asked(text, images), ANSWER, 400) == family.encoded(text, images)
    assert not (tmp_path / "model.safetensors").exists()
