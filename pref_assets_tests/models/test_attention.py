"""Attention planted by hand, and what a tiny LLaVA gives."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from pref_assets.home import Home
from pref_assets.models.attention import attention_of, box_places, image_places, masses, middle_layer, pseudo_perplexity
from pref_assets.models.loading import load_causal_lm, load_reader
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.models.vision import Sight, SightError, vision_inputs
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.messages import shown
from pref_assets.training.data import Encoded, encode


def planted(shares: list[float], widths: list[int], text: int = 2, heads: int = 2, rows: int = 3) -> torch.Tensor:
    """(heads, T, T): every row spreads ``shares`` over spans of ``widths`` evenly, and what is left over the text."""
    left = 1 - sum(shares)
    row = torch.cat(
        [torch.full((n,), s / n) for s, n in zip(shares, widths, strict=True)] + [torch.full((text,), left / text)]
    )
    return row.repeat(heads, rows, 1)


def spans(widths: list[int]) -> list[list[int]]:
    starts = [sum(widths[:i]) for i in range(len(widths))]
    return [list(range(start, start + n)) for start, n in zip(starts, widths, strict=True)]


def ratio(found: list[float], target: int = 0) -> float:
    return found[target] / sum(found)


def test_planted_mass_is_found() -> None:
    """.65 of the attention on two equal images is on the first, whatever the text draws."""
    for text_share in (0.0, 0.5):
        kept = 1 - text_share
        weights = planted([0.65 * kept, 0.35 * kept], [4, 4])
        means, sums = masses(weights, slice(0, 3), spans([4, 4]))
        assert ratio(means) == pytest.approx(0.65, abs=1e-6)
        assert sums == pytest.approx([0.65 * kept, 0.35 * kept], abs=1e-6)


def test_order_of_heads_and_rows_does_not_matter_and_they_are_averaged() -> None:
    a, b = planted([0.9, 0.1], [2, 2], heads=1), planted([0.4, 0.6], [2, 2], heads=1)
    weights = torch.cat([a, b])
    means, _ = masses(weights, slice(0, 3), spans([2, 2]))
    assert masses(weights.flip(0), slice(0, 3), spans([2, 2]))[0] == pytest.approx(means)
    assert ratio(means) == pytest.approx(0.65, abs=1e-6)
    first, last = masses(torch.stack([a[0, 0], b[0, 0]])[None], slice(1, 2), spans([2, 2]))[0]
    assert first / (first + last) == pytest.approx(0.4, abs=1e-6)


def test_a_longer_span_moves_sums_and_not_means() -> None:
    """The target has twice the tokens, each as much attention as before: sums favour it, means do not."""
    each = 0.1
    short, _ = masses(planted([4 * each, 4 * each], [4, 4]), slice(0, 3), spans([4, 4]))
    long, sums = masses(planted([8 * each, 2 * each], [8, 2]), slice(0, 3), spans([8, 2]))
    assert ratio(short) == pytest.approx(ratio(long), abs=1e-6) == 0.5
    assert ratio(sums) == pytest.approx(0.8, abs=1e-6)


def test_rows_that_are_no_shares_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of attention sum to 1 within 0\.5 only"):
        masses(planted([0.5, 0.5], [2, 2]) / 2, slice(0, 3), spans([2, 2]))


def test_pseudo_perplexity() -> None:
    """p = (.5, .25, .25) and (.8, .1, .1): 1 / sqrt(.5 * .8), whichever token was written."""
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]).log()
    assert pseudo_perplexity(logits) == pytest.approx((0.5 * 0.8) ** -0.5)
    assert pseudo_perplexity(torch.tensor([[0.0, 100.0]])) == 1


def test_patches_in_a_box() -> None:
    """The middle 16 x 16 of 24 x 24, as MIA-DPO counts them; a map that is not square has no places."""
    inside, outside = box_places(list(range(100, 676)), (1 / 6, 1 / 6, 5 / 6, 5 / 6))
    assert (len(inside), len(outside)) == (256, 320)
    assert inside[0] == 100 + 4 * 24 + 4
    assert inside[-1] == 100 + 19 * 24 + 19
    assert box_places([5, 6, 7, 8], (0.5, 0, 1, 0.5)) == ([6], [5, 7, 8])
    with pytest.raises(SightError, match="no square map"):
        box_places([1, 2, 3], (0, 0, 1, 1))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    found = Home(tmp_path_factory.mktemp("home"))
    with found.current():
        yield found


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def read(llava: Path, home: Home) -> tuple[Sight, Encoded]:
    uris = []
    for colour in ("red", "blue", "green"):
        stream = io.BytesIO()
        Image.new("RGB", (20, 14), colour).save(stream, "PNG")
        uris.append(MediaStore(home.media).put(stream.getvalue()))
    sight = load_reader(str(llava))
    prompt = shown([{"role": "user", "content": "In image 2, which colour?"}], uris)
    return sight, encode(sight, prompt, [{"role": "assistant", "content": "It is blue."}], 200)


def test_images_are_told_apart(read: tuple[Sight, Encoded]) -> None:
    """Tokens of three images without anything between them, four each."""
    sight, encoded = read
    places = image_places(sight, encoded)
    assert [len(each) for each in places] == [4, 4, 4]
    flat = [place for each in places for place in each]
    token = sight.tokenizer.convert_tokens_to_ids("<image>")
    assert flat == [place for place, each in enumerate(encoded.ids) if each == token]


def test_one_layer_is_what_the_model_gives_of_all(llava: Path, read: tuple[Sight, Encoded]) -> None:
    model, (_, encoded) = load_causal_lm(str(llava), "cpu"), read
    assert middle_layer(model) == 1
    seen = vision_inputs([encoded.seen], len(encoded.ids), model)
    ids = torch.tensor([encoded.ids])
    for layer in (0, 1):
        with torch.inference_mode(), attention_of(model, layer) as found:
            model(input_ids=ids, **seen)
            whole = model(input_ids=ids, output_attentions=True, **seen).attentions
        torch.testing.assert_close(found[0], whole[layer])
        torch.testing.assert_close(found[0].sum(-1), torch.ones(1, 2, len(encoded.ids)))
    with pytest.raises(ValueError, match="layer 2: the language model has layers 0 to 1"), attention_of(model, 2):
        pass
