"""Views: what each keeps and changes, alike for any order of rows, and no hint of the label in a prompt."""

import re
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.schema import COMPLETIONS, PAIRS
from pref_assets.training.data import PAIR_NAMED_TEXTS, PARTS, TRAINING_ROWS, sequence_id, texts_named, with_texts
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.objectives import DCPO, DOVE, MAPL, RDPO, SELM, SPO, HierarchicalDPO
from pref_assets.training.views.constrained import inter, intra
from pref_assets.training.views.degrees import ladder, length_probe_accuracy, rake, tfidf
from pref_assets.training.views.parts import edit_last, last_text
from pref_assets.training.views.perturbation import perturbed_prompt, without_words
from pref_assets.training.views.rationale import rationales
from pref_assets.training.views.sentences import other_boundary, shuffled_sentences, split_sentences

TEXT = "The cat sat down. It was very happy! Did it purr? Yes, it did.\nThen the dog came home."
OTHER = "A dog barked at the tall gate. Nobody heard. The old gate stayed shut."
WORDS = "sun moon river stone apple honey table window garden music letter winter summer silver copper candle".split()  # noqa: SIM905


def user(text):
    return [{"role": "user", "content": text}]


def said(text):
    return [{"role": "assistant", "content": text}]


def make_rows(n=4, **columns):
    rows = [
        {
            "pair_id": f"pair{i}",
            "prompt": user(f"Tell me about the {WORDS[i]} and what it did at home, please."),
            "chosen": said(f"The {WORDS[i]} shone. {TEXT}"),
            "rejected": said(f"{OTHER} The {WORDS[i + 1]} fell."),
            "chosen_id": f"c{i}",
            "rejected_id": f"r{i}",
            "p_chosen": 1.0,
            "weight": 1.0,
            "stage": 1,
            "swapped": False,
            **{name: values[i] for name, values in columns.items()},
        }
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema=TRAINING_ROWS)


def with_two_prompts():
    return make_rows(rejected_prompt=[user(f"Something else, number {i}.") for i in range(4)])


def with_text(name, n=4):
    texts = [(f"pair{i}", name, f"say {i}") for i in range(n)]
    return with_texts(make_rows(), pl.DataFrame(texts, schema=PAIR_NAMED_TEXTS, orient="row"))


OBJECTIVES = [
    (DOVE(), with_two_prompts, 8),
    (DCPO(), make_rows, 4),
    (HierarchicalDPO(), make_rows, 12),
    (MAPL(), make_rows, 24),
    (RDPO(), lambda: with_text("rationale"), 4),
    (RDPO(shuffled=True), lambda: with_text("rationale"), 4),
    (SELM(), lambda: with_text("sampled"), 4),
    (SPO(), make_rows, 12),
    (SPO(extractor="tfidf"), make_rows, 12),
]


@pytest.mark.parametrize(("objective", "rows", "n"), OBJECTIVES, ids=lambda each: getattr(each, "type", ""))
def test_parts_are_the_same_for_any_order_of_rows(objective, rows, n):
    parts = objective.parts(rows(), 0)
    assert parts.schema == PARTS
    assert len(parts) == n
    assert set(parts["part"]) <= set(objective.part_names)
    assert not parts.select("pair_id", "part").is_duplicated().any()
    assert parts.sort("pair_id", "part").equals(objective.parts(rows().reverse(), 0).sort("pair_id", "part"))
    for prompt, completion, name in parts.select("prompt", "completion", "sequence_id").iter_rows():
        assert name == sequence_id(prompt, completion)


@pytest.mark.parametrize("objective", [DCPO(), HierarchicalDPO(), MAPL(), RDPO(shuffled=True)], ids=lambda o: o.type)
def test_another_seed_draws_otherwise(objective):
    rows = with_text("rationale")
    assert not objective.parts(rows, 0).equals(objective.parts(rows, 1))


@pytest.mark.parametrize("objective", [DCPO(), HierarchicalDPO(prompt_side=0), MAPL(), SPO()], ids=lambda o: o.type)
def test_other_pairs_change_nothing(objective):
    whole = objective.parts(make_rows(), 0).filter(pair_id="pair2")
    alone = objective.parts(make_rows().filter(pair_id="pair2"), 0)
    assert whole.equals(alone)


@pytest.mark.parametrize(
    "objective",
    [
        DCPO(perturb=0),
        HierarchicalDPO(boundary=0, structure=0, prompt_side=0),
        MAPL(l1=0, l2=0),
        RDPO(gamma=0),
        SELM(alpha=0),
        SELM(samples=2),
        SPO(gamma=0),
        DOVE(),
    ],
    ids=lambda o: o.type,
)
def test_a_term_of_no_weight_makes_no_sequence(objective):
    assert objective.parts(make_rows(), 0).is_empty()


def test_answers_that_hold_more_than_text_have_no_view():
    call = [{"role": "assistant+json", "content": '{"tool_calls":[]}'}]
    rows = make_rows(chosen=[call] * 4)
    assert HierarchicalDPO(prompt_side=0).parts(rows, 0).is_empty()
    assert MAPL().parts(rows, 0).is_empty()
    assert SPO().parts(rows, 0).is_empty()


# single edits


def test_only_the_last_turn_of_the_role_changes():
    turns = [*user("one"), *said("two"), *user("three")]
    assert edit_last(turns, "user", str.upper) == [*user("one"), *said("two"), *user("THREE")]
    assert last_text(turns, "assistant") == "two"
    assert edit_last(turns, "system", str.upper) is None
    assert edit_last([*turns, {"role": "user+json", "content": "{}"}], "user", str.upper) is None
    assert turns[2]["content"] == "three"


@given(st.text(alphabet="ab .!?\n\"'", max_size=60))
def test_sentences_and_gaps_are_the_text(text):
    sentences, gaps = split_sentences(text)
    assert len(gaps) == len(sentences) - 1
    assert sentences[0] + "".join(gap + each for gap, each in zip(gaps, sentences[1:], strict=True)) == text.strip()


def test_boundary_keeps_what_is_inside():
    assert split_sentences(TEXT)[0] == [
        "The cat sat down.", "It was very happy!", "Did it purr?", "Yes, it did.", "Then the dog came home.",
    ]  # fmt: skip
    assert other_boundary(TEXT, OTHER) == (
        "A dog barked at the tall gate. It was very happy! Did it purr? Yes, it did.\nThe old gate stayed shut."
    )
    assert other_boundary("One. Two.", OTHER) is None
    assert other_boundary(TEXT, TEXT) is None


def test_shuffled_sentences_are_the_same_ones():
    shuffled = shuffled_sentences(TEXT, 0, "x")
    assert shuffled != TEXT
    assert sorted(split_sentences(shuffled)[0]) == sorted(split_sentences(TEXT)[0])
    assert shuffled_sentences("Only one.", 0, "x") is None
    assert shuffled_sentences("Same. Same.", 0, "x") is None


def test_prompt_side_has_the_prompt_of_another_pair():
    rows = make_rows()
    parts = HierarchicalDPO(boundary=0, structure=0).parts(rows, 0)
    own = dict(rows.select("pair_id", "prompt").iter_rows())
    assert all(
        prompt in own.values() and prompt != own[pair] for pair, prompt in parts.select("pair_id", "prompt").iter_rows()
    )
    assert HierarchicalDPO(boundary=0, structure=0).parts(rows.head(1), 0).is_empty()


# perturbation


def distance(one, other):
    """Words to add, drop or change."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (a != b)))
    return row[-1]


def test_a_larger_share_is_further_away():
    words = TEXT.split()
    shares = (0.1, 0.2, 0.4, 0.6, 0.9)
    found = [without_words(TEXT, share, 0, "x").split() for share in shares]
    assert [distance(words, each) for each in found] == [round(share * len(words)) for share in shares]
    assert all(set(more) <= set(less) for less, more in pairwise(found))
    assert without_words("two words", 0.2, 0, "x") is None
    assert perturbed_prompt(said("no user turn at all here"), 0.5, 0, "x") is None


def test_pairs_of_two_prompts_keep_their_own():
    assert DCPO().parts(with_two_prompts(), 0).is_empty()


# instructions


def independently(instruction, text):
    """Whether a text follows an instruction, read anew from its sentence."""
    spoken = re.findall(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*", text)
    if match := re.fullmatch(r"Use at (most|least) (\d+) words\.", instruction):
        return len(spoken) <= int(match[2]) if match[1] == "most" else len(spoken) >= int(match[2])
    match = re.fullmatch(r"(Use|Do not use) the word '(.+)'\.", instruction)
    return (match[2] in {word.lower() for word in spoken}) == (match[1] == "Use")


def added(prompt, turns):
    """Sentences added to the last turn of a prompt."""
    extra = turns[-1]["content"].removeprefix(prompt[-1]["content"])
    return re.findall(r"[^.]+\.", extra.strip())


def answers(n=150):
    """Pairs of made-up answers of many lengths."""
    import random

    draw = random.Random(0)
    return [[" ".join(draw.choices(WORDS, k=draw.randint(4, 60))) + "." for _ in range(2)] for _ in range(n)]


@pytest.mark.parametrize(("count", "violated"), [(1, 1), (2, 1), (3, 2)])
def test_the_answer_follows_one_prompt_and_breaks_exactly_what_was_planned(count, violated):
    made = 0
    for i, (better, worse) in enumerate(answers()):
        prompt = user("Write something.")
        found = intra(prompt, said(better), said(worse), count, violated, 0, str(i))
        if found is None:
            continue
        made += 1
        first, second = ([s.strip() for s in added(prompt, turns)] for turns in (found.prompt_1, found.prompt_2))
        assert len(first) == len(second) == count
        assert all(independently(each, better) for each in first)
        assert sum(not independently(each, better) for each in second) == violated
    assert made > 40


def test_an_instruction_separates_the_two_answers_both_ways():
    made = 0
    for i, (better, worse) in enumerate(answers()):
        prompt = user("Write something.")
        found = inter(prompt, said(better), said(worse), 0, str(i))
        if found is None:
            continue
        made += 1
        for turns, follows in ((found.prompt_1, better), (found.prompt_2, worse)):
            (instruction,) = added(prompt, turns)
            assert [independently(instruction.strip(), text) for text in (better, worse)] == [
                follows == better, follows == worse,
            ]  # fmt: skip
    assert made > 100


def test_the_words_of_a_prompt_do_not_tell_whether_its_answer_follows():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score

    texts, labels, groups = [], [], []
    for i, (better, worse) in enumerate(answers(1000)):
        found = intra(user("Write something."), said(better), said(worse), 2, 1, 0, str(i))
        if found is not None:
            texts += [turns[-1]["content"] for turns in (found.prompt_1, found.prompt_2)]
            labels += [1, 0]
            groups += [i, i]
    counts = CountVectorizer(ngram_range=(1, 4)).fit_transform(texts)
    model = LogisticRegression(C=0.1, max_iter=300)

    def accuracy(target):
        return cross_val_score(model, counts, target, groups=groups, cv=GroupKFold(4)).mean()

    assert len(texts) > 800
    assert accuracy(["at most" in text for text in texts]) > 0.95
    assert 0.45 <= accuracy(labels) <= 0.55


# degrees


def test_ladder_leaves_out_more_and_more_the_key_words_first():
    weights = rake(TEXT)
    steps = ladder(TEXT, (0.25, 0.5, 0.75), weights)
    counts = [len(each.split()) for each in (TEXT, *steps)]
    assert counts == sorted(set(counts), reverse=True)
    removed = [list(TEXT.split()) for _ in steps]
    for left, step in zip(removed, steps, strict=True):
        for word in step.split():
            left.remove(word)
    assert all(set(less) <= set(more) for less, more in pairwise(removed))
    assert ladder("three words only", (0.25, 0.3, 0.35), {}) is None
    assert ladder("", (0.5,), {}) is None


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.integers(0, 3))
def test_ladder_is_nested_or_null(words, extra):
    found = ladder(" ".join(words), (0.25, 0.5, 0.75), {word: i % (extra + 1) for i, word in enumerate(WORDS)})
    counts = [len(each.split()) for each in found or []]
    assert counts == sorted(set(counts), reverse=True)
    assert found is None or (len(words) > counts[0] and counts[-1] > 0)


def test_weights_of_words_by_hand():
    # Phrases: "deep red wine", "wine": wine stands with 3 + 1 words in 2 phrases.
    found = rake("The deep red wine and the wine.")
    assert found == {"deep": 3.0, "red": 3.0, "wine": 2.0}
    first, second = tfidf(["cat cat dog", "dog"])
    assert first["dog"] == pytest.approx(1.0)
    assert first["cat"] == pytest.approx(2 * (1 + 0.6931471805599453))
    assert set(second) == {"dog"}


def test_length_alone_tells_degrees_where_texts_are_of_one_length():
    assert length_probe_accuracy([100, 75, 50, 25] * 5, [0, 1, 2, 3] * 5) == 1
    mixed = [n * share for n in (8, 16, 32, 64, 128, 256) for share in (1, 0.75, 0.5, 0.25)]
    assert 0.25 <= length_probe_accuracy(mixed, [0, 1, 2, 3] * 6) < 0.7


# rationales


def rating(dimension, value, rationale=None):
    return {"dimension": dimension, "value": value, "annotator": "a", "rationale": rationale}


def tables():
    votes = [
        {"annotator": a, "dimension": "overall", "choice": c, "strength": None, "rationale": r}
        for a, c, r in (
            ("x", "chosen", " clear "),
            ("y", "chosen", "clear"),
            ("z", "rejected", "short"),
            ("w", "tie", "so"),
        )
    ]
    pairs = PAIRS.frame([{"pair_id": "pair0", "votes": votes}, {"pair_id": "pair1", "votes": []}])
    better = [rating("truth", 4.0), rating("truth", 5.0, "cites it"), rating("tone", 2.0), rating("wit", 1.0)]
    worse = [rating("truth", 3.0, "no source"), rating("tone", 3.0), rating("form", 5.0)]
    completions = COMPLETIONS.frame(
        [{"completion_id": "c0", "ratings": better}, {"completion_id": "r0", "ratings": worse}]
    )
    return pairs, completions


def rationale(kind, **columns):
    return dict(rationales(make_rows(2, **columns), *tables(), kind).select("pair_id", "text").iter_rows())


def test_rationales_of_voters_are_those_for_the_side_that_trains_as_chosen():
    assert rationale("votes") == {"pair0": "clear"}
    assert rationale("votes", swapped=[True, False]) == {"pair0": "short"}


def test_rationales_from_ratings():
    assert rationale("general") == {"pair0": "The better answer is ahead on truth."}
    text = "The better answer is ahead on truth (4.5 against 3). It is behind on tone (2 against 3)."
    assert rationale("specific") == {"pair0": text}
    written = "\nThe better answer, truth: cites it\nThe other answer, truth: no source"
    assert rationale("detailed") == {"pair0": text + written}


def test_rationale_follows_a_question_that_shows_both_answers_in_either_order():
    rows = make_rows(12)
    rows = with_texts(rows, rows.select("pair_id", name=pl.lit("rationale"), text=pl.lit("Because.")))
    parts = RDPO().parts(rows, 0).join(rows.select("pair_id", "chosen", "rejected"), on="pair_id")
    first = set()
    for prompt, completion, chosen, rejected in parts.select("prompt", "completion", "chosen", "rejected").iter_rows():
        text = prompt[0]["content"]
        places = [text.index(each[0]["content"]) for each in (chosen, rejected)]
        assert f"Answer {1 if places[0] < places[1] else 2} is the better one" in text
        first.add(places[0] < places[1])
        assert completion == said("Because.")
    assert first == {True, False}


def test_shuffled_rationales_are_those_of_other_pairs():
    parts = RDPO(shuffled=True).parts(with_text("rationale"), 0)
    of = {pair: completion[0]["content"] for pair, completion in parts.select("pair_id", "completion").iter_rows()}
    assert sorted(of.values()) == [f"say {i}" for i in range(4)]
    assert all(text != f"say {pair[-1]}" for pair, text in of.items())


def test_rationales_of_pairs_come_through_the_objective():
    rows = make_rows(2)
    found = with_texts(rows, RDPO(rationale="general").texts(rows, *tables()))
    assert texts_named(found, "rationale") == {"pair0": "The better answer is ahead on truth."}
    assert RDPO(gamma=0).texts(rows, *tables()).is_empty()


def test_texts_that_are_missing_are_an_error():
    with pytest.raises(TrainingDataError, match="no pair has a rationale"):
        RDPO().parts(make_rows(), 0)
    with pytest.raises(TrainingDataError, match=r"2 pairs bring no text named `sampled`.*pair2, pair3"):
        SELM().parts(with_text("sampled", 2), 0)
