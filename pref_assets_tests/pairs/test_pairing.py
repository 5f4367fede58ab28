import polars as pl
import pytest

from pref_assets.pairs.pairing import Pairing
from pref_assets_tests.pairs.build import read_completions, together


def row(ratings: dict[str, dict[str, float]], dimension="overall", prompt="q"):
    """``{completion text: {annotator: value}}``."""
    completions = [
        {
            "content": text,
            "ratings": [{"dimension": dimension, "value": v, "annotator": who} for who, v in given.items()],
        }
        for text, given in ratings.items()
    ]
    return {"prompt": prompt, "completions": completions}


def votes(pairing: Pairing, *rows, frames=None):
    """Votes as ``(winner, loser, annotator, strength)`` by text, with ``(one, other)`` in order for a tie."""
    completions = frames if frames is not None else read_completions(list(rows)).completions
    text = {
        cid: messages[0]["content"] for cid, messages in completions.select("completion_id", "messages").iter_rows()
    }
    found = []
    for vote in pairing.votes(completions).rows(named=True):
        a, b = text[vote["completion_a"]], text[vote["completion_b"]]
        assert vote["completion_a"] < vote["completion_b"]
        pair = {"a": (a, b), "b": (b, a), "tie": ("=".join(sorted((a, b))),)}[vote["choice"]]
        found.append((*pair, vote["annotator"], round(vote["strength"], 6)))
    return sorted(found)


FOUR = row({"w": {"x": 4}, "s": {"x": 3}, "t": {"x": 2}, "u": {"x": 0}})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("all", ["w>s", "w>t", "w>u", "s>t", "s>u", "t>u"]),
        ("best_vs_rest", ["w>s", "w>t", "w>u"]),
        ("best_vs_worst", ["w>u"]),
        ("adjacent", ["w>s", "s>t", "t>u"]),
    ],
)
def test_rules(rule, expected):
    found = votes(Pairing(type=rule), FOUR)
    assert sorted(f"{winner}>{loser}" for winner, loser, *_ in found) == sorted(expected)


def test_strength_is_the_gap_and_the_annotator_is_the_rating_s():
    assert votes(Pairing(type="best_vs_worst"), FOUR) == [("w", "u", "x", 4.0)]


def test_a_gap_below_the_minimum_is_a_tie():
    two = row({"a": {"x": 0.75, "y": 0.5}, "b": {"x": 0.5, "y": 0.25}})
    assert votes(Pairing(min_gap=0.25), two) == [("a", "b", "x", 0.25), ("a", "b", "y", 0.25)]
    assert votes(Pairing(min_gap=0.3), two) == [("a=b", "x", 0.25), ("a=b", "y", 0.25)]
    assert votes(Pairing(), row({"a": {"x": 1}, "b": {"x": 1}})) == [("a=b", "x", 0.0)]


def test_rounding_makes_no_preference_and_loses_none():
    third = row({"a": {"x": 0.1 + 0.2, "y": 2 / 3}, "b": {"x": 0.3, "y": 1 / 3}})
    assert votes(Pairing(min_gap=1 / 3), third) == [("a", "b", "y", 0.333333), ("a=b", "x", 0.0)]


def test_each_annotator_votes_on_the_pairs_that_the_mean_picks():
    # Means: a 2.5, b 2.0, c 0.5. Annotator y disagrees with the order of a and b, and has not rated c.
    rated = row({"a": {"x": 4, "y": 1}, "b": {"x": 1, "y": 3}, "c": {"x": 0.5}})
    assert votes(Pairing(type="adjacent"), rated) == [("a", "b", "x", 3.0), ("b", "a", "y", 2.0), ("b", "c", "x", 0.5)]


def test_only_the_named_dimensions_vote():
    both = row({"a": {"x": 1}, "b": {"x": 0}})
    other = row({"a": {"x": 0}, "b": {"x": 5}}, dimension="length")
    assert votes(Pairing(), both, other) == [("a", "b", "x", 1.0)]
    assert votes(Pairing(dimensions=("length",)), both, other) == [("b", "a", "x", 5.0)]
    assert votes(Pairing(dimensions=None), both, other) == [("a", "b", "x", 1.0), ("b", "a", "x", 5.0)]


def test_completions_of_two_rows_meet_but_not_those_of_two_sources():
    first, second = row({"a": {"x": 1}}), row({"b": {"x": 0}})
    one = read_completions([first]).completions
    same = read_completions([second], batch="b2", uri="later.jsonl").completions
    other = read_completions([second], source="elsewhere").completions
    assert votes(Pairing(), frames=pl.concat([one, same])) == [("a", "b", "x", 1.0)]
    assert votes(Pairing(), frames=pl.concat([one, other])) == []


def test_repeated_ratings_are_averaged_and_every_row_is_named():
    once = read_completions([row({"a": {"x": 1}, "b": {"x": 0}})])
    again = read_completions([row({"a": {"x": 0}})], start=9)
    frame = Pairing().votes(together(once, again)[1])
    assert frame["strength"].to_list() == [0.5]
    assert sorted(place["row"] for place in frame["provenance"][0]) == [1, 9]


def test_the_same_row_in_two_batches_counts_once():
    two = row({"a": {"x": 1}, "b": {"x": 0}})
    frames = together(read_completions([two]), read_completions([two], batch="b2"))[1]
    assert votes(Pairing(), frames=frames) == [("a", "b", "x", 1.0)]
    later = read_completions([row({"a": {"x": 0}})], start=9)
    frames = pl.concat([frames, later.completions])
    assert votes(Pairing(), frames=frames) == [("a", "b", "x", 0.5)]


def test_too_many_completions_for_all_pairs_is_an_error_that_names_the_prompt():
    many = row({str(i): {"x": i} for i in range(5)})
    assert len(votes(Pairing(max_completions=5), many)) == 10
    for rule in ("all", "random_k"):
        with pytest.raises(ValueError, match=r"5 rated completions.*max_completions=4"):
            votes(Pairing(type=rule, max_completions=4), many)
    assert len(votes(Pairing(type="adjacent", max_completions=4), many)) == 4


def test_no_ratings_no_votes():
    assert votes(Pairing(), {"prompt": "q", "completions": [{"content": "a"}]}) == []


def test_close_means_are_no_pair_where_ties_are_dropped():
    # Means: w 4, s 3, t 3, u 0. The annotators of s and t differ by 2 both ways.
    rated = row({"w": {"x": 4, "y": 4}, "s": {"x": 4, "y": 2}, "t": {"x": 2, "y": 4}, "u": {"x": 0, "y": 0}})

    def pairs(**options):
        found = votes(Pairing(ties="drop", **options), rated)
        return sorted({"".join(sorted(vote[0].split("=") if "=" in vote[0] else vote[:2])) for vote in found})

    assert pairs() == ["su", "sw", "tu", "tw", "uw"]
    assert pairs(min_gap=1.5) == ["su", "tu", "uw"]
    assert pairs(type="best_vs_rest", min_gap=1.5) == ["uw"]
    assert pairs(type="best_vs_worst", min_gap=4.5) == []
    assert len(pairs(type="adjacent")) == 2
    assert set(pairs(type="random_k", k=2, min_gap=1.5)) < {"su", "tu", "uw"}


def chosen_at_random(frames, **options):
    found = Pairing(type="random_k", **options).votes(frames)
    return set(found.select("completion_a", "completion_b").iter_rows())


def test_random_pairs_depend_on_the_prompt_and_the_seed_alone():
    rows = [row({f"{i} {j}": {"x": j} for j in range(6)}, prompt=f"q{i}") for i in range(30)]
    frames = read_completions(rows).completions
    whole = chosen_at_random(frames, k=3)
    assert len(whole) == 90
    assert chosen_at_random(frames.sample(fraction=1, shuffle=True, seed=1), k=3) == whole
    some = read_completions(rows[10:20]).completions
    assert chosen_at_random(some, k=3) < whole
    assert chosen_at_random(frames, k=2) < whole
    other = chosen_at_random(frames, k=3, seed=1)
    # By chance 90 x 3/15 = 18 pairs are the same, with a standard deviation of about 4.
    assert len(other & whole) < 40
    assert len(chosen_at_random(frames, k=99)) == 30 * 15


def test_every_pair_of_a_prompt_is_as_likely():
    rows = [row({f"{i} {j}": {"x": j} for j in range(4)}, prompt=f"q{i}") for i in range(600)]
    records = read_completions(rows).completions
    place = dict(records.select("completion_id", "position").iter_rows())
    found = [tuple(sorted((place[a], place[b]))) for a, b in chosen_at_random(records)]
    counts = {pair: found.count(pair) for pair in set(found)}
    # Six pairs, 100 of each expected with a standard deviation of 9; five of them are allowed.
    assert len(counts) == 6
    assert all(abs(count - 100) < 45 for count in counts.values())


def test_more_completions_only_put_their_own_pairs_in_the_place_of_others():
    few = read_completions([row({str(j): {"x": j} for j in range(5)})]).completions
    more = read_completions([row({str(j): {"x": j} for j in range(7)})]).completions
    before, after = chosen_at_random(few, k=4), chosen_at_random(more, k=4)
    known = set(few["completion_id"])
    assert {pair for pair in after if set(pair) <= known} <= before
