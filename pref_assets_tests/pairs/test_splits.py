import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.schema import MESSAGES
from pref_assets.pairs.splits import Splits, _groups


def assigned(splits: Splits, texts: list[str]) -> dict[str, str]:
    messages = pl.Series("messages", [[{"role": "user", "content": text}] for text in texts], dtype=MESSAGES)
    return dict(zip(texts, splits.assign(pl.DataFrame([messages]))["split"], strict=True))


TEXTS = [f"question {i}" for i in range(2000)]


def test_shares():
    found = list(assigned(Splits(validation=0.1, test=0.2), TEXTS).values())
    # Binomial standard deviations are 13 and 18 prompts; five of them are allowed.
    assert abs(found.count("validation") - 200) < 65
    assert abs(found.count("test") - 400) < 90
    assert set(assigned(Splits(validation=0, test=0), TEXTS).values()) == {"train"}


def test_more_prompts_move_none():
    before = assigned(Splits(), TEXTS[:500])
    after = assigned(Splits(), list(reversed(TEXTS)))
    assert before.items() <= after.items()


def test_another_validation_share_leaves_the_test_split():
    held = [
        {text for text, split in assigned(Splits(validation=v), TEXTS).items() if split == "test"} for v in (0, 0.3)
    ]
    assert held[0] == held[1]


def test_another_seed_deals_anew():
    assert assigned(Splits(seed=0), TEXTS) != assigned(Splits(seed=1), TEXTS)


def test_the_place_of_a_prompt_is_pinned():
    # The first 8 bytes of sha256("0:<prompt>") as a share of 2**64 are 0.357, 0.951 and 0.033. A change here would
    # move prompts of existing pipelines between splits.
    assert assigned(Splits(), ["q 2", "q 1", "q 24"]) == {"q 2": "train", "q 1": "validation", "q 24": "test"}


@given(st.sampled_from(["Write a poem, now.", "Is 2 + 2 = 4?"]), st.integers(0, 20))
def test_case_punctuation_and_spaces_do_not_part_prompts(text, seed):
    splits = Splits(validation=0.3, test=0.3, seed=seed)
    variants = [text, text.upper(), f"  {text}!\n", text.replace(" ", "  ")]
    assert len(set(assigned(splits, variants).values())) == 1


def test_the_same_words_about_other_images_are_another_prompt():
    turns = [{"role": "user", "content": "Describe the image."}]
    images = [[], *([f"media://{i}.png"] for i in range(400))]
    frame = pl.DataFrame({"messages": [turns] * 401, "images": images}, schema_overrides={"messages": MESSAGES})
    found = Splits(validation=0.1, test=0.2).assign(frame)["split"].to_list()
    # Standard deviations are 6 and 8 prompts; five of them are allowed.
    assert abs(found.count("validation") - 40) < 30
    assert abs(found.count("test") - 80) < 40
    assert found[0] == assigned(Splits(validation=0.1, test=0.2), ["Describe the image."])["Describe the image."]


def test_prompts_without_words_are_told_apart():
    texts = ["?" * n for n in range(1, 200)]
    assert len(set(assigned(Splits(validation=0.3, test=0.3), texts).values())) == 3


def test_shares_must_leave_something_to_train_on():
    with pytest.raises(ValueError, match="nothing to train on"):
        Splits(validation=0.5, test=0.5)


@given(st.text() | st.text("aB1 .,-\n\t_\x1c\u00e9\u2014", max_size=30))
def test_words_of_ascii_are_those_of_the_rule(text):
    """The rule: runs of what is no letter or digit are one space; a text of nothing else stands for itself."""
    lower = pl.Series([text]).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()[0]
    [group] = _groups(pl.Series([text]))
    assert group.decode() == (lower or text)
